"""The metric against the training compute of language models, with the power law through the lowest points."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from ulmfit_lab.analysis.comparisons import summarize_variants
from ulmfit_lab.analysis.compute import fit_power_law, lowest_for_compute, training_compute
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.report.figures import WIDTH, WRAP_NAME, set_title
from ulmfit_lab.report.scatter import dots_of

HEIGHT = 4.4  # inches
TERA = 1e12


def draw_compute(runs: pd.DataFrame, spec: ReportSpec) -> Figure:
    """Draw the means over seeds of every variant and level against their compute, and the fitted line."""
    found = summarize_variants(runs, spec)
    places = dict((training_compute(runs) / TERA).groupby([runs["variant"], runs["level"]]).mean())
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axis = figure.subplots()
    for number, variant in enumerate(spec.variants):
        x = [places[variant, level] for level in spec.levels]
        y = [found[variant, level].mean for level in spec.levels]
        axis.plot(x, y, label=variant, **dots_of(number) | {"linestyle": "-", "linewidth": 0.6})
    compute, loss = [places[each] for each in found], [each.mean for each in found.values()]
    lowest = lowest_for_compute(compute, loss)
    law = fit_power_law([compute[i] for i in lowest], [loss[i] for i in lowest])
    if law:
        line = np.geomspace(min(compute), max(compute), 50)
        name = f"{law.factor:.3g} C^{law.exponent:.3f}, fitted to the lowest"
        axis.plot(line, law.at(line), "--", color="black", linewidth=1.2, label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    for each in (axis.xaxis, axis.yaxis):
        each.set_minor_locator(NullLocator())
        each.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set(xlabel="Training compute C (10¹² operations)", ylabel=spec.metric_label)
    sns.despine(ax=axis)
    marks, names = axis.get_legend_handles_labels()
    figure.legend(marks, [textwrap.fill(each, WRAP_NAME) for each in names], frameon=False, loc="outside right center")
    n = len(spec.seeds)
    fitted = f"line: least-squares fit to the {len(lowest)} marks below which no other lies for as much compute or less"
    caption = (
        f"{spec.name}, scale {spec.scale}: means over n = {n} seeds, a mark for each variant and level; logarithmic "
        f"axes; {fitted}."
    )
    set_title(figure, spec.question, caption)
    return figure
