"""Comparison of runs: differing config fields, metrics, and paired tests of their variants over shared seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ulmfit_lab.analysis.comparisons import Comparison
from ulmfit_lab.analysis.manipulation_checks import reasons_void
from ulmfit_lab.analysis.replicates import find_replicates
from ulmfit_lab.analysis.run_table import runs_frame
from ulmfit_lab.analysis.spec import ManipulationCheck
from ulmfit_lab.analysis.statistics import Verdict, compare_clusters, holm, verdict
from ulmfit_lab.experiment.declaration import Experiment, load_experiment
from ulmfit_lab.experiment.registration import SHARED_SEEDS
from ulmfit_lab.experiment.report_inputs import runs_table
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.tracking.sqlite_reader import RunReader
from ulmfit_lab.training.metrics import RunMetric, find_metric
from ulmfit_lab.utils.errors import ConfigError, LabError

FINAL = ("final/", "best/", "cost/")
Checks = Mapping[str, ManipulationCheck]
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
    experiment = find_experiment(runs[0].experiment)
    measure = find_metric(experiment.metric if experiment else "final/error")
    return RunComparison(
        tuple(runs),
        {path: found for path, found in values.items() if len(set(found)) > 1},
        {name: tuple(run.metrics.get(name) for run in runs) for name in names},
        measure,
        tuple(paired_rows(runs, measure, experiment, reader)),
    )


def find_experiment(name: str) -> Experiment | None:
    """The experiment of that name; None if it cannot be loaded."""
    try:
        return load_experiment(name)
    except ConfigError:
        return None


def paired_rows(
    runs: Sequence[TrackedRun], measure: RunMetric, experiment: Experiment | None, reader: RunReader
) -> list[Comparison]:
    """Paired comparison of each run's variant with the first run's, if they share experiment and scale.

    As in a report, n counts independent realisations of what differs, and a variant with a diverged run or a failed
    manipulation check is void.
    """
    first, *others = runs
    models = experiment.design.language_models if experiment else None
    checks = experiment.design.checks if experiment else {}
    reference = seeds_of(first, measure, models, reader)
    rows = []
    for other in {(run.variant, run.level): run for run in others}.values():
        if (other.experiment, other.scale) != (first.experiment, first.scale) or _place(other) == _place(first):
            continue
        own = seeds_of(other, measure, models, reader)
        seeds = sorted(own.keys() & reference.keys())
        if len(seeds) >= FEWEST:
            rows.append(paired_row([own[seed] for seed in seeds], [reference[seed] for seed in seeds], measure, checks))
    corrected = holm([row.result.p for row in rows])
    return [
        replace(row, corrected_p=p, verdict=row.verdict if row.why else judged(row, p, measure))
        for row, p in zip(rows, corrected, strict=True)
    ]


def paired_row(
    own: Sequence[TrackedRun], reference: Sequence[TrackedRun], measure: RunMetric, checks: Checks
) -> Comparison:
    """Comparison of runs with the same seeds; its p is nan where nothing can be claimed."""
    variant, against = _place(own[0]), _place(reference[0])
    table = runs_frame(runs_table([*own, *reference]))
    sides = {variant: table[: len(own)], against: table[len(own) :]}
    seeds = [run.seed for run in own]
    placed = table.assign(variant=[variant] * len(own) + [against] * len(reference), level="")
    shared = find_replicates(placed, variant, against, "", seeds)
    a, b = (list(side[measure.name] * measure.scale) for side in sides.values())
    result = compare_clusters(a, b, shared.clusters)
    found = {place: reasons_void(side, checks.get(side["variant"].iloc[0])) for place, side in sides.items()}
    why = "; ".join(f"{place}: {reasons}" for place, reasons in found.items() if reasons)
    words: Verdict = "void"
    if not why and shared.count == 1 < len(seeds):
        why, words = f"1 {shared.shared}", "not replicated"
    kept = replace(result, p=math.nan) if why else result
    pairs = len(seeds), shared.shared
    return Comparison(own[0].level, variant, against, kept, math.nan, words, None, why, False, *pairs)


def judged(row: Comparison, p: float, measure: RunMetric) -> Verdict:
    """Verdict of a corrected p."""
    return verdict(row.result, p, measure.lower_is_better, row.pairs)


def seeds_of(run: TrackedRun, measure: RunMetric, models: int | None, reader: RunReader) -> dict[int, TrackedRun]:
    """Seed -> the newest finished run that differs from a run only in the seed, and in the language model it shares.

    models: number of language models that the seeds share (see `Design.language_models`)
    """
    tracked = reader.runs(run.experiment, run.scale, "FINISHED")
    every = [run, *(cell for each in tracked for cell in each.declared_runs())]
    wanted = _place(run), recipe_of(run, models), run.data
    return {
        each.seed: each
        for each in every
        if (_place(each), recipe_of(each, models), each.data) == wanted
        and math.isfinite(each.metrics.get(measure.name, math.nan))
    }


def _place(run: TrackedRun) -> str:
    return f"{run.variant} @ {run.level}" if run.level else run.variant


def recipe_of(run: TrackedRun, models: int | None) -> dict[str, str]:
    """The params of a run without its seed, and without the seed of a language model that its seed shares."""
    shared = {path: str(run.seed % models) for path in SHARED_SEEDS} if models else {}
    return {path: text for path, text in run.params.items() if path != "seed" and shared.get(path) != text}
