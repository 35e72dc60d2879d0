"""Estimation plot of the tested paired differences, with 95% CIs and margins.

Separate intervals of two means do not show whether their paired difference is significant (Cumming & Finch 2005).
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

MAX_ROWS = 12
"""Only the first contrasts are drawn if there are more."""
WRAP = 34  # characters
COLOURS = {"better": "#0173b2", "worse": "#d55e00"}
"""Colours of seaborn's colour-blind palette; the verdict is also written beside each interval."""


def drawn_rows(runs: pd.DataFrame, spec: ReportSpec) -> list[Comparison]:
    """Return the primary contrasts or, if none are declared, all at the last level; empty with fewer than two seeds."""
    if len(spec.seeds) < 2:
        return []
    wanted = spec.primary or tuple((v, a, spec.levels[-1]) for v, a in spec.chosen_pairs)
    rows = [row for row in compare_variants(runs, spec) if (row.variant, row.against, row.level) in wanted]
    return [row for row in rows if row.result.n][:MAX_ROWS]


def draw_differences(axis: Axes, rows: Sequence[Comparison], runs: pd.DataFrame, spec: ReportSpec) -> None:
    """Draw a row per contrast: a dot per pair, the mean difference with its 95% CI, and the margin as a band."""
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
        style = {"capsize": 2.5, "linewidth": 1.6, "markersize": 5.5, "markeredgecolor": "white"}
        axis.errorbar([result.difference], [place], xerr=error, fmt="D", color=colour, zorder=3, **style)  # type: ignore[arg-type]
        axis.annotate(
            verdict_label(row),
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
            color=colour,
        )
    axis.set_xlim(axis_limits([value for row in rows for value in pair_differences(row, runs, spec)], rows))
    axis.set_yticks(range(len(rows)), [textwrap.fill(contrast_label(row, spec), WRAP) for row in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axis.tick_params(axis="y", length=0)
    sign = "negative" if spec.lower_is_better else "positive"
    axis.set_xlabel(f"paired difference ({sign}: the variant is better)", fontsize=8)


def pair_differences(row: Comparison, runs: pd.DataFrame, spec: ReportSpec) -> list[float]:
    """Return the difference of each pair of runs, in the unit of the report."""
    a, b = (by_seed(runs, spec, name, row.level) for name in (row.variant, row.against))
    return [a[seed] - b[seed] for seed in paired_seeds(runs, spec, (row.level, row.variant, row.against))]


def axis_limits(pairs: Sequence[float], rows: Sequence[Comparison]) -> tuple[float, float]:
    """Return axis limits that include zero and all pairs; long intervals and margins are cut."""
    low, high = min([*pairs, 0.0]), max([*pairs, 0.0])
    spread = (high - low) or 1.0
    ends = [end for row in rows for end in (row.result.low, row.result.high) if not math.isnan(end)]
    ends += [end for row in rows if row.margin for end in (-row.margin, row.margin)]
    low, high = (min([low, *ends]), max([high, *ends])) if ends else (low, high)
    return max(low, -2 * spread) - spread / 20, min(high, 2 * spread) + spread / 20


def contrast_label(row: Comparison, spec: ReportSpec) -> str:
    """Return the contrast, with its level if there are several."""
    level = f" ({level_words(row.level)})" if len(spec.levels) > 1 else ""
    return f"{row.variant} - {row.against}{level}"


def verdict_label(row: Comparison) -> str:
    """Return the verdict, the verdict on the margin, and the reason if it is not replicated."""
    reason = row.why if row.verdict == "not replicated" else ""
    return "\n".join(textwrap.fill(text, 22) for text in (row.verdict, row.margin_verdict, reason) if text)
