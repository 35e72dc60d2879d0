"""Names of runs follow the declaration: finished runs are found by fingerprint and renamed.

Declared runs with the same fingerprint are computed once, as a run with the name of the first; a report has a row for
each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ulmfit_lab.config.paths import flatten
from ulmfit_lab.experiment.declaration import RunSpec
from ulmfit_lab.tracking.records import ALSO, TrackedRun, encode_other_names

if TYPE_CHECKING:
    from ulmfit_lab.experiment.plan import PlannedRun
    from ulmfit_lab.tracking.tracker import Tracker

COMPUTED, REUSED = "cost/computed_seconds", "cost/reused_seconds"


def run_tags(cells: Sequence[RunSpec]) -> dict[str, str]:
    """Tags of a run that stands for declared runs with the same fingerprint."""
    first, *others = cells
    return first.tags | (
        {ALSO: encode_other_names((c.variant, c.level_name, c.seed) for c in others)} if others else {}
    )


def declared_runs(runs: Iterable[TrackedRun], planned: Iterable[PlannedRun]) -> list[TrackedRun]:
    """The newest finished run of each declared run, under its declared name."""
    newest = {run.fingerprint: run for run in sorted(runs, key=lambda r: r.start) if run.status == "FINISHED"}
    return [
        apply_declared_names(newest[each.stage.fingerprint], each)
        for each in planned
        if each.stage.fingerprint in newest
    ]


def apply_declared_names(run: TrackedRun, planned: PlannedRun) -> TrackedRun:
    """A run with the name and params of a declared run; its cost counts only for the first one."""
    cell = planned.run_spec
    config = flatten(cell.config) | {"seed": cell.seed}
    params = {path: str(config.get(path, text)) for path, text in run.params.items()}
    metrics = dict(run.metrics)
    if cell != planned.run_specs[0] and COMPUTED in metrics:
        metrics |= {COMPUTED: 0.0, REUSED: metrics[COMPUTED] + metrics.get(REUSED, 0.0)}
    return replace(run.named(cell.variant, cell.level_name, cell.seed), params=params, metrics=metrics)


def name_runs(runs: Iterable[TrackedRun], planned: Iterable[PlannedRun], tracker: Tracker) -> None:
    """Rename tracked finished runs to their declared names."""
    wanted = {each.stage.fingerprint: each.run_specs for each in planned}
    for run in runs:
        if run.status == "FINISHED" and run.fingerprint in wanted:
            cells = wanted[run.fingerprint]
            tracker.rename(run, cells[0].label, {ALSO: "", **run_tags(cells)})


def same_runs(planned: Iterable[PlannedRun]) -> list[str]:
    """A line for each set of variants and levels with the same fingerprint."""
    shared = dict.fromkeys(tuple(c.group for c in each.run_specs) for each in planned if len(each.run_specs) > 1)
    return [f"{' and '.join(names)} are the same run: no stage reads the differing fields." for names in shared]
