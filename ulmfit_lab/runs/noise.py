"""How noisy a measure is before anything is compared with it: over seeds, language models and test documents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ulmfit_lab.analysis.replicates import STAGE, TRAINED, merge_shared
from ulmfit_lab.analysis.statistics import smallest_difference, summarize
from ulmfit_lab.runs.items import load_predictions
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.training.metrics import RunMetric
from ulmfit_lab.utils.errors import MismatchError
from ulmfit_lab.utils.home import Home

PLANNED = (6, 12, 24)
"""Numbers of seeds whose smallest differences are shown."""


@dataclass(frozen=True)
class Noise:
    """The spread of a variant at a level, in the unit of the report; nan where it cannot be told."""

    variant: str
    level: str
    n: int
    mean: float
    sd: float
    """Over runs."""
    document_sd: float
    """Of an error rate that a sample of as many test documents has: sqrt(e (1 - e) / N)."""
    intraclass: float
    """Share of the variance that runs under one language model have in common (ICC(1), Shrout & Fleiss 1979)."""


def measure_noise(runs: Sequence[TrackedRun], measure: RunMetric, home: Home) -> list[Noise]:
    """A row for each variant and level with two finished runs or more."""
    groups: dict[tuple[str, str], list[TrackedRun]] = {}
    for run in runs:
        if measure.name in run.metrics and not run.diverged:
            groups.setdefault((run.variant, run.level), []).append(run)
    rows = []
    for (variant, level), members in groups.items():
        if len(members) < 2:
            continue
        values = [run.metrics[measure.name] * measure.scale for run in members]
        found = summarize(values)
        own = document_sd(members, home) * measure.scale if measure.name == "final/error" else math.nan
        rows.append(
            Noise(variant, level, found.n, found.mean, found.sd, own, intraclass(values, language_models(members)))
        )
    return rows


def document_sd(runs: Iterable[TrackedRun], home: Home) -> float:
    """Mean sd of the error rate over samples of test documents; nan where no predictions are stored."""
    found = []
    for run in runs:
        try:
            right = load_predictions(run, home).right
        except MismatchError:
            continue
        error = 1 - right.mean()
        found.append(math.sqrt(error * (1 - error) / len(right)))
    return sum(found) / len(found) if found else math.nan


def language_models(runs: Sequence[TrackedRun]) -> list[int]:
    """For each run the number of the trained stages that it shares with others."""
    made = [[run.tags.get(f"{STAGE.replace('/', '.')}{kind}", "") for run in runs] for kind in TRAINED]
    return merge_shared(range(len(runs)), made)


def intraclass(values: Sequence[float], groups: Sequence[int]) -> float:
    """ICC(1) of values in groups of about equal size, by one-way analysis of variance; nan without groups of several.

    >>> round(intraclass([1.0, 1.1, 2.0, 2.1, 3.0, 3.1], [0, 0, 1, 1, 2, 2]), 3)
    0.995
    """
    labels, inverse = np.unique(groups, return_inverse=True)
    k, n = len(labels), len(values)
    if k < 2 or k == n:
        return math.nan
    array = np.asarray(values, dtype=float)
    sizes = np.bincount(inverse)
    means = np.bincount(inverse, array) / sizes
    between = float((sizes * (means - array.mean()) ** 2).sum()) / (k - 1)
    within = float(((array - means[inverse]) ** 2).sum()) / (n - k)
    size = (n - float((sizes**2).sum()) / n) / (k - 1)
    total = between + (size - 1) * within
    return (between - within) / total if total > 0 else math.nan


def power_words(sd: float, tests: int) -> str:
    """The smallest differences that planned numbers of seeds show four times in five, in a sentence.

    sd: of paired differences, in the unit of the report
    """
    shown = [(n, smallest_difference(sd, n, alpha=0.05 / tests)) for n in PLANNED]
    listed = ", ".join(f"{n} seeds {difference:.2f}" for n, difference in shown if difference is not None)
    count = f"{tests} test{'s' if tests > 1 else ''}"
    return f"Differences of pairs have an sd of {sd:.2f}: shown four times in five ({count}): {listed}."
