"""Group-sequential paired t tests, calibrated by simulation.

Repeated tests at the 5% level would inflate the type I error. The levels of the interim analyses have the shape of
O'Brien-Fleming alpha spending (Lan & DeMets 1983): very small at first, largest at the last analysis. They are scaled
by simulating the paired t statistics under the null hypothesis, whose joint distribution has no unknown parameter for
normal differences. Unlike boundaries for normal statistics, this is exact for few pairs.

p is the repeated p-value and the interval the repeated confidence interval of Jennison & Turnbull (1989): under the
null hypothesis the smallest p of all analyses is at most a with probability a, and the intervals of all analyses
together contain the true difference with probability 95%.

Holm's correction remains valid if comparisons stop at different analyses, since rejections are kept and the p of
continued comparisons can only decrease (Maurer & Bretz 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ulmfit_lab.analysis.statistics import ALPHA, PairedResult, compare_paired

RULE = "O'Brien-Fleming-type alpha spending (Lan & DeMets 1983), calibrated for paired t tests by simulation"
DRAWS, CHUNK = 200_000, 20_000
"""Number of simulations; the standard error is 0.0005 for p = 0.05 and 0.00007 for p = 0.001."""


def compare_sequentially(a: Sequence[float], b: Sequence[float], looks: Sequence[int]) -> PairedResult:
    """Paired t test of a - b at an interim analysis: repeated p-value and repeated 95% confidence interval.

    a, b   (n,)  one value per seed, in the order in which seeds were added; n is one of `looks`
    looks  numbers of seeds of all planned analyses

    Raises ValueError if n is not one of them.
    """
    n = len(a)
    if n not in looks:
        raise ValueError(f"no interim analysis is planned after {n} seeds, only after {list(looks)}")
    taken = [compare_paired(a[:k], b[:k]) for k in looks if k <= n]
    smallest = min(each.p / weight for each, weight in zip(taken, weights(tuple(looks)), strict=False))
    p = float(repeated_p(np.asarray(smallest), tuple(looks)))
    last = taken[-1]
    half = critical_t(tuple(looks), n) * last.sd / math.sqrt(n)
    return replace(last, low=last.difference - half, high=last.difference + half, p=p)


@lru_cache
def weights(looks: tuple[int, ...]) -> np.ndarray:
    """Shape of the levels (looks,): alpha spent by each analysis (O'Brien-Fleming)."""
    share = np.asarray(looks) / looks[-1]
    from scipy.special import ndtr, ndtri

    return np.asarray(2 * ndtr(ndtri(ALPHA / 2) / np.sqrt(share)))


@lru_cache
def null_law(looks: tuple[int, ...]) -> np.ndarray:
    """Sorted simulated minima of p / weight over all analyses, under the null hypothesis (DRAWS,)."""
    random, found = np.random.default_rng(19830), []
    for _ in range(DRAWS // CHUNK):
        differences = random.standard_normal((CHUNK, looks[-1]))
        p = np.stack([t_test_p(differences[:, :n]) for n in looks], axis=1)
        found.append((p / weights(looks)).min(axis=1))
    return np.sort(np.concatenate(found))


def t_test_p(differences: np.ndarray) -> np.ndarray:
    """Two-sided p of one-sample t tests: differences (R, n) -> (R,)."""
    n = differences.shape[1]
    t = differences.mean(axis=1) / differences.std(axis=1, ddof=1) * math.sqrt(n)
    from scipy.special import stdtr

    return np.asarray(2 * stdtr(n - 1, -np.abs(t)))


def repeated_p(smallest: np.ndarray, looks: tuple[int, ...]) -> np.ndarray:
    """Probability, under the null hypothesis, that the minimum of p / weight is at most `smallest` (...).

    Monte Carlo p-value (Phipson & Smyth 2010), or Bonferroni's bound over the analyses if that is smaller.
    """
    law = null_law(looks)
    share = (1 + np.searchsorted(law, smallest, side="right")) / (1 + len(law))
    return np.minimum(share, smallest * weights(looks).sum())


def critical_t(looks: tuple[int, ...], n: int) -> float:
    """Critical |t| at the analysis after n pairs."""
    from scipy.special import stdtrit

    return float(-stdtrit(n - 1, level_at(looks, n, ALPHA) / 2))


def level_at(looks: tuple[int, ...], n: int, alpha: float) -> float:
    """Nominal level of the t test after n pairs for an overall level alpha."""
    # "lower" makes the interval consistent with p
    return float(weights(looks)[looks.index(n)] * np.quantile(null_law(looks), alpha, method="lower"))
