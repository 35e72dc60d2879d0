"""Paired t tests that may be looked at while seeds are added: a group-sequential rule, calibrated by simulation.

Looking again and again at the 5% level would find differences that are not there. Here the levels of the looks have
the shape of O'Brien and Fleming's alpha spending (Lan & DeMets 1983): next to nothing at the first looks, most at the
last one. Their height is calibrated. Under the null hypothesis the path of paired t statistics does not depend on
anything unknown, if differences are normal, as any t test assumes; so its law is simulated once, for just these numbers
of pairs. That is exact for few pairs too, where boundaries made for normal statistics are not.

A comparison's p is the repeated p-value and its interval the repeated confidence interval of Jennison & Turnbull
(1989): the chance that p is ever at most a is a, and all looks' intervals together hold the true difference with 95%.

Holm's correction stays valid where comparisons stop at different looks: a comparison rejected at one look stays so, and
one that goes on can only come to a smaller p (Maurer & Bretz 2013).
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
"""Simulated paths: a p of 0.05 then has a standard error of 0.0005, one of 0.001 of 0.00007."""


def compare_sequentially(a: Sequence[float], b: Sequence[float], looks: Sequence[int]) -> PairedResult:
    """Paired t test of a - b at a look: repeated p-value and repeated 95% confidence interval.

    a, b   (n,)  one value a seed, in the order in which seeds were added; n is one of the looks
    looks  numbers of seeds of all looks that are planned

    Raises ValueError for an n at which there is no look.
    """
    n = len(a)
    if n not in looks:
        raise ValueError(f"no look is planned after {n} seeds, only after {list(looks)}")
    taken = [compare_paired(a[:k], b[:k]) for k in looks if k <= n]
    smallest = min(each.p / weight for each, weight in zip(taken, weights(tuple(looks)), strict=False))
    p = float(repeated_p(np.asarray(smallest), tuple(looks)))
    last = taken[-1]
    half = critical_t(tuple(looks), n) * last.sd / math.sqrt(n)
    return replace(last, low=last.difference - half, high=last.difference + half, p=p)


@lru_cache
def weights(looks: tuple[int, ...]) -> np.ndarray:
    """Shape of the levels (looks,): what O'Brien and Fleming's spending function has spent by each of them."""
    share = np.asarray(looks) / looks[-1]
    from scipy.special import ndtr, ndtri

    return np.asarray(2 * ndtr(ndtri(ALPHA / 2) / np.sqrt(share)))


@lru_cache
def null_law(looks: tuple[int, ...]) -> np.ndarray:
    """Simulated smallest p / weight over all looks under the null hypothesis, in rising order (DRAWS,)."""
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
    """The chance, under the null hypothesis, that some look's p / weight is as small as the smallest so far (...).

    The share of simulated paths, themselves counted among them (Phipson & Smyth 2010); beyond the reach of the draws
    Bonferroni's bound over the looks, where that is lower.
    """
    law = null_law(looks)
    share = (1 + np.searchsorted(law, smallest, side="right")) / (1 + len(law))
    return np.minimum(share, smallest * weights(looks).sum())


def critical_t(looks: tuple[int, ...], n: int) -> float:
    """What |t| must reach at the look after n pairs for a p of 5%."""
    from scipy.special import stdtrit

    return float(-stdtrit(n - 1, level_at(looks, n, ALPHA) / 2))


def level_at(looks: tuple[int, ...], n: int, alpha: float) -> float:
    """The level of the plain t test at the look after n pairs with which p is ever at most alpha."""
    # a quantile that is one of the draws: the interval leaves 0 out just where p is below alpha
    return float(weights(looks)[looks.index(n)] * np.quantile(null_law(looks), alpha, method="lower"))
