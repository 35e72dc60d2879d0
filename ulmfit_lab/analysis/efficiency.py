"""How many labels one variant needs for what another one reaches: label efficiency, as a ratio with its interval.

The crossed field must be a number, such as `target.n_labels`. The curve of the variant that is compared with is made
monotone (isotonic regression) and read between its levels on the log scale of the field. The interval is a t interval
of the log ratio, with the standard error of a jackknife over independent pairs (Efron & Tibshirani 1993, chapter 11).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ulmfit_lab.analysis.comparisons import by_seed
from ulmfit_lab.analysis.manipulation_checks import Voids, find_failed_checks
from ulmfit_lab.analysis.replicates import find_replicates
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.analysis.statistics import ALPHA


@dataclass(frozen=True)
class LabelEfficiency:
    """What `against` needs for what `variant` reaches at a level."""

    variant: str
    against: str
    level: str
    needed: float
    """The level at which against reaches it; inf: at none that was run, nan: already at its first one."""
    low: float
    high: float
    """95% interval of the ratio; nan where it is unknown."""
    n: int
    """Independent pairs."""
    largest: float
    """The largest level at which against was run."""
    smallest: float
    """The smallest one."""
    why: str = ""
    """Why nothing is claimed: the runs diverged, or a manipulation check failed."""

    @property
    def ratio(self) -> float:
        """Times as many labels as variant."""
        return self.needed / float(self.level)


def label_efficiency(runs: pd.DataFrame, spec: ReportSpec) -> list[LabelEfficiency]:
    """Each declared pair at each level, from the runs of a complete grid."""
    failed = find_failed_checks(runs, spec)
    return [
        replace(
            efficiency_at(runs, spec, variant, against, level),
            why=curve_void(failed, spec, variant, against, level),
        )
        for variant, against in spec.efficiency
        for level in spec.levels
    ]


def curve_void(failed: Voids, spec: ReportSpec, variant: str, against: str, level: str) -> str:
    """Why a pair is void at a level: `against` is read at all levels; empty if it is not."""
    places = [(variant, level), *((against, each) for each in spec.levels)]
    return "; ".join(f"{name} at {at}: {failed[name, at]}" for name, at in places if (name, at) in failed)


def efficiency_at(runs: pd.DataFrame, spec: ReportSpec, variant: str, against: str, level: str) -> LabelEfficiency:
    """One pair at one level."""
    levels = sorted(spec.levels, key=float)
    curves = [by_seed(runs, spec, against, each) for each in levels]
    reached = by_seed(runs, spec, variant, level)
    seeds = [seed for seed in reached if all(seed in curve for curve in curves)]
    clusters = np.asarray(find_replicates(runs, variant, against, level, seeds).clusters)
    sign = 1.0 if spec.lower_is_better else -1.0
    errors = sign * np.array([[curve[seed] for curve in curves] for seed in seeds])  # (seeds, levels)
    targets = sign * np.array([reached[seed] for seed in seeds])
    places = np.log([float(each) for each in levels])
    needed, low, high = jackknife(places, errors, targets, clusters)
    at = float(level)
    low, high = (math.exp(end) / at if math.isfinite(end) else math.nan for end in (low, high))
    needed = math.exp(needed) if math.isfinite(needed) else needed
    ends = float(levels[-1]), float(levels[0])
    return LabelEfficiency(variant, against, level, needed, low, high, len(set(clusters)), *ends)


def jackknife(
    places: np.ndarray, errors: np.ndarray, targets: np.ndarray, clusters: np.ndarray
) -> tuple[float, float, float]:
    """Place at which the mean curve reaches the mean target, with its 95% t interval; nan where it cannot be told.

    places    (L,)    the levels, rising
    errors    (S, L)  a curve for each seed, lower is better
    targets   (S,)    what is to be reached, seed by seed
    clusters  (S,)    seeds of one cluster are left out together
    """
    from scipy import stats

    whole = crossing(places, errors.mean(axis=0), float(targets.mean()))
    labels = np.unique(clusters)
    if len(labels) < 2 or not math.isfinite(whole):
        return whole, math.nan, math.nan
    left_out = [
        crossing(places, errors[clusters != each].mean(axis=0), float(targets[clusters != each].mean()))
        for each in labels
    ]
    if not all(map(math.isfinite, left_out)):
        return whole, math.nan, math.nan
    n = len(labels)
    error = math.sqrt((n - 1) / n * float(((np.asarray(left_out) - np.mean(left_out)) ** 2).sum()))
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * error
    return whole, whole - half, whole + half


def crossing(places: np.ndarray, errors: np.ndarray, target: float) -> float:
    """Where a falling curve reaches a target: inf where it never does, nan where it has done so at its first place.

    >>> crossing(np.array([0.0, 1.0, 2.0]), np.array([30.0, 20.0, 10.0]), 15.0)
    1.5
    """
    from scipy.optimize import isotonic_regression

    curve = np.asarray(isotonic_regression(errors, increasing=False).x)
    if target < curve[-1]:
        return math.inf
    if target >= curve[0]:
        return math.nan
    after = int(np.argmax(curve <= target))
    before = after - 1
    share = (curve[before] - target) / (curve[before] - curve[after])
    return float(places[before] + share * (places[after] - places[before]))


def format_ratio(found: LabelEfficiency) -> Sequence[str]:
    """What against needs, the ratio, and its interval, in words where they are beyond the levels that were run."""
    if found.why:
        return ["void", f"({found.why})", ""]
    if math.isnan(found.needed):
        return ["its first level or fewer", "", ""]
    if math.isinf(found.needed):
        return [f"more than {found.largest:,.0f}", f"more than {found.largest / float(found.level):.1f}", ""]
    least, most = (end / float(found.level) for end in (found.smallest, found.largest))
    low = f"{found.low:.1f}" if found.low >= least else f"less than {least:.1f}"
    high = f"{found.high:.1f}" if found.high <= most else f"more than {most:.1f}"
    interval = "" if math.isnan(found.low) else f"{low} to {high}"
    return [f"{found.needed:,.0f}", f"{found.ratio:.1f}", interval]
