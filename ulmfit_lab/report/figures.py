"""Figures of experiments, with a colour-blind palette and markers that differ in greyscale.

The same runs give the same bytes: text is drawn as paths of the bundled font, SVG ids have a constant salt, and the
metadata has no date and no version.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator, NullLocator

from ulmfit_lab.analysis.comparisons import summarize_variants, values
from ulmfit_lab.analysis.run_table import trained_runs
from ulmfit_lab.analysis.spec import ReportSpec, level_words
from ulmfit_lab.analysis.statistics import Summary
from ulmfit_lab.report.differences_figure import draw_differences, drawn_rows

MARKERS = "oDs^vPX*"
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), "-.", (0, (7, 2, 1, 2, 1, 2)), (0, (3, 1)), (0, (9, 2)), (0, (2, 2)))
COLOURS = (0, 1, 2, 3, 4, 5, 9, 7)
"""Indices into seaborn's colour-blind palette, without the colours that are too pale for thin lines."""
WIDTH, DPI = 7.2, 160  # inches, pixels per inch
WRAP_TITLE, WRAP_CAPTION, WRAP_NAME = 76, 112, 26  # characters
OFFSET = 0.012
"""Horizontal offset between variants at a level, as a share of the axis, so that intervals do not overlap."""
STYLE = {
    **sns.axes_style("ticks"),
    "svg.hashsalt": "ulmfit_lab",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.edgecolor": "0.4",
    "axes.linewidth": 0.8,
    "xtick.color": "0.25",
    "ytick.color": "0.25",
}

Summaries = Mapping[tuple[str, str], Summary]
"""(variant, level) -> summary."""


def figure_bytes(
    runs: pd.DataFrame,
    spec: ReportSpec,
    picture: Callable[[pd.DataFrame, ReportSpec], Figure],
    formats: Sequence[str] = ("svg", "png"),
) -> dict[str, bytes]:
    """Return file name -> bytes of the figure that `picture` draws, as SVG and PNG."""
    return save_figure(lambda: picture(runs, spec), "figure", formats)


def save_figure(picture: Callable[[], Figure], name: str, formats: Sequence[str] = ("svg", "png")) -> dict[str, bytes]:
    """Return file name -> bytes of a figure, without date or version; it is redrawn for each format."""
    options: Mapping[str, dict[str, Any]] = {
        "svg": {"metadata": {"Date": None, "Creator": None}},
        "png": {"metadata": {"Software": None}, "dpi": DPI},
    }
    files = {f"{name}.{format}": io.BytesIO() for format in formats}
    with mpl.rc_context(STYLE):
        for format, file in zip(formats, files.values(), strict=True):
            picture().savefig(file, format=format, **options[format])
    return {name: file.getvalue() for name, file in files.items()}


def draw(runs: pd.DataFrame, spec: ReportSpec) -> Figure:
    """Draw the metric: a line per variant over the levels if these are numbers, otherwise a row per variant."""
    rows = len(plotted_variants(spec)) * (0.34 if len(spec.levels) == 1 else 0.12 + 0.2 * len(spec.levels))
    height, compared = 4.4 if has_numeric_levels(spec) else 1.9 + rows, drawn_rows(runs, spec)
    lower_height = 0.5 + 0.36 * len(compared) if compared else 0.0
    figure = Figure(figsize=(WIDTH, height + lower_height), layout="constrained")
    ratios = [height, lower_height] if compared else [height]
    panels = figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
    axis = panels[0].subplots()
    if compared:
        lower = panels[1].subplots()
        draw_differences(lower, compared, runs, spec)
        sns.despine(ax=lower, left=True)
    found = summarize_variants(runs, spec)
    if has_numeric_levels(spec):
        draw_lines(axis, found, spec)
    else:
        draw_rows(axis, found, runs, spec)
    window = window_of(trained_runs(runs)[spec.metric] * spec.metric_scale, list(found.values()))
    if window:
        (axis.set_ylim if has_numeric_levels(spec) else axis.set_xlim)(window)
    sns.despine(ax=axis)
    set_title(figure, spec.question, caption_of(spec, cut=window is not None))
    add_legend(panels[0], axis, spec, found)
    return figure


