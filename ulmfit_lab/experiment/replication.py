"""What a sweep's runs can show, before they are made: replicates and power of each contrast."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

import pandas as pd

from ulmfit_lab.analysis.comparisons import listed
from ulmfit_lab.analysis.power import detectable_difference, margin_powers
from ulmfit_lab.analysis.replicates import STAGE, SUFFIXES, TRAINED, find_replicates
from ulmfit_lab.analysis.spec import FEWEST_SEEDS, ReportSpec, level_words
from ulmfit_lab.config.paths import flatten
from ulmfit_lab.experiment.plan import PlannedRun
from ulmfit_lab.experiment.run_names import declared_runs
from ulmfit_lab.pipeline.store import Stage
from ulmfit_lab.tracking.records import TrackedRun


def planned_stages(planned: Iterable[PlannedRun]) -> pd.DataFrame:
    """A row for each declared run with the fingerprints of its stages, in the columns of a table of runs."""
    rows = []
    for each in planned:
        spec, suffixes = each.run_spec, member_suffixes(each.stage)
        row: dict[str, object] = {"variant": spec.variant, "level": spec.level_name, "seed": spec.seed}
        row |= {f"param/{path}": str(value) for path, value in flatten(spec.config).items()}
        row |= {
            f"{STAGE}{stage.kind}{suffixes.get(stage.fingerprint, '')}": stage.fingerprint
            for stage in each.stage.ancestry()
            if stage.kind in TRAINED
        }
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def member_suffixes(last: Stage) -> dict[str, str]:
    """Fingerprint -> what is put behind a stage's name in the run of a last stage, so that its names differ.

    Of the stages that only the second member of an ensemble needs; empty if the run is no ensemble.
    """
    found: dict[str, str] = {}
    for name, suffix in SUFFIXES.items():
        if last.kind == "ensemble" and name in last.inputs:
            found = {each.fingerprint: suffix for each in last.inputs[name].ancestry()}
            others = (each for key, each in last.inputs.items() if key != name)
            for each in itertools.chain.from_iterable(other.ancestry() for other in others):
                found.pop(each.fingerprint, None)
    return found


def replication_lines(planned: Sequence[PlannedRun], spec: ReportSpec) -> list[str]:
    """A line for each set of contrasts whose pairs share realisations of what they compare, with what to change."""
    stages, found = planned_stages(planned), dict[tuple[int, int, str], list[str]]()
    for variant, against in spec.pairs:
        for level in spec.levels:
            here = stages[stages["level"] == level]
            made = [set(here[here["variant"] == arm]["seed"]) for arm in (variant, against)]
            seeds = [seed for seed in spec.seeds if all(seed in each for each in made)]
            replicates = find_replicates(stages, variant, against, level, seeds)
            if replicates.count < len(seeds):
                place = f" ({spec.level_name} {level_words(level)})" if level else ""
                key = replicates.count, len(seeds), replicates.shared
                found.setdefault(key, []).append(f"{variant} - {against}{place}")
    lines = []
    for (count, pairs, shared), contrasts in found.items():
        named = listed(contrasts[:3]) + (f" and {len(contrasts) - 3} more" if len(contrasts) > 3 else "")
        plural = "s" if count > 1 else ""
        if count == 1:
            cure = "set pretraining.seed and fine_tuning.seed to None, or Design(language_models=N)"
            lines.append(f"Not replicated: {named}: {pairs} pairs share 1 {shared}; nothing will be claimed; {cure}.")
        else:
            lines.append(f"{named}: {pairs} pairs share {count} {shared}{plural}, which n counts.")
    return lines


def sd_of_differences(planned: Iterable[PlannedRun], runs: Iterable[TrackedRun], spec: ReportSpec) -> float | None:
    """The sd of paired differences, pooled over the contrasts of which two pairs of runs or more are finished."""
    values = {
        (run.variant, run.level, run.seed): run.metrics[spec.metric] * spec.metric_scale
        for run in declared_runs(runs, planned)
        if spec.metric in run.metrics and not run.diverged
    }
    variances, freedom = 0.0, 0
    for variant, against in spec.pairs:
        for level in spec.levels:
            found = [
                values[variant, level, seed] - values[against, level, seed]
                for seed in spec.seeds
                if (variant, level, seed) in values and (against, level, seed) in values
            ]
            if len(found) > 1:
                variances += statistics.variance(found) * (len(found) - 1)
                freedom += len(found) - 1
    return math.sqrt(variances / freedom) if freedom else None


def power_lines(spec: ReportSpec, sd: float) -> list[str]:
    """What the contrasts show four times in five, and how often a margin is confirmed where there is no difference.

    sd: of paired differences, in the unit of the report
    """
    n, tests = spec.replicates, spec.tests
    unit = "language models" if spec.language_models else "seeds"
    smallest = detectable_difference(spec, sd)
    if smallest is None:
        return [f"{n} {unit} are too few for a claim ({FEWEST_SEEDS} are needed)."]
    count = f"{tests} test{'s' if tests > 1 else ''}"
    lines = [f"With an sd of differences of {sd:.2f}, {n} {unit} show {smallest:.2f} four times in five ({count})."]
    if wanted := spec.smallest_difference:
        enough = ": too few seeds" if smallest > wanted else ""
        lines[0] += f" The smallest difference of interest is {wanted:g}{enough}."
    for margin, power in margin_powers(spec, sd):
        lines.append(f"{margin.variant} - {margin.against} within {margin.value:g}: shown in {power:.0%} if equal.")
    return lines
