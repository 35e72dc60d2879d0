"""Provenance of a run: commit, package versions and machine."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("ulmfit-lab", "torch", "numpy", "spacy", "gensim", "mlflow", "optuna", "pandas", "scikit-learn")
CHECKOUT = Path(__file__).resolve().parents[2]
CPUINFO = Path("/proc/cpuinfo")
CODE = ("ulmfit_lab", "experiments")
"""Folders of the checkout that determine a run's numbers."""


@cache
def provenance() -> dict[str, str]:
    """Return the tags of a run's provenance; cached."""
    versions = {f"version.{name}": version_of(name) for name in PACKAGES}
    return {**commit(CHECKOUT), **versions, "version.python": platform.python_version(), "machine": machine()}


def source_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return MLflow's own tags for source, version and user."""
    known = {"mlflow.source.git.commit": tags["lab.commit"]} if tags.get("lab.commit") else {}
    return {"mlflow.source.name": "ulmfit-lab", "mlflow.source.type": "LOCAL", "mlflow.user": user(), **known}


def user() -> str:
    """Return the user's name, "unknown" in a container without accounts."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def commit(checkout: Path) -> dict[str, str]:
    """Return the checkout's commit and whether its code differs, untracked files included; empty outside a checkout."""
    top = git(checkout, "rev-parse", "--show-toplevel")
    # An installed package may be inside another project's checkout.
    if not top or Path(top).resolve() != checkout.resolve():
        return {"lab.commit": "", "lab.dirty": ""}
    changed = git(checkout, "status", "--porcelain", "--untracked-files=all", "--", *CODE)
    return {"lab.commit": git(checkout, "rev-parse", "HEAD"), "lab.dirty": str(bool(changed)).lower()}


def git(folder: Path, *arguments: str) -> str:
    """Return the output of a git command, empty if it fails or git is missing."""
    # Do not lock the index, which a concurrent git command may need.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def version_of(package: str) -> str:
    """Return the installed version of a distribution, empty if missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def machine() -> str:
    """Return architecture, processor and number of logical cores."""
    return f"{platform.machine()} {processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """Return the processor's model name, if known."""
    found = cpuinfo_line("model name")
    return platform.processor() if found is None else found


def cpu_flags(cpuinfo: Path = CPUINFO) -> list[str]:
    """Return the features that Linux says the processor has; empty if unknown."""
    return (cpuinfo_line("flags", "Features", cpuinfo=cpuinfo) or "").split()


def cpuinfo_line(*names: str, cpuinfo: Path = CPUINFO) -> str | None:
    """Return the value of the first line that begins with one of these names, or ""; None without such a file."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")