def window_of(seeds: pd.Series[float], found: Sequence[Summary]) -> tuple[float, float] | None:
    """Return axis limits if very long intervals (of few seeds) must be cut; None otherwise."""
    low, high = float(seeds.min()), float(seeds.max())
    spread = high - low
    longest = max((s.high - s.low for s in found if s.n > 1), default=0.0)
    return (low - spread / 4, high + spread / 4) if longest > 2 * spread > 0 else None


def add_legend(figure: FigureBase, axis: Axes, spec: ReportSpec, found: Summaries) -> None:
    """Add a legend of the variants or levels."""
    # without error bars
    handles, labels = axis.get_legend_handles_labels()
    marks = {name: mark[0] if isinstance(mark, tuple) else mark for mark, name in zip(handles, labels, strict=True)}
    if has_numeric_levels(spec):
        last = max(spec.levels, key=float)
        names = sorted(marks, key=lambda name: -found[name, last].mean)  # from top to bottom at the last level
        wrapped = [textwrap.fill(name, WRAP_NAME) for name in names]
        options: dict[str, Any] = {"loc": "outside right center", "handlelength": 3.4, "labelspacing": 0.8}
        figure.legend([marks[name] for name in names], wrapped, frameon=False, **options)
    elif marks:
        options = {"loc": "lower right", "bbox_to_anchor": (1, 1), "handlelength": 2.6, "borderaxespad": 0.2}
        axis.legend(list(marks.values()), list(marks), frameon=False, ncols=min(len(marks), 4), **options)


def set_title(figure: Figure, question: str, caption: str) -> None:
    """Add the question as title and the caption below the figure, wrapped."""
    figure.suptitle(textwrap.fill(question, WRAP_TITLE), x=0.012, ha="left", fontsize=10.5, fontweight="bold")
    figure.supxlabel(textwrap.fill(caption, WRAP_CAPTION), x=0.012, ha="left", fontsize=7.5, color="0.35")


def caption_of(spec: ReportSpec, *, cut: bool = False) -> str:
    """Return the caption: what is drawn, over how many seeds."""
    n, lines = len(spec.seeds), has_numeric_levels(spec)
    mean = f"mean and 95% t interval over n = {n} seeds" if n > 1 else "one seed, no interval"
    if spec.looks:
        mean = f"mean and 95% t interval over n = {spec.looks[0]} to {n} seeds, not adjusted for interim analyses"
    parts = {
        mean: True,
        "some intervals extend beyond the axis": cut,
        "small dots: single seeds": n > 1 and not lines,
        "grey band: interval of the reference": n > 1 and len(plotted_variants(spec)) < len(spec.variants),
        "variants are offset horizontally at each level": lines,
        "lower is better" if spec.lower_is_better else "higher is better": True,
        "lower panel: paired differences with unadjusted 95% CI": n > 1 and bool(spec.chosen_pairs),
    }
    return f"{spec.name}, scale {spec.scale}: {'; '.join(text for text, shown in parts.items() if shown)}."


def is_number(level: str) -> bool:
    """Return whether a level is a finite number."""
    try:
        return math.isfinite(float(level))
    except ValueError:
        return False


def has_numeric_levels(spec: ReportSpec) -> bool:
    """Return whether there are several levels, all numbers: they are the horizontal axis then."""
    return len(spec.levels) > 1 and all(is_number(level) for level in spec.levels)


def plotted_variants(spec: ReportSpec) -> list[str]:
    """Return the variants drawn with markers: all but the reference, if that is drawn as a line."""
    line = spec.reference if has_numeric_levels(spec) or len(spec.levels) == 1 else None
    return [variant for variant in spec.variants if variant != line]


def draw_lines(axis: Axes, found: Summaries, spec: ReportSpec) -> None:
    """Draw means and intervals over the levels, on a logarithmic axis if all levels are positive."""
    places = np.array([float(level) for level in spec.levels])
    order, log = np.argsort(places), bool(places.min() > 0)
    levels = [spec.levels[i] for i in order]
    if spec.reference:
        draw_reference_line(axis, places[order], [found[spec.reference, level] for level in levels], spec.reference)
    names = plotted_variants(spec)
    for number, variant in enumerate(names):
        x = shift(places[order], (number - (len(names) - 1) / 2) * OFFSET, log)
        means, error = bars([found[variant, level] for level in levels])
        axis.errorbar(x, means, yerr=error, label=variant, **style_of(number), zorder=3)
    set_level_ticks(axis, places[order], levels, log)
    axis.set(xlabel=spec.level_label or spec.level_name, ylabel=spec.metric_label)


