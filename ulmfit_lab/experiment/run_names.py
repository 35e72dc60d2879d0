"""The declaration names the runs: a finished run is found by its fingerprint, whatever it was called when it was made.

Cells with one fingerprint are one run: it is computed once and bears the name of the first of them, and a report has a
row for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ulmfit_lab.config.paths import flatten
from ulmfit_lab.experiment.declaration import RunSpec
from ulmfit_lab.tracking.records import ALSO, TrackedRun, encode_other_names
from ulmfit_lab.utils.errors import ConfigError

if TYPE_CHECKING:
    from ulmfit_lab.experiment.plan import PlannedRun
    from ulmfit_lab.tracking.tracker import Tracker

COMPUTED, REUSED = "cost/computed_seconds", "cost/reused_seconds"


def run_tags(cells: Sequence[RunSpec]) -> dict[str, str]:
    """What the run of cells with one fingerprint is found by: the name of the first, and those of the others."""
    first, *others = cells
    return first.tags | (
        {ALSO: encode_other_names((c.variant, c.level_name, c.seed) for c in others)} if others else {}
    )


def declared_runs(runs: Iterable[TrackedRun], planned: Iterable[PlannedRun]) -> list[TrackedRun]:
    """The newest finished run of each declared cell, named as the cell; runs of other declarations are left out."""
    newest = {run.fingerprint: run for run in sorted(runs, key=lambda r: r.start) if run.status == "FINISHED"}
    return [
        apply_declared_names(newest[each.stage.fingerprint], each)
        for each in planned
        if each.stage.fingerprint in newest
    ]


def apply_declared_names(run: TrackedRun, planned: PlannedRun) -> TrackedRun:
    """A run with the name and the config of a declared cell; what it cost counts for the first of its cells alone.

    Its params may differ from the cell's config in fields that the run does not read.
    """
    cell = planned.run_spec
    config = flatten(cell.config) | {"seed": cell.seed}
    params = {path: str(config.get(path, text)) for path, text in run.params.items()}
    metrics = dict(run.metrics)
    if cell != planned.run_specs[0] and COMPUTED in metrics:
        metrics |= {COMPUTED: 0.0, REUSED: metrics[COMPUTED] + metrics.get(REUSED, 0.0)}
    return replace(run.named(cell.variant, cell.level_name, cell.seed), params=params, metrics=metrics)


def name_runs(runs: Iterable[TrackedRun], planned: Iterable[PlannedRun], tracker: Tracker) -> None:
    """Give the tracked finished runs of declared cells the names that these have today."""
    wanted = {each.stage.fingerprint: each.run_specs for each in planned}
    for run in runs:
        if run.status == "FINISHED" and run.fingerprint in wanted:
            cells = wanted[run.fingerprint]
            tracker.rename(run, cells[0].label, {ALSO: "", **run_tags(cells)})


def same_runs(planned: Iterable[PlannedRun]) -> list[str]:
    """A line for every variant and level that is the same run as others, whatever the seed."""
    shared = dict.fromkeys(tuple(c.group for c in each.run_specs) for each in planned if len(each.run_specs) > 1)
    return [f"{' and '.join(names)} are the same run: none reads what they differ in." for names in shared]


def check_seeds_distinct(cells: Sequence[RunSpec]) -> None:
    """Raise ConfigError where two seeds of a variant are one run: they would count as two independent ones."""
    first: dict[str, RunSpec] = {}
    for cell in cells:
        other = first.setdefault(cell.group, cell)
        if other.seed != cell.seed:
            raise ConfigError(
                f"{cell.experiment}: seeds {other.seed} and {cell.seed} of {cell.group!r} are the same run, since "
                "nothing in it depends on the seed; take one seed, or let the run's seed decide: "
                "pretraining.seed and fine_tuning.seed = None."
            )
