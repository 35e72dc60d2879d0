"""Comparison of runs: differing config fields, metrics, and paired tests of their variants over shared seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ulmfit_lab.analysis.comparisons import Comparison
from ulmfit_lab.analysis.statistics import compare_paired, holm, verdict
from ulmfit_lab.experiment.declaration import load_experiment
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.tracking.sqlite_reader import RunReader
from ulmfit_lab.training.metrics import RunMetric, find_metric
from ulmfit_lab.utils.errors import ConfigError, LabError

FINAL = ("final/", "best/", "cost/")
FEWEST = 2
"""Minimum number of shared seeds for a paired comparison."""


@dataclass(frozen=True)
class RunComparison:
    """Comparison of two or more runs; missing values are None."""

    runs: tuple[TrackedRun, ...]
    fields: Mapping[str, tuple[str | None, ...]]
    """Config fields whose values differ."""
    metrics: Mapping[str, tuple[float | None, ...]]
    measure: RunMetric
    rows: tuple[Comparison, ...]
    """Each run's variant against the first run's, over shared seeds; p with Holm's correction over the rows."""


def compare_runs(runs: Sequence[TrackedRun], reader: RunReader) -> RunComparison:
    """Compare runs; raises LabError for fewer than two different ones."""
    if len({run.origin for run in runs}) < 2:
        raise LabError("A comparison needs two different runs; name another one.")
    paths = dict.fromkeys(path for run in runs for path in run.params)
    values = {path: tuple(run.params.get(path) for run in runs) for path in paths}
    names = sorted({name for run in runs for name in run.metrics if name.startswith(FINAL)})
    measure = measure_of(runs[0].experiment)
    return RunComparison(
        tuple(runs),
        {path: found for path, found in values.items() if len(set(found)) > 1},
        {name: tuple(run.metrics.get(name) for run in runs) for name in names},
        measure,
        tuple(paired_rows(runs, measure, reader)),
    )


def measure_of(experiment: str) -> RunMetric:
    """Metric of an experiment; the test error if the experiment cannot be loaded."""
    try:
        return find_metric(load_experiment(experiment).metric)
    except ConfigError:
        return find_metric("final/error")


def paired_rows(runs: Sequence[TrackedRun], measure: RunMetric, reader: RunReader) -> list[Comparison]:
    """Paired comparison of each run's variant with the first run's, if they share experiment and scale."""
    first, *others = runs
    reference = seeds_of(first, measure, reader)
    found = []
    for other in {(run.variant, run.level): run for run in others}.values():
        if (other.experiment, other.scale) != (first.experiment, first.scale):
            continue
        own = seeds_of(other, measure, reader)
        seeds = sorted(own.keys() & reference.keys())
        if _place(other) != _place(first) and len(seeds) >= FEWEST:
            result = compare_paired(*([values[seed] * measure.scale for seed in seeds] for values in (own, reference)))
            found.append((other, result))
    corrected = holm([result.p for _, result in found])
    return [
        Comparison(run.level, _place(run), _place(first), result, p, verdict(result, p, measure.lower_is_better), None)
        for (run, result), p in zip(found, corrected, strict=True)
    ]


def seeds_of(run: TrackedRun, measure: RunMetric, reader: RunReader) -> dict[int, float]:
    """Seed -> metric of the newest finished runs that differ from a run only in the seed."""
    tracked = reader.runs(run.experiment, run.scale, "FINISHED")
    every = [run, *(cell for each in tracked for cell in each.declared_runs())]
    return {
        each.seed: each.metrics[measure.name]
        for each in every
        if (_place(each), _recipe(each), each.data) == (_place(run), _recipe(run), run.data)
        and math.isfinite(each.metrics.get(measure.name, math.nan))
    }


def _place(run: TrackedRun) -> str:
    return f"{run.variant} @ {run.level}" if run.level else run.variant


def _recipe(run: TrackedRun) -> dict[str, str]:
    return {path: text for path, text in run.params.items() if path != "seed"}
