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

Verdict = Literal["better", "worse", "no difference shown", "not tested", "too few seeds", "not replicated", "void"]
"""Not tested: a secondary comparison where a primary one is not shown. Not replicated: of what differs there is one
realisation. Void: the runs are no test of what is compared."""
MarginVerdict = Literal["equivalent", "non-inferior", "not shown", ""]
"""Equivalent: the difference is within the margin either way. Non-inferior: it is not worse than by the margin."""

ALPHA, POWER = 0.05, 0.8
MOST_SEEDS = 1000
"""Largest number of further seeds that is computed."""
COUNTS = range(FEWEST_SEEDS, MOST_SEEDS + 1)
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


def compare_clusters(a: Sequence[float], b: Sequence[float], clusters: Sequence[int]) -> PairedResult:
    """Student's t test of a - b over clusters of pairs that share a realisation of the treatment.

    a, b      (n,)  one value a seed, in the same order of seeds
    clusters  (n,)  number of each pair's cluster

    The mean difference of each cluster is one observation, so that n of the result counts clusters. For clusters of
    equal size this is the exact test of a mixed model with a random intercept for the cluster (Murray 1998, "Design and
    Analysis of Group-Randomized Trials"). With one cluster there is a difference and nothing more (nan).
    """
    if len(set(clusters)) == len(clusters):
        return compare_paired(a, b)
    labels = np.asarray(clusters)
    x, y = (
        [float(np.asarray(values, dtype=float)[labels == each].mean()) for each in np.unique(labels)]
        for values in (a, b)
    )
    return compare_paired(x, y)


@dataclass(frozen=True)
class MarginTest:
    """Two one-sided t tests of a difference against a margin."""

    p_equivalent: float
    """p of the difference being outside of the margin either way (TOST)."""
    p_non_inferior: float
    """p of the difference being worse than by the margin."""


def compare_with_margin(result: PairedResult, margin: float, lower_is_better: bool) -> MarginTest:
    """Two one-sided paired t tests (Schuirmann 1987); nan where there is no spread to test with.

    margin: the smallest difference that matters, in the unit of the result
    """
    from scipy import stats

    if result.n < 2 or math.isnan(result.sd):
        return MarginTest(math.nan, math.nan)
    worse = result.difference if lower_is_better else -result.difference
    if result.sd == 0:
        return MarginTest(float(abs(worse) >= margin), float(worse >= margin))
    error, freedom = result.sd / math.sqrt(result.n), result.n - 1
    above = float(stats.t.cdf((worse - margin) / error, freedom))
    below = float(stats.t.sf((worse + margin) / error, freedom))
    return MarginTest(max(above, below), above)


def margin_verdict(p_equivalent: float, p_non_inferior: float) -> MarginVerdict:
    """What two corrected p say of a difference and its margin."""
    return "equivalent" if p_equivalent < ALPHA else "non-inferior" if p_non_inferior < ALPHA else "not shown"


def equivalence_power(sd: float, n: int, margin: float, alpha: float = ALPHA) -> float:
    """Power of TOST of n pairs where the true difference is 0 (Phillips 1990), by the noncentral t approximation.

    sd: of the paired differences
    """
    from scipy.special import nctdtr, stdtrit

    if n < 2 or sd <= 0:
        return float(n >= 2)
    bound, shift = float(stdtrit(n - 1, 1 - alpha)), margin / (sd / math.sqrt(n))
    return max(0.0, 1 - 2 * float(nctdtr(n - 1, shift, bound)))


def gatekeep(p_values: Sequence[float], primary: Sequence[bool]) -> list[float]:
    """Holm's correction within the primary family and, after it, within the others (serial gatekeeping).

    A secondary comparison is tested only where all primary ones are significant, so its p is at least the largest of
    theirs (Dmitrienko, Tamhane & Bretz 2009, chapter 5). Without a primary family it is Holm's correction over all.
    """
    families = [[i for i, is_primary in enumerate(primary) if is_primary == wanted] for wanted in (True, False)]
    corrected, gate = [math.nan] * len(p_values), 0.0
    for family in families:
        found = holm([p_values[i] for i in family])
        for i, p in zip(family, found, strict=True):
            corrected[i] = max(p, gate) if not math.isnan(p) else p
        # a primary comparison without a p was not shown: nothing after it is tested
        gate = max((1.0 if math.isnan(p) else p for p in found), default=0.0)
    return corrected


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


def verdict(result: PairedResult, corrected_p: float, lower_is_better: bool, pairs: int = 0) -> Verdict:
    """What may be said of a variant against another, from its difference and corrected p.

    pairs: pairs of runs, where several of them make one of the result's n
    """
    if max(result.n, pairs) < FEWEST_SEEDS:
        return "too few seeds"
    if not corrected_p < ALPHA:
        return "no difference shown"
    return "better" if (result.difference < 0) == lower_is_better else "worse"


def further_seeds(result: PairedResult, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """Further pairs with which a paired t test would detect the observed difference with this power.

    At least FEWEST_SEEDS pairs in total; MOST_SEEDS + 1 means more than MOST_SEEDS. None if the difference is 0, or for
    one pair.
    """
    if result.n < 2 or result.difference == 0:
        return None
    effect = abs(result.difference) / result.sd if result.sd > 0 else math.inf
    needed = seeds_for_power(effect, power, alpha, range(max(FEWEST_SEEDS, result.n), result.n + MOST_SEEDS + 1))
    return MOST_SEEDS + 1 if needed is None else needed - result.n


def sd_limit(sd: float, n: int, confidence: float = 0.8) -> float:
    """Upper confidence limit of an sd that n values have: further seeds that are planned from it suffice as often.

    Planning from the sd itself falls short about half of the time (Browne 1995, Statistics in Medicine 14).
    """
    from scipy import stats

    return sd * math.sqrt((n - 1) / float(stats.chi2.ppf(1 - confidence, n - 1))) if n > 1 else sd


def seeds_for_power(
    effect: float,
    power: float = POWER,
    alpha: float = ALPHA,
    counts: range = COUNTS,
) -> int | None:
    """Smallest of these numbers of pairs with which a paired t test detects an effect with this power; None if none is.

    effect: in standard deviations of the paired differences
    """
    place = bisect_left(counts, True, key=lambda n: effect_power(effect, n, alpha) >= power)
    return counts[place] if place < len(counts) else None


def smallest_difference(sd: float, n: int, power: float = POWER, alpha: float = ALPHA) -> float | None:
    """Smallest difference that a paired t test of n pairs detects with this power, in the unit of sd.

    sd: standard deviation of the paired differences

    None for fewer than FEWEST_SEEDS pairs.
    """
    from scipy.optimize import brentq

    if n < FEWEST_SEEDS:
        return None
    high = 1.0
    while effect_power(high, n, alpha) < power:
        high *= 2
    return sd * float(brentq(lambda effect: effect_power(effect, n, alpha) - power, 0.0, high))


def effect_power(effect: float, n: int, alpha: float) -> float:
    """Power of a two-sided paired t test for an effect in standard deviations (noncentral t distribution)."""
    from scipy.special import nctdtr, stdtrit  # `stats.nct` gives the same, in twice the time of import

    if math.isinf(effect):
        return 1.0
    bound, shift = float(stdtrit(n - 1, 1 - alpha / 2)), effect * math.sqrt(n)
    missed, far = float(nctdtr(n - 1, shift, bound)), float(nctdtr(n - 1, shift, -bound))
    if math.isnan(missed):  # underflow, here and there where the shift is far above the bound
        return 1.0
    return 1 - missed + (0.0 if math.isnan(far) else far)
