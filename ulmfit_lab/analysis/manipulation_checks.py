"""Runs that make a comparison void: diverged training, or a failed manipulation check."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ulmfit_lab.analysis.run_table import DIVERGED, trained_runs
from ulmfit_lab.analysis.spec import ManipulationCheck, ReportSpec

Voids = Mapping[tuple[str, str], str]
"""(variant, level) -> why its comparisons are void."""


def find_failed_checks(runs: pd.DataFrame, spec: ReportSpec) -> Voids:
    """Find variants and levels where a run diverged, or the manipulation check passed in no run."""
    checks, found = dict(spec.checks), {}
    for variant in spec.variants:
        for level in spec.levels:
            mine = runs[(runs["variant"] == variant) & (runs["level"] == level)]
            if reasons := reasons_void(mine, checks.get(variant)):
                found[variant, level] = reasons
    return found


def reasons_void(runs: pd.DataFrame, check: ManipulationCheck | None) -> str:
    """Why the runs of a variant at a level are no test of it; empty if they are."""
    diverged = len(runs) - len(trained_runs(runs))
    reasons = [f"{diverged} of {len(runs)} runs diverged"] if diverged else []
    if check and not passed(runs, check):
        reasons.append(f"{check.statement} in 0 of {len(runs)} runs")
    return "; ".join(reasons)


def measured(runs: pd.DataFrame, check: ManipulationCheck) -> list[float]:
    """Values of a check's metric; nan if not measured."""
    return [float(value) for value in runs[check.metric]] if check.metric in runs else [float("nan")] * len(runs)


def passed(runs: pd.DataFrame, check: ManipulationCheck) -> int:
    """Number of runs that pass a check."""
    return sum(map(check.passes, measured(runs, check)))


def check_rows(runs: pd.DataFrame, spec: ReportSpec) -> list[list[str]]:
    """Rows: variant, level, statement, number of runs that pass, and values by seed."""
    rows = []
    for variant, check in spec.checks:
        for level in spec.levels:
            mine = runs[(runs["variant"] == variant) & (runs["level"] == level)]
            values = ", ".join(f"{value:g}" for value in measured(mine, check))
            rows.append([variant, level, check.statement, f"{passed(mine, check)} of {len(mine)}", values])
    return rows


def diverged_lines(runs: pd.DataFrame) -> list[str]:
    """A line for each diverged run: name, reason and advice."""
    if DIVERGED not in runs.columns:
        return []
    rows = runs[runs[DIVERGED] != ""]
    cells = zip(rows["variant"], rows["level"], rows["seed"], rows[DIVERGED], strict=True)
    return [f"{v}{f' @ {level}' if level else ''}, seed {seed}: {how}" for v, level, seed, how in cells]
