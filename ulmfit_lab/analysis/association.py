"""Two numbers of the same models: which is steadier, and which tells more of an outcome.

A model is a variant, its runs differ by seed. Runs of one variant are not independent, so the bootstrap draws whole
variants (a cluster bootstrap). With as few as eight of them its percentiles are too narrow: in simulations such 95%
intervals often held the truth no more than 80 to 90% of the time. So its standard deviation, times sqrt(n / (n - 1))
as it comes from n variants, is put into a t interval with n - 1 degrees of freedom, on a scale where the statistic is
about normal (the logarithm of a ratio of variances, Fisher's z of a correlation): 93 to 99% in the same simulations.
See Hesterberg 2015, "What Teachers Should Know About the Bootstrap", and Ukoumunne et al. 2003 on intraclass
correlations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import numpy as np
import pandas as pd

from ulmfit_lab.analysis.spec import FEWEST_SEEDS, Associations, Predictor, ReportSpec
from ulmfit_lab.analysis.statistics import ALPHA, ROUNDING

RESAMPLES, SEED = 9999, 0
FEWEST_MODELS = 6
"""With fewer models no claim is made: the bootstrap has too little to draw from."""
LARGEST = 1 - 1e-6
"""Correlations are cut here, where Fisher's z still is finite."""

Outcome = Literal["more", "less", "no difference shown", "too few models", "too few seeds", "unknown"]
Statistic = Callable[[np.ndarray], np.ndarray]
"""Numbers of the models drawn (R, n) int -> the statistic of each draw (R,)."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval; nan where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SeedVariance:
    """A number's noise beside what sets models apart; sds in the number's own unit."""

    between: float
    """Sd of the models' means."""
    within: float
    """Sd of the noise: root mean square over the models."""
    share: Estimate
    """Share of the variance that is noise."""


@dataclass(frozen=True)
class Stability:
    """The noise of both numbers, and how they compare."""

    over: Literal["seeds", "epochs"]
    noises: tuple[SeedVariance, SeedVariance]
    ratio: Estimate
    """Noise relative to the spread between models, of the second number over that of the first."""
    models: int
    outcome: Outcome
    """Whether the second number has more or less noise than the first."""


@dataclass(frozen=True)
class Correlations:
    """Rank correlations of both numbers with the outcome, over all runs."""

    each: tuple[Estimate, Estimate]
    difference: Estimate
    """Absolute correlation of the second number minus that of the first."""
    models: int
    outcome: Outcome
    """Whether the second number tells more or less than the first."""


