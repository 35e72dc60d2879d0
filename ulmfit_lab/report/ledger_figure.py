"""Figure of the ledger: relative difference of each contrast with its 95% CI and verdict.

Differences are in percent of the mean of against, so that errors and perplexities share an axis. Standardized by their
sd, all intervals over the same number of seeds would have the same width.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.analysis.statistics import Verdict
from ulmfit_lab.report.figures import WIDTH, WRAP_CAPTION
from ulmfit_lab.report.ledger import Entry, Headline, contrast_words

ROW = 0.2  # inches
MAX_REACH = 2.5
"""Longer intervals are cut at this multiple of the largest difference."""
CAPTION = (
    "Paired difference, variant minus against, in percent of the mean of against, with unadjusted 95% t interval (the "
    "mean of against is treated as known). Negative: the variant is better; signs are reversed if higher is better. "
    "Verdicts are adjusted as the ledger says."
)


def style_of_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return colour, marker and fill of a verdict; verdicts are distinguishable in greyscale."""
    colours = sns.color_palette("colorblind", 10)
    looks: Mapping[Verdict, tuple[Any, str, bool]] = {
        "better": (colours[0], "o", True),
        "worse": (colours[3], "s", True),
        "no difference shown": ("0.4", "o", False),
        "not tested": ("0.6", "v", False),
        "too few seeds": ("0.6", "D", False),
        "not replicated": ("0.6", "P", False),
        "void": ("0.6", "X", False),
    }
    colour, marker, filled = looks[verdict]
    return {"color": colour, "marker": marker, "markerfacecolor": colour if filled else "white", "markersize": 5.5}


def draw_ledger(entries: Sequence[Entry]) -> Figure:
    """Draw a row per contrast below the name of its experiment; experiments without results are omitted."""
    shown = [(entry.name, entry.result) for entry in entries if entry.result]
    labels: list[tuple[str, bool]] = []
    placed: list[tuple[int, Headline, ReportSpec]] = []
    for name, result in shown:
        labels.append((f"{name} ({result.spec.scale})", True))
        for headline in result.headlines:
            placed.append((len(labels), headline, result.spec))
            labels.append((contrast_words(headline.row, result.spec), False))
    figure = Figure(figsize=(WIDTH, 1.7 + ROW * len(labels)), layout="constrained")
    axis = figure.subplots()
    for place, headline, spec in placed:
        draw_headline(axis, place, headline, spec)
    cut = limit_axis(axis, [(headline, spec) for _, headline, spec in placed])
    label_rows(axis, labels)
    axis.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    axis.set(xlabel="difference (%)")
    sns.despine(ax=axis, left=True)
    annotate(figure, axis, [headline.row.verdict for _, headline, _ in placed], cut=cut)
    return figure


def orient_difference(headline: Headline, spec: ReportSpec) -> tuple[float, float, float]:
    """Return difference and interval in percent, negative if the variant is better; nan without an interval."""
    result, sign = headline.row.result, 1 if spec.lower_is_better else -1
    middle, *ends = (sign * headline.percent(v) for v in (result.difference, result.low, result.high))
    low, high = sorted(ends)
    return middle, low, high


def draw_headline(axis: Axes, place: int, headline: Headline, spec: ReportSpec) -> None:
    """Draw a difference with its interval."""
    middle, low, high = orient_difference(headline, spec)
    style = style_of_verdict(headline.row.verdict)
    if not math.isnan(low):
        axis.plot([low, high], [place, place], color=style["color"], linewidth=1.5, zorder=2)
    axis.plot([middle], [place], linestyle="none", zorder=3, **style)


def limit_axis(axis: Axes, placed: Sequence[tuple[Headline, ReportSpec]]) -> bool:
    """Set the limits of the axis; return whether intervals extend beyond it."""
    values = np.abs([orient_difference(*each) for each in placed])
    points, reach = float(np.nanmax(values[:, 0])), float(np.nanmax(values))
    if points > 0:
        limit = min(MAX_REACH * points, 1.05 * reach)
        axis.set_xlim(-limit, limit)
    return reach > MAX_REACH * points > 0


def label_rows(axis: Axes, labels: Sequence[tuple[str, bool]]) -> None:
    """Label the rows, with experiments in bold."""
    axis.set_yticks(range(len(labels)), [name for name, _ in labels])
    for text, (_, heading) in zip(axis.get_yticklabels(), labels, strict=True):
        text.set_fontweight("bold" if heading else "normal")
        text.set_fontsize(8)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")


def annotate(figure: Figure, axis: Axes, verdicts: Sequence[Verdict], *, cut: bool) -> None:
    """Add title, caption and legend."""
    figure.suptitle("Differences of the contrasts with results", x=0.012, ha="left", fontsize=10.5, fontweight="bold")
    caption = textwrap.fill(CAPTION + (" Some intervals extend beyond the axis." if cut else ""), WRAP_CAPTION)
    figure.supxlabel(caption, x=0.012, ha="left", fontsize=7.5, color="0.35")
    marks = [Line2D([], [], linewidth=1.5, label=name, **style_of_verdict(name)) for name in dict.fromkeys(verdicts)]
    where: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
    axis.legend(handles=marks, frameon=False, ncols=len(marks), fontsize=8, **where)
