"""What made a run: the code's commit, the packages' versions, the machine."""

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
CODE = ("ulmfit_lab", "experiments")
"""What a run's numbers depend on, as folders of the checkout."""


@cache
def provenance() -> dict[str, str]:
    """Tags that say where a run came from; worked out once a process."""
    versions = {f"version.{name}": version_of(name) for name in PACKAGES}
    return {**commit(CHECKOUT), **versions, "version.python": platform.python_version(), "machine": machine()}


def source_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The same in the tags that MLflow's own table shows: source, version and user."""
    known = {"mlflow.source.git.commit": tags["lab.commit"]} if tags.get("lab.commit") else {}
    return {"mlflow.source.name": "ulmfit-lab", "mlflow.source.type": "LOCAL", "mlflow.user": user(), **known}


def user() -> str:
    """Who runs this; "unknown" in a container without accounts."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def commit(checkout: Path) -> dict[str, str]:
    """The checkout's commit, and whether its code differs from it; both empty where this is no checkout.

    New files that git does not know count as a difference: the commit does not hold what they say.
    """
    top = git(checkout, "rev-parse", "--show-toplevel")
    # An installed package may lie inside somebody else's checkout, whose commit says nothing about it.
    if not top or Path(top).resolve() != checkout.resolve():
        return {"lab.commit": "", "lab.dirty": ""}
    changed = git(checkout, "status", "--porcelain", "--untracked-files=all", "--", *CODE)
    return {"lab.commit": git(checkout, "rev-parse", "HEAD"), "lab.dirty": str(bool(changed)).lower()}


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; empty where it fails or git is absent."""
    # Looking must not take the index's lock, which a person's own git command may want at the same time.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def version_of(package: str) -> str:
    """Installed version of a distribution; empty where it is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def machine() -> str:
    """Architecture, processor and number of logical cores."""
    return f"{platform.machine()} {processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """Model name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
