"""The figure of a search, and its files: the same bytes each time from the same table and facts.

Above, the best value so far against the number of trials, a line a variant; below, where more than one field was
searched, how much of the differences between trials each field explains alone.
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
from ulmfit_lab.utils.files import atomic_write, json_text


def write_tuning(table: pd.DataFrame, facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write tuning.csv, tuning.json and the figure into a folder."""
    data = table.to_csv(index=False, lineterminator="\n").encode()
    known = {**facts, "tuning_sha256": hashlib.sha256(data).hexdigest()}
    beside = (json_text(known, indent=1, ensure_ascii=False) + "\n").encode()
    return put(folder, {"tuning.csv": data, "tuning.json": beside, **tuning_figure(table, facts)})


def draw_again(folder: Path) -> list[Path]:
    """Draw the figure of the search whose files lie in a folder; a grid's, or none, has no figure."""
    table, facts = read_tuning(folder)
    return put(folder, tuning_figure(table, facts)) if table is not None and facts else []


def put(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files, each whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in files]


def tuning_figure(table: pd.DataFrame, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """File name -> bytes of the figure, as SVG and as PNG."""
    return save_figure(partial(draw_tuning, table, facts), "tuning")


def draw_tuning(table: pd.DataFrame, facts: Mapping[str, Any]) -> Figure:
    """Both panels, or the upper one alone where a single field was searched."""
    fields = fields_of(table)
    heights = [3.4, 0.9 + 0.32 * len(fields)] if len(fields) > 1 else [3.4]
    figure = Figure(figsize=(WIDTH, 0.9 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    draw_progress(axes[0], table)
    if len(fields) > 1:
        draw_importance(axes[1], fields, list(dict.fromkeys(table["variant"])), facts["importance"])
    for axis in axes:
        sns.despine(ax=axis)
    title = f"{facts['experiment']}: search for recipes"
    figure.suptitle(title, x=0.012, ha="left", fontsize=10.5, fontweight="bold")
    caption = textwrap.fill(caption_of(table, facts), WRAP_CAPTION)
    figure.supxlabel(caption, x=0.012, ha="left", fontsize=7.5, color="0.35")
    lines = [line for line in axes[0].lines if not str(line.get_label()).startswith("_")]
    names = [textwrap.fill(str(line.get_label()), WRAP_NAME) for line in lines]
    look: dict[str, Any] = {"loc": "outside right upper", "handlelength": 3.4, "labelspacing": 0.8}
    figure.legend(lines, names, frameon=False, **look)
    return figure


def best_so_far(table: pd.DataFrame, variant: str) -> np.ndarray:
    """Best mean of a variant's complete trials after each of its trials (trials,); nan before the first."""
    rows = table[table["variant"] == variant]
    values = rows[measure_of(table)].where(rows["state"] == COMPLETE).to_numpy(dtype=float)
    return np.asarray((np.fmin if lower_is_better(table) else np.fmax).accumulate(values))


def draw_progress(axis: Axes, table: pd.DataFrame) -> None:
    """The best value so far, a step line a variant with a mark at each improvement."""
    words, scale = measure_words(measure_of(table))
    for number, variant in enumerate(dict.fromkeys(table["variant"])):
        best = best_so_far(table, variant) * scale
        better = np.flatnonzero(np.diff(best, prepend=np.inf) != 0)
        # a step has no error bars, which is all that these two are for
        look = {name: value for name, value in style_of(number).items() if name not in ("elinewidth", "capsize")}
        trials = np.arange(1, len(best) + 1)
        axis.plot(trials, best, drawstyle="steps-post", markevery=better.tolist(), label=variant, **look)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set(xlabel="Trials", ylabel=f"Best {words} so far")


def draw_importance(
    axis: Axes, fields: list[str], variants: list[str], importance: Mapping[str, Mapping[str, float]]
) -> None:
    """A row a field, a mark a variant."""
    for number, variant in enumerate(variants):
        found = importance.get(variant, {})
        rows = np.arange(len(fields)) + (number - (len(variants) - 1) / 2) * 0.6 / len(variants)
        look = {n: v for n, v in style_of(number).items() if n not in ("elinewidth", "capsize")}
        shares = [found.get(path, np.nan) for path in fields]
        axis.plot(shares, rows, **{**look, "linestyle": "none"}, label=variant)
    axis.set_yticks(range(len(fields)), [textwrap.fill(path, WRAP_NAME) for path in fields])
    axis.set(ylim=(len(fields) - 0.4, -0.6), xlim=(-0.03, 1.03), xlabel="Importance: share of the variance explained")
    axis.tick_params(axis="y", length=0)


def caption_of(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """What is drawn, over how many seeds, and by which method."""
    stopped = int((table["state"] == PRUNED).sum())
    seeds = ", ".join(str(seed) for seed in facts["seeds"])
    mean = f"mean {facts['measure']} over seeds {seeds}, {'lower' if lower_is_better(table) else 'higher'} is better"
    parts = [mean, f"{stopped} of {len(table)} trials were stopped early"]
    if len(fields_of(table)) > 1:
        parts.append(f"importance by {facts['importance_method']} over the complete trials, rough where they are few")
    return f"{facts['experiment']}, scale {facts['scale']}: {'; '.join(parts)}."
