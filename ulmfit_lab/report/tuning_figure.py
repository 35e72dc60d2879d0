"""Files and figure of a hyperparameter search.

The upper panel shows the best value against the number of trials, a line per variant. The lower panel, if several
fields were searched, shows the importance of each field. The same table and facts give the same bytes.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ulmfit_lab.analysis.tuning_table import (
    COMPLETE,
    PRUNED,
    fields_of,
    lower_is_better,
    measure_of,
    measure_words,
    read_tuning,
)
from ulmfit_lab.report.figures import WIDTH, WRAP_CAPTION, WRAP_NAME, save_figure, style_of
from ulmfit_lab.report.write import write_files
from ulmfit_lab.utils.files import json_text


def write_tuning(table: pd.DataFrame, facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write tuning.csv, tuning.json and the figure into a folder."""
    data = table.to_csv(index=False, lineterminator="\n").encode()
    facts_json = json_text({**facts, "tuning_sha256": hashlib.sha256(data).hexdigest()}, indent=1, ensure_ascii=False)
    files = {"tuning.csv": data, "tuning.json": f"{facts_json}\n".encode(), **tuning_figure(table, facts)}
    return write_files(files, folder)


def draw_again(folder: Path) -> list[Path]:
    """Redraw the figure of the search in a folder; nothing is drawn without a search or for a grid search."""
    table, facts = read_tuning(folder)
    return write_files(tuning_figure(table, facts), folder) if table is not None and facts else []


def tuning_figure(table: pd.DataFrame, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Return file name -> bytes of the figure, as SVG and PNG."""
    return save_figure(partial(draw_tuning, table, facts), "tuning")


def draw_tuning(table: pd.DataFrame, facts: Mapping[str, Any]) -> Figure:
    """Draw both panels, or only the upper one if a single field was searched."""
    fields = fields_of(table)
    heights = [3.4, 0.9 + 0.32 * len(fields)] if len(fields) > 1 else [3.4]
    figure = Figure(figsize=(WIDTH, 0.9 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    draw_progress(axes[0], table)
    if len(fields) > 1:
        draw_importance(axes[1], fields, list(dict.fromkeys(table["variant"])), facts["importance"])
    for axis in axes:
        sns.despine(ax=axis)
    title = f"{facts['experiment']}: hyperparameter search"
    figure.suptitle(title, x=0.012, ha="left", fontsize=10.5, fontweight="bold")
    caption = textwrap.fill(caption_of(table, facts), WRAP_CAPTION)
    figure.supxlabel(caption, x=0.012, ha="left", fontsize=7.5, color="0.35")
    lines = [line for line in axes[0].lines if not str(line.get_label()).startswith("_")]
    names = [textwrap.fill(str(line.get_label()), WRAP_NAME) for line in lines]
    options: dict[str, Any] = {"loc": "outside right upper", "handlelength": 3.4, "labelspacing": 0.8}
    figure.legend(lines, names, frameon=False, **options)
    return figure


def best_so_far(table: pd.DataFrame, variant: str) -> np.ndarray:
    """Return the best mean of the complete trials after each trial of a variant (trials,); nan before the first."""
    rows = table[table["variant"] == variant]
    values = rows[measure_of(table)].where(rows["state"] == COMPLETE).to_numpy(dtype=float)
    return np.asarray((np.fmin if lower_is_better(table) else np.fmax).accumulate(values))


def draw_progress(axis: Axes, table: pd.DataFrame) -> None:
    """Draw the best value as a step line per variant, with a mark at each improvement."""
    words, scale = measure_words(measure_of(table))
    for number, variant in enumerate(dict.fromkeys(table["variant"])):
        best = best_so_far(table, variant) * scale
        better = np.flatnonzero(np.diff(best, prepend=np.inf) != 0)
        trials = np.arange(1, len(best) + 1)
        axis.plot(trials, best, drawstyle="steps-post", markevery=better.tolist(), label=variant, **line_style(number))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set(xlabel="Trials", ylabel=f"Best {words} so far")


def line_style(number: int) -> dict[str, Any]:
    """Return the style of a variant without the options of error bars."""
    return {name: value for name, value in style_of(number).items() if name not in ("elinewidth", "capsize")}


def draw_importance(
    axis: Axes, fields: list[str], variants: list[str], importance: Mapping[str, Mapping[str, float]]
) -> None:
    """Draw the importance of each field as a row, with a mark per variant."""
    for number, variant in enumerate(variants):
        found = importance.get(variant, {})
        rows = np.arange(len(fields)) + (number - (len(variants) - 1) / 2) * 0.6 / len(variants)
        shares = [found.get(path, np.nan) for path in fields]
        axis.plot(shares, rows, **{**line_style(number), "linestyle": "none"}, label=variant)
    axis.set_yticks(range(len(fields)), [textwrap.fill(path, WRAP_NAME) for path in fields])
    axis.set(ylim=(len(fields) - 0.4, -0.6), xlim=(-0.03, 1.03), xlabel="Importance: share of the variance explained")
    axis.tick_params(axis="y", length=0)


def caption_of(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """Return the caption: metric, seeds, pruned trials, and method of importance."""
    pruned = int((table["state"] == PRUNED).sum())
    seeds = ", ".join(str(seed) for seed in facts["seeds"])
    mean = f"mean {facts['measure']} over seeds {seeds}, {'lower' if lower_is_better(table) else 'higher'} is better"
    parts = [mean, f"{pruned} of {len(table)} trials pruned"]
    if len(fields_of(table)) > 1:
        parts.append(f"importance by {facts['importance_method']} over the complete trials, imprecise for few trials")
    return f"{facts['experiment']}, scale {facts['scale']}: {'; '.join(parts)}."
