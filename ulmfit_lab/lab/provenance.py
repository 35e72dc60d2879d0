"""What made a run: the code's commit, the packages' versions, the machine."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "numpy", "spacy", "gensim", "mlflow", "optuna", "pandas", "scikit-learn")


@cache
def provenance() -> dict[str, str]:
    """Tags that say where a run came from; worked out once a process."""
    versions = {f"version.{name}": version_of(name) for name in PACKAGES}
    machine = f"{platform.machine()} {processor()}".strip()
    return {**commit(), **versions, "version.python": platform.python_version(), "machine": machine}


def commit() -> dict[str, str]:
    """The commit of the code, and whether the code differs from it; empty where it is not in a git checkout."""
    here = Path(__file__).resolve().parents[2]
    head = git(here, "rev-parse", "HEAD")
    changed = git(here, "status", "--porcelain", "--untracked-files=no", "--", "ulmfit_lab", "experiments")
    return {"lab.commit": head, "lab.dirty": str(bool(changed)).lower() if head else ""}


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; empty where it fails or git is absent."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def version_of(package: str) -> str:
    """Installed version of a distribution; empty where it is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def processor() -> str:
    """Model name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
