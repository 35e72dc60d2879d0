"""Group-sequential paired t tests whose nominal levels are calibrated by simulation.

Repeated tests at the 5% level would inflate the type I error. The interim analyses spend it as Lan & DeMets (1983)
do with their O'Brien-Fleming-type function: after a share t of the pairs, 4 (1 - Phi(z / sqrt(t))) of it is spent,
where z is the upper alpha / 4 quantile (alpha / 2 for each side).
The nominal level of an analysis is the one at which just its increment is spent by comparisons that were not rejected
before. It is found by simulating the paired t statistics under the null hypothesis, whose joint distribution has no
unknown parameter for normal differences; unlike boundaries for normal statistics, this is exact for few pairs.

p is the repeated p-value and the interval the repeated confidence interval of Jennison & Turnbull (1989): the smallest
overall level at which the comparison is rejected at one of the analyses so far, and the differences that are not.

Holm's correction remains valid if comparisons stop at different analyses, since rejections are kept and the p of
continued comparisons can only decrease (Maurer & Bretz 2013).

Analyses that were planned after a fixed test had been made have the error of both: the smaller of the two p-values is
compared with its own simulated null distribution.
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
FEWEST_REJECTED = 200
"""Simulated rejections from which a nominal level is estimated; below, the increment itself, which is a lower bound."""
OVERALL = np.geomspace(1e-12, 1, 121)
"""Overall levels whose nominal levels are tabulated; others are interpolated. The first is the smallest p."""


def compare_sequentially(a: Sequence[float], b: Sequence[float], looks: Sequence[int], tested: int = 0) -> PairedResult:
    """Paired t test of a - b at an interim analysis: repeated p-value and repeated 95% confidence interval.

    a, b    (n,)  one value per seed, in the order in which seeds were added; n is one of `looks`
    looks   numbers of seeds of all planned analyses
    tested  number of seeds of a fixed test that was made before the analyses were planned; 0 if there was none

    Raises ValueError if n is not one of them.
    """
    n, plan = len(a), tuple(looks)
    if n not in looks:
        raise ValueError(f"no interim analysis is planned after {n} seeds, only after {list(looks)}")
    taken = [compare_paired(a[:k], b[:k]) for k in looks if k <= n]
    p = float(repeated_p(np.array([each.p for each in taken]), plan))
    if tested:
        p = float(p_after_test(np.minimum(p, compare_paired(a[:tested], b[:tested]).p), plan, tested))
    last = taken[-1]
    half = critical_t(plan, n, tested) * last.sd / math.sqrt(n)
    return replace(last, low=last.difference - half, high=last.difference + half, p=p)


def spend(alpha: np.ndarray, looks: tuple[int, ...]) -> np.ndarray:
    """Share of the type I error that is spent by each analysis: overall levels (A,) -> (A, looks)."""
    from scipy.special import ndtr, ndtri

    share = np.asarray(looks) / looks[-1]
    return np.asarray(4 * ndtr(ndtri(alpha / 4)[:, None] / np.sqrt(share)))


def levels_that_spend(p: np.ndarray, spent: np.ndarray) -> np.ndarray:
    """Nominal levels (looks,) at which simulated p-values (R, looks) are first rejected in the shares `spent`."""
    increments = np.diff(spent, prepend=0.0)
    if increments.max() * len(p) < FEWEST_REJECTED:
        return increments
    found, left = np.empty(len(spent)), p
    for look, increment in enumerate(increments):
        rejected = round(increment * len(p))
        level = increment
        # the first analysis is a single test, whose level is what it spends
        if look and rejected >= FEWEST_REJECTED:
            values = left[:, look]
            level = np.partition(values, rejected - 1)[rejected - 1] if rejected < len(values) else 1.0
        found[look] = max(level, increment)
        left = left[left[:, look] > found[look]]
    return found


@lru_cache
def null_p(looks: tuple[int, ...]) -> np.ndarray:
    """Simulated p-values of paired t tests after each number of pairs, under the null hypothesis (DRAWS, looks)."""
    random, found = np.random.default_rng(19830), []
    for _ in range(DRAWS // CHUNK):
        differences = random.standard_normal((CHUNK, looks[-1]))
        found.append(np.stack([t_test_p(differences[:, :n]) for n in looks], axis=1))
    return np.concatenate(found)


@lru_cache
def nominal_levels(looks: tuple[int, ...]) -> np.ndarray:
    """Nominal level of each analysis for the overall levels of OVERALL (A, looks), increasing with them."""
    simulated = null_p(looks)
    found = np.stack([levels_that_spend(simulated, spent) for spent in spend(OVERALL, looks)])
    return np.maximum(np.maximum.accumulate(found, axis=0), np.finfo(float).tiny)


def repeated_p(p: np.ndarray, looks: tuple[int, ...]) -> np.ndarray:
    """Smallest overall level at which one of the tests so far rejects: p of the first k looks (..., k) -> (...)."""
    table = np.log(nominal_levels(looks))
    logs = np.log(np.maximum(p, np.finfo(float).tiny))
    overall = [np.interp(logs[..., k], table[:, k], np.log(OVERALL)) for k in range(p.shape[-1])]
    return np.asarray(np.exp(np.min(overall, axis=0)))


@lru_cache
def law_after_test(looks: tuple[int, ...], tested: int) -> np.ndarray:
    """Sorted simulated minima (DRAWS,) of the p of a fixed test after `tested` pairs and of the repeated p-value."""
    every = tuple(sorted({tested, *looks}))
    p = null_p(every)
    repeated = repeated_p(p[:, [every.index(n) for n in looks]], looks)
    return np.sort(np.minimum(p[:, every.index(tested)], repeated))


def p_after_test(smallest: np.ndarray, looks: tuple[int, ...], tested: int) -> np.ndarray:
    """Probability, under the null hypothesis, that the smaller of the two p-values is at most `smallest` (...).

    Monte Carlo p-value (Phipson & Smyth 2010), or Bonferroni's bound if that is smaller.
    """
    law = law_after_test(looks, tested)
    share = (1 + np.searchsorted(law, smallest, side="right")) / (1 + len(law))
    return np.minimum(share, 2 * smallest)


def t_test_p(differences: np.ndarray) -> np.ndarray:
    """Two-sided p of one-sample t tests: differences (R, n) -> (R,)."""
    from scipy.special import stdtr

    n = differences.shape[1]
    t = differences.mean(axis=1) / differences.std(axis=1, ddof=1) * math.sqrt(n)
    return np.asarray(2 * stdtr(n - 1, -np.abs(t)))


def critical_t(looks: tuple[int, ...], n: int, tested: int = 0) -> float:
    """Critical |t| at the analysis after n pairs."""
    from scipy.special import stdtrit

    return float(-stdtrit(n - 1, level_at(looks, n, ALPHA, tested) / 2))


def level_at(looks: tuple[int, ...], n: int, alpha: float, tested: int = 0) -> float:
    """Nominal level of the t test after n pairs for an overall level alpha."""
    if tested:  # "lower" makes the interval consistent with p
        alpha = float(np.quantile(law_after_test(looks, tested), alpha, method="lower"))
    own = np.log(nominal_levels(looks)[:, looks.index(n)])
    return float(np.exp(np.interp(math.log(alpha), np.log(OVERALL), own)))
