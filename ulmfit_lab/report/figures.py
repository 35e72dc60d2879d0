"""One figure an experiment, in one style: colour-blind safe, readable in grey, intervals drawn, n in the caption.

The files are the same bytes each time they are made from the same runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from ulmfit_lab.report.compare import summaries
from ulmfit_lab.report.spec import ReportSpec
from ulmfit_lab.report.statistics import Summary

MARKERS = "oDs^vPX*"
DASHES = ["-", (0, (5, 1.5)), "-.", (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (7, 2)), "-", "--"]
STYLE = {
    "svg.hashsalt": "ulmfit_lab",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.dpi": 150,
}


def write_figure(runs: pd.DataFrame, spec: ReportSpec, folder: Path) -> list[Path]:
    """figure.svg and figure.png in a folder."""
    with mpl.rc_context(STYLE):
        figure = draw(runs, spec)
        paths = [folder / "figure.svg", folder / "figure.png"]
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], metadata={"Software": None}, dpi=150)
    return paths


def draw(runs: pd.DataFrame, spec: ReportSpec) -> Figure:
    """The measure against the crossed field, a line a variant; without a crossed field, a point a variant."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    found = summaries(runs, spec)
    if len(spec.levels) > 1 and all(is_number(level) for level in spec.levels):
        draw_lines(axis, found, spec)
    else:
        draw_points(axis, found, spec)
    n = len(spec.seeds)
    figure.supxlabel(
        f"{spec.name}, scale {spec.scale}: mean and 95% t interval over n = {n} seeds.", fontsize=7.5, color="0.35"
    )
    return figure


def is_number(text: str) -> bool:
    """Whether a level can be placed on an axis of numbers."""
    try:
        return float(text) > 0
    except ValueError:
        return False


def draw_lines(axis: Axes, found: dict[tuple[str, str], Summary], spec: ReportSpec) -> None:
    """Lines over a logarithmic axis; each variant a little to the side, so that intervals do not hide each other."""
    places = [float(level) for level in spec.levels]
    middle = (len(spec.variants) - 1) / 2
    for number, variant in enumerate(spec.variants):
        summary = [found[variant, level] for level in spec.levels]
        aside = [place * 1.012 ** (number - middle) for place in places]
        look = look_of(number, variant, spec)
        error = [[s.mean - s.low for s in summary], [s.high - s.mean for s in summary]]
        axis.errorbar(aside, [s.mean for s in summary], yerr=error, label=variant, capsize=2.5, **look)
    axis.set_xscale("log")
    axis.set_xticks(places, spec.levels)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel=spec.level_label or spec.level_name, ylabel=spec.measure_label)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def draw_points(axis: Axes, found: dict[tuple[str, str], Summary], spec: ReportSpec) -> None:
    """Variants down the side, their means and intervals along; levels that are no numbers by marker."""
    for number, level in enumerate(spec.levels):
        summary = [found[variant, level] for variant in spec.variants]
        rows = [row + 0.15 * (number - (len(spec.levels) - 1) / 2) for row in range(len(spec.variants))]
        error = [[s.mean - s.low for s in summary], [s.high - s.mean for s in summary]]
        look = look_of(number, level, spec) | {"linestyle": "none"}
        axis.errorbar([s.mean for s in summary], rows, xerr=error, label=level or None, capsize=2.5, **look)
    axis.set_yticks(range(len(spec.variants)), spec.variants)
    axis.invert_yaxis()
    axis.set(xlabel=spec.measure_label)
    if len(spec.levels) > 1:
        axis.legend(title=spec.level_label, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def look_of(number: int, variant: str, spec: ReportSpec) -> dict[str, Any]:
    """Colour, marker and dashes; the reference is black and dashed."""
    if variant == spec.reference:
        return {"color": "black", "linestyle": "--", "marker": "x", "linewidth": 1.2, "markersize": 6}
    colour = sns.color_palette("colorblind")[number % 10]
    dashes = DASHES[number % len(DASHES)]
    return {
        "color": colour,
        "linestyle": dashes,
        "marker": MARKERS[number % len(MARKERS)],
        "linewidth": 1.6,
        "markersize": 5,
    }
