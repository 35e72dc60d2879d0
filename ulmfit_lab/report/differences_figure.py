"""The paired differences that are tested, with their intervals and margins: an estimation plot.

Intervals of means cannot show a paired verdict, since what the pairs share is in both means (Cumming & Finch 2005).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ulmfit_lab.analysis.comparisons import Comparison, by_seed, compare_variants, paired_seeds
from ulmfit_lab.analysis.spec import ReportSpec, level_words

MOST = 12
"""Rows of the panel; of more contrasts the first are drawn."""
WRAP = 34  # characters
COLOURS = {"better": "#0173b2", "worse": "#d55e00"}
"""Of seaborn's colour-blind palette; verdicts are written beside the intervals, too."""


def drawn_rows(runs: pd.DataFrame, spec: ReportSpec) -> list[Comparison]:
    """The primary contrasts; none declared: all contrasts at the last level. None with fewer than two seeds."""
    if len(spec.seeds) < 2:
        return []
    wanted = spec.primary or tuple((v, a, spec.levels[-1]) for v, a in spec.chosen_pairs)
    rows = [row for row in compare_variants(runs, spec) if (row.variant, row.against, row.level) in wanted]
    return [row for row in rows if row.result.n][:MOST]


def draw_differences(axis: Axes, rows: Sequence[Comparison], runs: pd.DataFrame, spec: ReportSpec) -> None:
    """A row for each contrast: a dot for each pair, the mean difference with its 95% interval, the margin as a band."""
    axis.axvline(0, color="0.3", linewidth=1, zorder=1)
    for place, row in enumerate(rows):
        pairs = pair_differences(row, runs, spec)
        axis.plot(pairs, [place] * len(pairs), "o", color="0.55", markersize=2.6, alpha=0.8, zorder=2)
        if row.margin:
            axis.fill_betweenx(
                [place - 0.32, place + 0.32], -row.margin, row.margin, color="0.5", alpha=0.2, linewidth=0, zorder=1
            )
        result, colour = row.result, COLOURS.get(row.verdict, "0.25")
        error = [[0.0], [0.0]]
        if not math.isnan(result.low):
            error = [[result.difference - result.low], [result.high - result.difference]]
        look = {"capsize": 2.5, "linewidth": 1.6, "markersize": 5.5, "markeredgecolor": "white"}
        axis.errorbar([result.difference], [place], xerr=error, fmt="D", color=colour, zorder=3, **look)  # type: ignore[arg-type]
        axis.annotate(
            words_of(row), (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, color=colour
        )
    axis.set_xlim(window_of([value for row in rows for value in pair_differences(row, runs, spec)], rows))
    axis.set_yticks(range(len(rows)), [textwrap.fill(name_of(row, spec), WRAP) for row in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axis.tick_params(axis="y", length=0)
    way = "left of zero the variant is better" if spec.lower_is_better else "right of zero the variant is better"
    axis.set_xlabel(f"paired difference: {way}", fontsize=8)


def pair_differences(row: Comparison, runs: pd.DataFrame, spec: ReportSpec) -> list[float]:
    """The difference of each pair of runs, in the unit of the report."""
    a, b = (by_seed(runs, spec, name, row.level) for name in (row.variant, row.against))
    return [a[seed] - b[seed] for seed in paired_seeds(runs, spec, (row.level, row.variant, row.against))]


def window_of(pairs: Sequence[float], rows: Sequence[Comparison]) -> tuple[float, float]:
    """The axis: all pairs, intervals as far as they do not flatten these, margins and zero."""
    low, high = min([*pairs, 0.0]), max([*pairs, 0.0])
    room = (high - low) or 1.0
    ends = [end for row in rows for end in (row.result.low, row.result.high) if not math.isnan(end)]
    ends += [end for row in rows if row.margin for end in (-row.margin, row.margin)]
    low, high = (min([low, *ends]), max([high, *ends])) if ends else (low, high)
    return max(low, -2 * room) - room / 20, min(high, 2 * room) + room / 20


def name_of(row: Comparison, spec: ReportSpec) -> str:
    """The contrast, with its level where there are several."""
    level = f" ({level_words(row.level)})" if len(spec.levels) > 1 else ""
    return f"{row.variant} - {row.against}{level}"


def words_of(row: Comparison) -> str:
    """The verdict, that on the margin, and why nothing is claimed."""
    why = row.why if row.verdict == "not replicated" else ""
    return "\n".join(textwrap.fill(text, 22) for text in (row.verdict, row.margin_verdict, why) if text)