def values_of(runs: pd.DataFrame, column: str, models: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """A column of the runs as (models, seeds); nan where a run has no value, or none has."""
    if column not in runs.columns:
        return np.full((len(models), len(seeds)), np.nan)
    return runs.pivot(index="variant", columns="seed", values=column).loc[list(models), list(seeds)].to_numpy(float)


def compared(runs: pd.DataFrame, x: Predictor, spec: ReportSpec) -> np.ndarray:
    """A number as it is compared: (models, seeds), scaled, its logarithm where it asks for that."""
    values = values_of(runs, x.metric, spec.models, spec.seeds) * x.scale
    return np.log(values) if x.log else values


def steadiness_of(runs: pd.DataFrame, spec: ReportSpec) -> list[Stability]:
    """Noise over seeds and over the last epochs of a run, where there are two seeds, and two models with epochs.

    runs: a grid that `check_grid` let pass.
    """
    if spec.associations is None:
        return []
    first, second = (compared(runs, x, spec) for x in spec.associations.x)
    n = len(spec.seeds)
    over_seeds = [values.var(axis=1, ddof=1) for values in (first, second)] if n > 1 else []
    squares = [_epoch_variances(runs, x, spec) for x in spec.associations.x]
    known = np.isfinite(squares[0]) & np.isfinite(squares[1])
    found = (
        [compute_stability("seeds", (first, second), (over_seeds[0], over_seeds[1]))]
        if n > 1 and len(first) > 1
        else []
    )
    if known.sum() > 1:
        found += [compute_stability("epochs", (first[known], second[known]), (squares[0][known], squares[1][known]))]
    return found


def _epoch_variances(runs: pd.DataFrame, x: Predictor, spec: ReportSpec) -> np.ndarray:
    """Each model's variance over the last epochs (models,), the mean over its runs; nan where a run has none."""
    scale = 1.0 if x.log else x.scale
    return np.asarray(((values_of(runs, x.epoch_sd, spec.models, spec.seeds) * scale) ** 2).mean(axis=1))


def compute_stability(
    over: Literal["seeds", "epochs"], values: tuple[np.ndarray, np.ndarray], noise: tuple[np.ndarray, np.ndarray]
) -> Stability:
    """The noise of two numbers, compared.

    values  2 x (models, seeds)
    noise   2 x (models,)        variance of each model's noise

    The share of noise is that of a one-way analysis of variance with random models, 1 - ICC(1) (Shrout & Fleiss
    1979): n / (F - 1 + n) of n seeds, with F the mean square between models over that of the noise, and not below 1.
    """
    models, n = values[0].shape
    logs = [partial(log_f, v.mean(axis=1), s, n) for v, s in zip(values, noise, strict=True)]
    noises = [_noise(v, s, log) for v, s, log in zip(values, noise, logs, strict=True)]
    ratio = estimate(lambda drawn: (logs[0](drawn) - logs[1](drawn)) / 2, models, lambda d: math.exp(min(d, 700.0)))
    return Stability(over, (noises[0], noises[1]), ratio, models, outcome(ratio, 1.0, models, n))


def _noise(values: np.ndarray, noise: np.ndarray, log: Statistic) -> SeedVariance:
    models, n = values.shape

    def share(log_f: float) -> float:
        return n / (max(math.exp(min(log_f, 700.0)), 1.0) - 1 + n)

    found = estimate(log, models, share)
    between, within = float(values.mean(axis=1).std(ddof=1)), math.sqrt(noise.mean())
    return SeedVariance(between, within, Estimate(found.value, found.high, found.low))  # a larger F is a smaller share


def log_f(means: np.ndarray, noise: np.ndarray, n: int, drawn: np.ndarray) -> np.ndarray:
    """Logarithm of F for each draw of models: n times the variance of their means (models,), over their noise."""
    between, within = means[drawn].var(axis=1, ddof=1), noise[drawn].mean(axis=1)
    least = (ROUNDING * np.abs(means).max()) ** 2  # equal values may differ by rounding, and have no logarithm then
    return np.asarray(np.log(n * between * (between > least)) - np.log(within * (within > least)))


def correlations_of(runs: pd.DataFrame, spec: ReportSpec) -> dict[str, Correlations]:
    """Spearman's and Kendall's correlations of both numbers with the outcome; none of fewer than two models."""
    if spec.associations is None or len(spec.models) < 2:
        return {}
    first, second = (compared(runs, x, spec) for x in spec.associations.x)
    y = outcome_of(runs, spec, spec.associations)
    return {
        "Spearman": compute_correlations(first, second, y, spearman),
        "Kendall": compute_correlations(first, second, y, kendall),
    }


def outcome_of(runs: pd.DataFrame, spec: ReportSpec, declared: Associations) -> np.ndarray:
    """The outcome of every run, scaled: (models, seeds)."""
    return values_of(runs, declared.y, spec.models, spec.seeds) * declared.y_scale


def compute_correlations(
    first: np.ndarray,
    second: np.ndarray,
    y: np.ndarray,
    correlate: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> Correlations:
    """Correlations of two numbers with an outcome, all (models, seeds), and the difference of their strengths."""
    models, n = y.shape

    def z_of(x: np.ndarray) -> Statistic:
        return lambda drawn: np.arctanh(np.clip(correlate(x, y, drawn), -LARGEST, LARGEST))

    def stronger(drawn: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(correlate(second, y, drawn)) - np.abs(correlate(first, y, drawn)))

    difference = estimate(stronger, models)
    each = estimate(z_of(first), models, math.tanh), estimate(z_of(second), models, math.tanh)
    return Correlations(each, difference, models, outcome(difference, 0.0, models, n))


def spearman(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of x and y (models, seeds) over all runs of each draw of models (R, models)."""
    from scipy import stats  # slow to import

    ranks = [stats.rankdata(v[drawn].reshape(len(drawn), -1), axis=1) for v in (x, y)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    return np.asarray((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))


def kendall(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of x and y (models, seeds) over all runs of each draw of models (R, models).

    The pairs of runs are summed over pairs of models once; a draw only weighs those sums.
    """
    models, n = x.shape
    counts = (drawn[:, :, None] == np.arange(models)).sum(axis=1).astype(float)
    a, b = (np.sign(v.reshape(-1, 1) - v.reshape(1, -1)) for v in (x, y))

    def total(pairs: np.ndarray) -> np.ndarray:
        return np.asarray(((counts @ pairs.reshape(models, n, models, n).sum(axis=(1, 3))) * counts).sum(1))

    return np.asarray(total(a * b) / np.sqrt(total(a * a) * total(b * b)))


def estimate(statistic: Statistic, models: int, back: Callable[[float], float] = float) -> Estimate:
    """A statistic of all models with its 95% interval (see above), taken back from the scale it is about normal on.

    Draws for which the statistic does not exist, such as of one model many times, are left out.
    """
    from scipy import stats  # slow to import

    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(np.arange(models)[None])[0])
        drawn = statistic(resamples(models, RESAMPLES))
    drawn = drawn[np.isfinite(drawn)]
    if not math.isfinite(value) or len(drawn) < 2:
        return Estimate(back(value) if not math.isnan(value) else value, math.nan, math.nan)
    half = float(stats.t.ppf(1 - ALPHA / 2, models - 1)) * math.sqrt(models / (models - 1)) * float(drawn.std())
    return Estimate(back(value), back(value - half), back(value + half))


@cache
def resamples(models: int, count: int) -> np.ndarray:
    """Draws of models with replacement (count, models) int: the same ones for every statistic, so that they pair."""
    return np.random.default_rng(SEED).integers(models, size=(count, models))


def outcome(found: Estimate, neutral: float, models: int, seeds: int) -> Outcome:
    """What may be said of the second number against the first, from an interval and the value of no difference."""
    if models < FEWEST_MODELS:
        return "too few models"
    if seeds < FEWEST_SEEDS:
        return "too few seeds"
    if math.isnan(found.low):
        return "unknown"
    return "less" if found.high < neutral else "more" if found.low > neutral else "no difference shown"