def shift(places: np.ndarray, share: float, log: bool) -> np.ndarray:
    """Return positions shifted by a share of the axis."""
    if log:
        return np.asarray(places * (places[-1] / places[0]) ** share)
    return np.asarray(places + (places[-1] - places[0]) * share)


def bars(found: Sequence[Summary]) -> tuple[np.ndarray, np.ndarray]:
    """Return means (n,) and the lengths of their error bars below and above (2, n), 0 for one seed."""
    means = np.array([s.mean for s in found])
    return means, np.nan_to_num([[s.mean - s.low for s in found], [s.high - s.mean for s in found]])


def draw_reference_line(axis: Axes, x: np.ndarray, found: Sequence[Summary], name: str) -> None:
    """Draw the reference as a dashed black line with its interval as a band."""
    means, error = bars(found)
    axis.fill_between(x, means - error[0], means + error[1], color="0.5", alpha=0.2, linewidth=0, zorder=1)
    axis.plot(x, means, color="black", linestyle="--", linewidth=1.4, label=name, zorder=2)


def set_level_ticks(axis: Axes, places: np.ndarray, levels: Sequence[str], log: bool) -> None:
    """Set ticks at the levels only; labels are rotated if they would overlap."""
    if log:
        axis.set_xscale("log")
    gaps, labels = np.diff(np.log(places) if log else places), [level_words(level) for level in levels]
    overlap = bool(gaps.min() < 0.012 * max(map(len, labels)) * gaps.sum())
    rotated: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if overlap else {}
    axis.set_xticks(places, labels, **rotated)
    axis.xaxis.set_minor_locator(NullLocator())


def draw_rows(axis: Axes, found: Summaries, runs: pd.DataFrame, spec: ReportSpec) -> None:
    """Draw seeds, mean and interval of each variant as a row, one per level if there are several."""
    names, step = plotted_variants(spec), 0.8 / len(spec.levels)
    for number, level in enumerate(spec.levels):
        places = np.arange(len(names)) + (number - (len(spec.levels) - 1) / 2) * step
        draw_level(axis, places, [found[name, level] for name in names], number, level, spec)
        for row, name in zip(places, names, strict=True):
            seeds = values(runs, spec, name, level) if len(spec.seeds) > 1 else []
            axis.plot(seeds, [row] * len(seeds), "o", color="0.55", markersize=2.6, alpha=0.8, zorder=2)
    if spec.reference and spec.reference not in names:
        draw_vertical_reference(axis, found[spec.reference, spec.levels[0]], spec.reference)
    axis.set_yticks(range(len(names)), [textwrap.fill(name, WRAP_NAME) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axis.tick_params(axis="y", length=0)
    only_level = spec.levels[0] if len(spec.levels) == 1 else ""
    axis.set(xlabel=spec.metric_label + (f", {spec.level_name} {level_words(only_level)}" if only_level else ""))


def draw_level(
    axis: Axes, rows: np.ndarray, found: Sequence[Summary], number: int, level: str, spec: ReportSpec
) -> None:
    """Draw means and intervals of all variants at one level."""
    means, error = bars(found)
    name = f"{spec.level_label or spec.level_name}: {level_words(level)}" if len(spec.levels) > 1 else None
    axis.errorbar(means, rows, xerr=error, label=name, **{**style_of(number), "linestyle": "none"}, zorder=3)


def draw_vertical_reference(axis: Axes, found: Summary, name: str) -> None:
    """Draw the reference as a vertical dashed line with its interval as a band."""
    if found.n > 1:
        axis.axvspan(found.low, found.high, color="0.5", alpha=0.2, linewidth=0, zorder=1)
    axis.axvline(found.mean, color="black", linestyle="--", linewidth=1.4, label=name, zorder=2)


def style_of(number: int) -> dict[str, Any]:
    """Return colour, marker and dashes; each of them distinguishes eight variants."""
    mark = MARKERS[number % len(MARKERS)]
    return {
        "color": sns.color_palette("colorblind", 10)[COLOURS[number % len(COLOURS)]],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": mark,
        "linewidth": 1.6,
        "elinewidth": 1.3,
        "capsize": 2.5,
        "markersize": 8 if mark in "PX*" else 5.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }
