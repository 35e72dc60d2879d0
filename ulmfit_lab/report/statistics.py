"""Paired comparisons: difference, 95% interval, corrected p, and a verdict in words."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

ALPHA = 0.05
FEWEST_SEEDS = 6
"""With fewer pairs no claim is made."""
MOST_SEEDS = 1000
"""Beyond this, the number of further seeds is not worth naming."""


@dataclass(frozen=True)
class Summary:
    """Mean, sd and 95% t interval of n values; sd and interval are nan for one value."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Paired:
    """Mean of n paired differences, its 95% t interval, the differences' sd, and the p of a paired t test."""

    difference: float
    low: float
    high: float
    sd: float
    p: float
    n: int


def summarise(values: Sequence[float]) -> Summary:
    """Mean, spread and interval of independent values."""
    array = np.asarray(values, dtype=float)
    n, mean = len(array), float(array.mean())
    if n < 2:
        return Summary(mean, math.nan, math.nan, math.nan, n)
    sd = float(array.std(ddof=1))
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * sd / math.sqrt(n)
    return Summary(mean, sd, mean - half, mean + half, n)


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """a minus b, pair by pair (Student's paired t); differences that are all equal give p = 1 if 0, else p = 0."""
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    summary = summarise(differences)
    if summary.n < 2:
        return Paired(summary.mean, math.nan, math.nan, math.nan, math.nan, summary.n)
    if summary.sd == 0:
        return Paired(summary.mean, summary.mean, summary.mean, 0.0, float(summary.mean == 0), summary.n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy warns of nearly equal differences; p is right
        p = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return Paired(summary.mean, summary.low, summary.high, summary.sd, p, summary.n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979) over all comparisons of a report; what has no p keeps none."""
    known = [p for p in p_values if not math.isnan(p)]
    if not known:
        return list(p_values)
    corrected = iter(multipletests(known, method="holm")[1])
    return [math.nan if math.isnan(p) else float(next(corrected)) for p in p_values]


def verdict(result: Paired, corrected_p: float, lower_is_better: bool) -> str:
    """better, worse, no difference shown, or too few seeds."""
    if result.n < FEWEST_SEEDS:
        return "too few seeds"
    if not corrected_p < ALPHA:
        return "no difference shown"
    return "better" if (result.difference < 0) == lower_is_better else "worse"


def further_seeds(result: Paired, power: float = 0.8) -> int | None:
    """Further pairs that a paired t test would need to show a difference of the size observed, four times in five.

    None where it would take more than MOST_SEEDS, or nothing was observed. Uncorrected for multiple comparisons.
    """
    if result.n < 2 or not result.sd or result.difference == 0:
        return None
    effect = abs(result.difference) / result.sd
    solver = TTestPower()
    if solver.power(effect, MOST_SEEDS, ALPHA) < power:
        return None
    needed = next(n for n in range(2, MOST_SEEDS + 1) if solver.power(effect, n, ALPHA) >= power)
    return max(needed - result.n, 0)
