"""What is wrong with the files of a home: stages that are not what was recorded of them, a database torn at birth."""

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
"""Folder of the stages that are being computed, or were when their process ended."""


@dataclass(frozen=True)
class Finding:
    """Something that is amiss, what to do about it, and what does it, if anything can."""

    problem: str
    fix: str
    repair: Callable[[], object] | None = None
    while_busy: bool = False
    """Whether the repair may be made while other processes work in the home."""

    def __str__(self) -> str:
        return f"{self.problem}; {self.fix}."


@dataclass(frozen=True)
class UnusedStages:
    """A finished stage that nothing refers to, and its size in bytes."""

    path: Path
    size: int


def check_stages(home: Home) -> Iterator[Finding]:
    """What is wrong among a home's stages; reads all their files."""
    for folder in sorted((home.stages / PARTIAL).glob("*")):
        if not is_locked(home.stages / f"{folder.name}.lock"):
            what = f"{folder} ({size_of(folder) / 1e6:.1f} MB) is an unfinished stage that no process works on"
            yield Finding(
                what, "a sweep that needs it goes on from it; --fix removes it", partial(remove, home, folder)
            )
    for path in sorted([*home.root.glob("*.tmp"), *home.stages.glob("[!.]*/*/*.tmp")]):
        if path.parent.parent.name != PARTIAL:
            yield Finding(f"{path} was never finished", "--fix removes it", path.unlink)
    for folder in stage_folders(home.stages):
        fault = fault_of(folder)
        if fault and not is_locked(lock_of(home, folder)):
            hint = "--fix moves the stage aside; it is computed again when it is needed"
            yield Finding(f"{folder} is not what was recorded: {fault}", hint, partial(set_aside, home, folder))


def stage_folders(root: Path) -> list[Path]:
    """The folders of finished stages."""
    return sorted(path for path in root.glob("*/*") if path.is_dir() and path.parent.name != PARTIAL)


def fault_of(folder: Path) -> str:
    """What a stage lacks, or has otherwise than its manifest says; empty for a sound one."""
    stored = read_stage(folder, reused=True)
    if stored is None:
        return "its manifest or a file is torn or absent"
    if (stored.kind, stored.fingerprint) != (folder.parent.name, folder.name):
        return f"its manifest is that of {stored.kind} {stored.fingerprint}"
    for name, facts in stored.manifest["files"].items():
        # the oldest stages have no digests
        if "sha256" in facts and file_digest(folder / name) != facts["sha256"]:
            return f"the content of {name} has changed"
    return ""


def unused_stages(root: Path, used: set[str]) -> list[UnusedStages]:
    """The finished stages that are neither among the used ones nor what one of those was made from."""
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
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def lock_of(home: Home, folder: Path) -> Path:
    """The lock that is held while the stage of a folder is computed."""
    return home.stages / f"{folder.parent.name}-{folder.name}.lock"


def remove(home: Home, folder: Path) -> None:
    """Remove an unfinished stage, unless a process has taken it up since."""
    _holding(home.stages / f"{folder.name}.lock", lambda: shutil.rmtree(folder))


def set_aside(home: Home, folder: Path) -> None:
    """Move a stage out of the store, unless a process is computing it."""
    _holding(lock_of(home, folder), lambda: move_aside(home, folder))


def _holding(lock: Path, act: Callable[[], object]) -> None:
    try:
        with hold_lock(lock):
            act()
    except Timeout:
        raise LabError(f"a process holds {lock}; try again when it has ended.") from None


def move_aside(home: Home, path: Path) -> Path:
    """Move a file or folder into the home's folder `aside`; returns where it is now."""
    folder = home.root / "aside"
    folder.mkdir(exist_ok=True)
    place = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6}-{path.name}"
    shutil.move(path, place)
    return place


def busy(home: Home) -> bool:
    """Whether some process is running a cell or computing a stage."""
    return any(is_locked(path) for folder in (home.locks, home.stages) for path in folder.glob("*.lock"))


def check_store(home: Home, uri: str, error: LabError) -> Finding:
    """Why an MLflow store could not be opened: one that was never made to its end holds no run, and can go."""
    database = home.runs_database
    if uri != home.own_uri or not database.is_file():
        return Finding(str(error), "correct its address, or mend it where it is kept")
    held = runs_in(database)
    if held is None:
        return Finding(f"{database} is locked", "end the process that holds it, or wait until it has ended")
    if held:
        hint = f"copy the file, then run: {mlflow_command(home.own_uri, 'db', 'upgrade', home.own_uri)}"
        return Finding(f"{database} holds {held} runs, but cannot be opened ({error})", hint)
    if home.unwritable:
        return Finding(f"{database} cannot be read ({error})", "get the right to read it, and all of the home")
    what = f"{database} was not made to its end: a process was killed while MLflow made it, or it is no database"
    return Finding(what, "--fix moves it aside, and the next command makes a new one", partial(drop_database, home))


def runs_in(database: Path) -> int | None:
    """Runs that a SQLite file holds; 0 also where it is torn, None where another process locks it."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return None if "locked" in str(error) else 0


def drop_database(home: Home) -> None:
    """Move MLflow's database aside, with the files that SQLite keeps beside it."""
    for path in home.root.glob("mlflow.db*"):
        move_aside(home, path)
