"""Withdrawn results: kept in a folder of their own, each with a date and a reason; no report uses them."""

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
    """Withdrawn results, with date and reason."""

    folder: Path
    date: date
    reason: str

    def __str__(self) -> str:
        return f"withdrawn {self.date}: {self.reason}"


def withdrawals(base: Path) -> dict[str, Withdrawal]:
    """Return experiment -> withdrawal for a results folder. Raises DataError if reasons.toml is invalid."""
    path = base / FOLDER / REASONS
    if not path.is_file():
        return {}
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: withdrawal(base / FOLDER / name, facts) for name, facts in read.items()}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is invalid ({error}); each experiment needs a date and a reason of one line, such as [bptt], "
            'date = 2026-11-26, reason = "...".'
        ) from error


def withdrawal(folder: Path, facts: Any) -> Withdrawal:
    """Return one entry of the file. Raises ValueError unless it has a date and a reason of one line."""
    if not isinstance(facts, Mapping) or facts.keys() != {"date", "reason"}:
        raise ValueError(f"{folder.name} must have exactly date and reason")
    when, reason = facts["date"], facts["reason"]
    if type(when) is not date or not isinstance(reason, str) or len(reason.splitlines()) != 1:
        raise ValueError(f"{folder.name} has date {when!r} and reason {reason!r}")
    return Withdrawal(folder, when, reason)


def withdrawal_of(folder: Path) -> Withdrawal | None:
    """Return the withdrawal of a results folder; None if there is none or if the folder has new runs."""
    return None if (folder / RUNS).is_file() else withdrawals(folder.parent).get(folder.name)


def all_withdrawals(root: Path) -> list[Withdrawal]:
    """Return the withdrawals of all scales."""
    return [each for scale in SCALES for each in withdrawals(folder_of(root, "", scale)).values()]


def check_withdrawn(root: Path) -> list[Problem]:
    """Return a problem for each withdrawn folder without a reason and each reason without a folder."""
    found = {each.folder for each in all_withdrawals(root)}
    kept = {path.parent for scale in SCALES for path in (folder_of(root, "", scale) / FOLDER).glob(f"*/{RUNS}")}
    problems = [Problem(folder, f"listed in {REASONS} but has no {RUNS}; restore it") for folder in found - kept]
    problems += [Problem(folder, f"withdrawn without a reason; add one to {REASONS}") for folder in kept - found]
    return sorted(problems, key=lambda problem: problem.path)
