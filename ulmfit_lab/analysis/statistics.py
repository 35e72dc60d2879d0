"""Paired comparisons: difference, 95% confidence interval, corrected p, and verdict.

SciPy and statsmodels are imported in functions, since both are slow to import.
"""

from __future__ import annotations

import gc
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ulmfit_lab.analysis.spec import FEWEST_SEEDS

Verdict = Literal["better", "worse", "no difference shown", "too few seeds", "void"]
"""Void: a run diverged or a manipulation check failed."""

ALPHA = 0.05
MOST_SEEDS = 1000
"""Largest number of further seeds that is computed."""
ROUNDING = 1e-12
"""Differences with a smaller relative standard deviation count as equal."""


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation and 95% t interval of n values; the latter two are nan for one value."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PairedResult:
    """Mean of n paired differences, its 95% t interval, their standard deviation, and p of the paired t test."""

    difference: float
    low: float
    high: float
    sd: float
    p: float
    n: int


def summarize(values: Sequence[float]) -> Summary:
    """Summarize independent values; raises ValueError without any."""
    from scipy import stats

    array = np.asarray(values, dtype=float)
    n = len(array)
    if n == 0:
        raise ValueError("no values to summarise")
    mean = float(array.mean())
    if n == 1:
        return Summary(mean, math.nan, math.nan, math.nan, n)
    sd = float(array.std(ddof=1))
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * sd / math.sqrt(n)
    return Summary(mean, sd, mean - half, mean + half, n)


def compare_paired(a: Sequence[float], b: Sequence[float]) -> PairedResult:
    """Student's paired t test of a - b.

    a, b  (n,)  one value per seed, in the same order of seeds

    If all differences are equal, p is 1 if they are 0, else 0. For one pair all but the difference is nan. Raises
    ValueError for unequal lengths or no pair.
    """
    from scipy import stats

    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.shape != y.shape:
        raise ValueError(f"{len(x)} and {len(y)} values do not pair")
    found = summarize(list(x - y))
    if found.n == 1:
        return PairedResult(found.mean, math.nan, math.nan, math.nan, math.nan, 1)
    rounding = ROUNDING * float(np.abs([x, y]).max())
    if found.sd <= rounding:
        return PairedResult(found.mean, found.mean, found.mean, 0.0, float(abs(found.mean) <= rounding), found.n)
    test = stats.ttest_rel(x, y)
    interval = test.confidence_interval(1 - ALPHA)
    return PairedResult(found.mean, float(interval.low), float(interval.high), found.sd, float(test.pvalue), found.n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979); nan stays nan and does not count as a test."""
    from statsmodels.stats.multitest import multipletests

    known = [p for p in p_values if not math.isnan(p)]
    # multipletests collects garbage, which takes 0.3 s with torch and MLflow loaded; frozen objects are skipped
    gc.freeze()
    try:
        corrected = iter(multipletests(known, method="holm")[1] if known else ())
    finally:
        gc.unfreeze()
    return [math.nan if math.isnan(p) else float(next(corrected)) for p in p_values]


def verdict(result: PairedResult, corrected_p: float, lower_is_better: bool) -> Verdict:
    """Verdict on a variant against another."""
    if result.n < FEWEST_SEEDS:
        return "too few seeds"
    if not corrected_p < ALPHA:
        return "no difference shown"
    return "better" if (result.difference < 0) == lower_is_better else "worse"


def further_seeds(result: PairedResult, power: float = 0.8, alpha: float = ALPHA) -> int | None:
    """Further pairs with which a paired t test would detect the observed difference with this power.

    At least FEWEST_SEEDS pairs in total; MOST_SEEDS + 1 means more than MOST_SEEDS. None if the difference is 0, or for
    one pair.
    """
    if result.n < 2 or result.difference == 0:
        return None
    effect = abs(result.difference) / result.sd if result.sd > 0 else math.inf
    further = range(max(FEWEST_SEEDS - result.n, 0), MOST_SEEDS + 1)
    return further.start + bisect_left(further, True, key=lambda more: _power(effect, result.n + more, alpha) >= power)


def smallest_difference(sd: float, n: int, power: float = 0.8, alpha: float = ALPHA) -> float | None:
    """Smallest difference that a paired t test of n pairs detects with this power, in the unit of sd.

    sd: standard deviation of the paired differences

    None for fewer than FEWEST_SEEDS pairs.
    """
    from scipy.optimize import brentq

    if n < FEWEST_SEEDS:
        return None
    high = 1.0
    while _power(high, n, alpha) < power:
        high *= 2
    return sd * float(brentq(lambda effect: _power(effect, n, alpha) - power, 0.0, high))


def _power(effect: float, n: int, alpha: float) -> float:
    """Power of a two-sided paired t test for an effect in standard deviations (noncentral t distribution)."""
    from scipy import stats

    if math.isinf(effect):
        return 1.0
    bound, shift = float(stats.t.ppf(1 - alpha / 2, n - 1)), effect * math.sqrt(n)
    near, far = float(stats.nct.sf(bound, n - 1, shift)), float(stats.nct.cdf(-bound, n - 1, shift))
    return near if math.isnan(far) else near + far  # far underflows to nan
