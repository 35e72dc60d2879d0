"""Intervals over seeds and test documents together.

Every seed is tested on the same documents: two crossed random factors without replication. The variance of the mean is
estimated from the mean squares of the two-way table (Searle, Casella & McCulloch 1992, "Variance Components", 4.4) and
its degrees of freedom are Satterthwaite's (1946). An interval over seeds alone says what further seeds would give on
these documents, this one what further seeds would give on further documents of the same kind.
"""

from __future__ import annotations

import math

import numpy as np

from ulmfit_lab.analysis.spec import CrossedResult
from ulmfit_lab.analysis.statistics import ALPHA


def compare_crossed(differences: np.ndarray) -> CrossedResult:
    """Mean of differences (S, N) of S seeds, or other replicates, on N documents; raises ValueError for fewer than 2.

    The variance is at least that over seeds alone and that over documents alone (Cameron, Gelbach & Miller 2011), and
    the interval at least as wide as the t interval over seeds alone.
    """
    from scipy.stats import t

    s, n = differences.shape
    if min(s, n) < 2:
        raise ValueError(f"{s} seeds and {n} documents are too few; at least 2 of each are needed")
    mean, rows, columns = differences.mean(), differences.mean(axis=1), differences.mean(axis=0)
    residual = differences - rows[:, None] - columns + mean
    # mean squares of seeds, documents and their interaction
    of_seeds, of_documents = n * rows.var(ddof=1), s * columns.var(ddof=1)
    rest = float((residual**2).sum() / ((s - 1) * (n - 1)))
    both = of_seeds + of_documents - rest
    square = max(both, of_seeds, of_documents)
    if square <= 0:  # no difference varies
        return CrossedResult(float(mean), float(mean), float(mean), 0.0, 0.0, s, n)
    if square == both:
        inverse = of_seeds**2 / (s - 1) + of_documents**2 / (n - 1) + rest**2 / ((s - 1) * (n - 1))
        df = square**2 / inverse
    else:
        df = s - 1 if square == of_seeds else n - 1
    halves = [float(t.isf(ALPHA / 2, df)) * math.sqrt(square / (s * n))]
    halves += [float(t.isf(ALPHA / 2, s - 1)) * math.sqrt(of_seeds / (s * n))]
    seeds, documents = (max(float(each) - rest, 0.0) / float(square) for each in (of_seeds, of_documents))
    return CrossedResult(float(mean), float(mean) - max(halves), float(mean) + max(halves), seeds, documents, s, n)
