"""Withdrawn results: they can be read in a folder beside the others, each with a reason, and no report uses them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ulmfit_lab.report.committed import RUNS, SCALES, Problem
from ulmfit_lab.report.folders import folder_of
from ulmfit_lab.utils.errors import DataError

FOLDER, REASONS = "withdrawn", "reasons.toml"


@dataclass(frozen=True)
class Withdrawal:
    """Results that no longer count, and why."""

    folder: Path
    date: date
    reason: str

    def __str__(self) -> str:
        return f"withdrawn {self.date}: {self.reason}"


def withdrawals(base: Path) -> dict[str, Withdrawal]:
    """Experiment -> its withdrawal, of the results in a folder. Raises DataError for a file that names no reasons."""
    path = base / FOLDER / REASONS
    if not path.is_file():
        return {}
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: withdrawal(base / FOLDER / name, facts) for name, facts in read.items()}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} must give a date and a reason of one line for each experiment, as in [bptt], date = 2026-11-26, "
            f'reason = "...": {error}'
        ) from error


def withdrawal(folder: Path, facts: Any) -> Withdrawal:
    """One entry of the file; raises ValueError where it is not a date and a line."""
    if not isinstance(facts, Mapping) or facts.keys() != {"date", "reason"}:
        raise ValueError(f"{folder.name} has not exactly these two")
    when, reason = facts["date"], facts["reason"]
    if type(when) is not date or not isinstance(reason, str) or len(reason.splitlines()) != 1:
        raise ValueError(f"{folder.name} has date {when!r} and reason {reason!r}")
    return Withdrawal(folder, when, reason)


def withdrawal_of(folder: Path) -> Withdrawal | None:
    """The withdrawal that holds for a folder of results; None once there are new runs in it, or where there is none."""
    return None if (folder / RUNS).is_file() else withdrawals(folder.parent).get(folder.name)


def all_withdrawals(root: Path) -> list[Withdrawal]:
    """Those of all scales."""
    return [each for scale in SCALES for each in withdrawals(folder_of(root, "", scale)).values()]


def check_withdrawn(root: Path) -> list[Problem]:
    """Folders of withdrawn results without a reason, and reasons without a folder."""
    found = {each.folder for each in all_withdrawals(root)}
    kept = {path.parent for scale in SCALES for path in (folder_of(root, "", scale) / FOLDER).glob(f"*/{RUNS}")}
    lost = [Problem(folder, f"{REASONS} names it, but it has no {RUNS}; bring it back") for folder in found - kept]
    mute = [Problem(folder, f"is withdrawn without a reason; give one in {REASONS}") for folder in kept - found]
    return sorted([*lost, *mute], key=lambda problem: problem.path)
