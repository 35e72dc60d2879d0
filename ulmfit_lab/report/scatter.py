"""Scatter plots of the outcome against each of two metrics: a panel per metric, a mark per run, a style per variant."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

from ulmfit_lab.analysis.association import correlations_of, outcome_of, values_of, without_left_out
from ulmfit_lab.analysis.spec import Associations, Predictor, ReportSpec
from ulmfit_lab.report.association_words import format_interval, format_signed
from ulmfit_lab.report.figures import MARKERS, WIDTH, WRAP_NAME, set_title, style_of

HEIGHT = 4.2  # inches


def draw_scatter(runs: pd.DataFrame, spec: ReportSpec) -> Figure:
    """Draw the figure of an experiment with associations."""
    sound = without_left_out(runs, spec)
    spec = sound if sound.associations else spec
    declared = spec.associations
    if declared is None:
        raise ValueError("the report spec has no associations to plot")
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots(1, len(declared.x), sharey=True)
    found = correlations_of(runs, spec)
    each = found["Spearman"].each if found else ()
    for i, (axis, x) in enumerate(zip(axes, declared.x, strict=True)):
        scatter(axis, x, runs, spec, declared)
        if each:
            interval = format_interval(each[i], format_signed)
            suffix = f" ({interval})" if interval else ""
            axis.set_title(f"Spearman {format_signed(each[i].value)}{suffix}", fontsize=8.5, loc="left")
    axes[0].set_ylabel(declared.y_label)
    marks, names = axes[0].get_legend_handles_labels()
    options: dict[str, Any] = {"loc": "outside right center", "handletextpad": 0.3, "labelspacing": 0.8}
    figure.legend(marks, [textwrap.fill(name, WRAP_NAME) for name in names], frameon=False, **options)
    set_title(figure, spec.question, scatter_caption(spec, declared))
    return figure


def scatter(axis: Axes, x: Predictor, runs: pd.DataFrame, spec: ReportSpec, declared: Associations) -> None:
    """Draw one panel: the runs of each variant with its own colour and marker."""
    predictor = values_of(runs, x.metric, spec.models, spec.seeds) * x.scale
    outcome = outcome_of(runs, spec, declared)
    for number, model in enumerate(spec.models):
        axis.plot(predictor[number], outcome[number], label=model, **dots_of(number))
    if x.log:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_xlabel(x.label)
    sns.despine(ax=axis)


def dots_of(number: int) -> dict[str, Any]:
    """Return the style of a variant's marks; they are hollow from the ninth variant on."""
    style = style_of(number)
    hollow = number // len(MARKERS) % 2
    return {
        "linestyle": "none",
        "marker": style["marker"],
        "color": style["color"],
        "markersize": style["markersize"],
        "markerfacecolor": "white" if hollow else style["color"],
        "markeredgecolor": style["color"] if hollow else "white",
        "markeredgewidth": 1.2 if hollow else 0.5,
        "alpha": 0.9,
    }


def scatter_caption(spec: ReportSpec, declared: Associations) -> str:
    """Return the caption: what is drawn, over how many runs."""
    n, models = len(spec.seeds), len(spec.models)
    logs = [f"{x.name} on a logarithmic axis" for x in declared.x if x.log]
    runs = f"one mark per run, n = {n * models}: {models} variants, {n} {'seed' if n == 1 else 'seeds'} each"
    rank = "rank correlations with 95% CI (cluster bootstrap over variants)"
    return f"{spec.name}, scale {spec.scale}: {'; '.join([runs, *logs, rank])}."
