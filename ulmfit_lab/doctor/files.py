"""Checks of the files of a home: damaged stages, incomplete databases."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import Timeout

from ulmfit_lab.pipeline.store import read_stage
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.files import file_digest
from ulmfit_lab.utils.home import Home, mlflow_command
from ulmfit_lab.utils.locks import hold_lock, is_locked

PARTIAL = "partial"
"""Folder of unfinished stages."""


@dataclass(frozen=True)
class Finding:
    """A problem, its fix as text, and a function that repairs it, if possible."""

    problem: str
    fix: str
    repair: Callable[[], object] | None = None
    while_busy: bool = False
    """Whether the repair is safe while other processes use the home."""

    def __str__(self) -> str:
        return f"{self.problem}; {self.fix}."


@dataclass(frozen=True)
class UnusedStages:
    """A finished stage that no run or experiment uses, and its size in bytes."""

    path: Path
    size: int


def check_stages(home: Home) -> Iterator[Finding]:
    """Check all stages of a home; reads all their files."""
    for folder in sorted((home.stages / PARTIAL).glob("*")):
        if not is_locked(home.stages / f"{folder.name}.lock"):
            what = f"{folder} ({size_of(folder) / 1e6:.1f} MB) is an unfinished stage without a running process"
            yield Finding(what, "a sweep that needs it resumes it; --fix deletes it", partial(remove, home, folder))
    for path in sorted([*home.root.glob("*.tmp"), *home.stages.glob("[!.]*/*/*.tmp")]):
        if path.parent.parent.name != PARTIAL:
            yield Finding(f"{path} is incomplete", "--fix deletes it", path.unlink)
    for folder in stage_folders(home.stages):
        fault = fault_of(folder)
        if fault and not is_locked(lock_of(home, folder)):
            hint = "--fix moves the stage aside; it is computed again when needed"
            yield Finding(f"{folder} is damaged: {fault}", hint, partial(set_aside, home, folder))


def stage_folders(root: Path) -> list[Path]:
    """Folders of finished stages."""
    return sorted(path for path in root.glob("*/*") if path.is_dir() and path.parent.name != PARTIAL)


def fault_of(folder: Path) -> str:
    """Difference between a stage and its manifest; empty if there is none."""
    stored = read_stage(folder, reused=True)
    if stored is None:
        return "its manifest or a file is missing or truncated"
    if (stored.kind, stored.fingerprint) != (folder.parent.name, folder.name):
        return f"its manifest belongs to {stored.kind} {stored.fingerprint}"
    for name, facts in stored.manifest["files"].items():
        if "sha256" in facts and file_digest(folder / name) != facts["sha256"]:  # the oldest stages have no digests
            return f"the content of {name} has changed"
    return ""


def unused_stages(root: Path, used: set[str]) -> list[UnusedStages]:
    """Finished stages that are neither used nor inputs of used ones."""
    manifests: dict[str, Mapping[str, Any]] = {}
    folders = {folder.name: folder for folder in stage_folders(root)}
    for name, folder in folders.items():
        stored = read_stage(folder, reused=True)
        manifests[name] = stored.manifest if stored else {"inputs": {}}
    needed: set[str] = set()
    left = list(used)
    while left:
        name = left.pop()
        if name in manifests and name not in needed:
            needed.add(name)
            left += map(str, manifests[name]["inputs"].values())
    return [UnusedStages(folder, size_of(folder)) for name, folder in folders.items() if name not in needed]


def size_of(folder: Path) -> int:
    """Size of a folder in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def lock_of(home: Home, folder: Path) -> Path:
    """Lock file of a stage."""
    return home.stages / f"{folder.parent.name}-{folder.name}.lock"


def remove(home: Home, folder: Path) -> None:
    """Delete an unfinished stage; raises LabError if a process has resumed it."""
    _act_with_lock(home.stages / f"{folder.name}.lock", lambda: shutil.rmtree(folder))


def set_aside(home: Home, folder: Path) -> None:
    """Move a stage out of the store; raises LabError if a process is computing it."""
    _act_with_lock(lock_of(home, folder), lambda: move_aside(home, folder))


def _act_with_lock(lock: Path, act: Callable[[], object]) -> None:
    try:
        with hold_lock(lock):
            act()
    except Timeout:
        raise LabError(f"a process holds {lock}; retry after it has ended.") from None


def move_aside(home: Home, path: Path) -> Path:
    """Move a file or folder into the home's folder `aside`; returns its new path."""
    folder = home.root / "aside"
    folder.mkdir(exist_ok=True)
    place = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6}-{path.name}"
    shutil.move(path, place)
    return place


def busy(home: Home) -> bool:
    """Whether a process holds a lock of a run or stage."""
    return any(is_locked(path) for folder in (home.locks, home.stages) for path in folder.glob("*.lock"))


def check_store(home: Home, uri: str, error: LabError) -> Finding:
    """Why an MLflow store could not be opened; a SQLite file without runs can be replaced."""
    database = home.runs_database
    if uri != home.own_uri or not database.is_file():
        return Finding(str(error), "correct its address, or repair the database")
    held = runs_in(database)
    if held is None:
        return Finding(f"{database} is locked", "end the process that holds it, or wait")
    if held:
        hint = f"copy the file, then run: {mlflow_command(home.own_uri, 'db', 'upgrade', home.own_uri)}"
        return Finding(f"{database} holds {held} runs, but cannot be opened ({error})", hint)
    if home.unwritable:
        return Finding(f"{database} cannot be read ({error})", "change the permissions of the home")
    what = f"{database} is incomplete (a process was killed while MLflow created it) or not a database"
    return Finding(what, "--fix moves it aside; the next command creates a new one", partial(move_database_aside, home))


def runs_in(database: Path) -> int | None:
    """Number of runs in a SQLite file; 0 if it is invalid, None if it is locked."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return None if "locked" in str(error) else 0


def move_database_aside(home: Home) -> None:
    """Move MLflow's SQLite database and its journal files aside."""
    for path in home.root.glob("mlflow.db*"):
        move_aside(home, path)
