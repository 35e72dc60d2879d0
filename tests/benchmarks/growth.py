"""How time and memory of a training step grow, measured beside what the arithmetic says; with a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from benchmarks.arithmetic import Model
from benchmarks.rows import Found, Row
from benchmarks.setting import Bench
from ulmfit_lab.report.figures import WIDTH, save_figure, set_title, style_of

MIB = 2**20


@dataclass(frozen=True)
class Measured:
    """A model's training step: what it is made of, seconds, and most bytes of the process."""

    model: Model
    tokens: int
    """Of a step."""
    corpus: int
    """Tokens of the text that is laid out."""
    seconds: float
    bytes: float

    def expected(self, base: Measured) -> tuple[float, float]:
        """Seconds and bytes, by arithmetic from those of a base: its rate for other products, its bytes and more."""
        work = self.model.training_flops * self.tokens / (base.model.training_flops * base.tokens)
        more = self.model.step_bytes(self.tokens, self.corpus) - base.model.step_bytes(base.tokens, base.corpus)
        return base.seconds * work, base.bytes + more


Series = Mapping[str, tuple[Sequence[int], Sequence[Measured]]]
"""What grows -> its values, and what was measured at each."""


def growing(bench: Bench) -> Found:
    """How a training step's cost grows, as rows and as a figure."""
    rows, series = growth(bench)
    return Found(rows, save_figure(partial(draw_growth, series), "growth"))


def growth(bench: Bench) -> tuple[list[Row], Series]:
    """Rows, and the measurements that the figure shows."""
    sizes = bench.sizes
    series: dict[str, tuple[Sequence[int], Sequence[Measured]]] = {
        "Vocabulary (words)": (sizes.words, [step(bench, replace(sizes.small, words=n)) for n in sizes.words]),
        "Hidden units": (sizes.hidden, [step(bench, replace(sizes.small, hidden=n)) for n in sizes.hidden]),
        "Time steps of a window": (sizes.lengths, [step(bench, sizes.small, bptt=n) for n in sizes.lengths]),
        "Corpus (tokens)": (sizes.corpora, [step(bench, sizes.small, corpus=n) for n in sizes.corpora]),
    }
    return [row for name, found in series.items() for row in rows_of(name, *found)], series


def step(bench: Bench, model: Model, bptt: int = 0, corpus: int = 0) -> Measured:
    """A step of a fresh process, on random words; the corpus is as large as it must be if no size is said."""
    sizes = bench.sizes
    bptt = bptt or sizes.bptt
    tokens = sizes.batch_size * bptt
    corpus = max(corpus, tokens * (sizes.growth_steps + 1) + 1)
    path = bench.folder / "growth.npy"
    np.save(path, np.random.default_rng(0).integers(2, model.words, corpus, dtype=np.int32))
    facts: dict[str, Any] = {"train": str(path), "steps": sizes.growth_steps, "bptt": bptt}
    answer = bench.once(bench.ours("train language model", model, **facts))
    return Measured(model, tokens, corpus, answer["seconds"] / sizes.growth_steps, answer["peak_bytes"])


def rows_of(name: str, values: Sequence[int], found: Sequence[Measured]) -> list[Row]:
    """From the smallest to the largest: how many times the time, and how many MB more, beside the arithmetic's."""
    first, last = found[0], found[-1]
    seconds, size = last.expected(first)
    about = f"{name} from {values[0]:,} to {values[-1]:,}: a training step's".format
    against = "by arithmetic"
    time = Row(f"{about()} time", "x", last.seconds / first.seconds, seconds / first.seconds, against)
    more, expected = (last.bytes - first.bytes) / MIB, (size - first.bytes) / MIB
    memory = Row(f"{about()} further memory", "MB", more, expected, against)
    return [replace(time, value=last.seconds / seconds), replace(memory, value=more / expected if expected else 1.0)]


def draw_growth(series: Series) -> Figure:
    """A column for each thing that grows: time above, memory below; marks are measured, the line is arithmetic."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots(2, len(series), squeeze=False, sharey="row")
    for column, (name, (values, found)) in enumerate(series.items()):
        expected = [each.expected(found[0]) for each in found]
        draw(axes[0, column], values, [each.seconds * 1e3 for each in found], [e[0] * 1e3 for e in expected])
        draw(axes[1, column], values, [each.bytes / MIB for each in found], [e[1] / MIB for e in expected])
        axes[1, column].set_xlabel(name)
    for axis, label in zip(axes[:, 0], ("Time of a step (ms)", "Peak memory (MB)"), strict=True):
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    caption = (
        "Each mark is a fresh process that makes a few training steps. The line starts at the first mark: time goes "
        "with the floating-point operations of the matrix products, memory with parameters, what the backward pass "
        "keeps, and the corpus."
    )
    set_title(figure, "What does a training step cost as things grow?", caption)
    return figure


def draw(axis: Axes, values: Sequence[int], measured: Sequence[float], expected: Sequence[float]) -> None:
    """One panel; both axes begin at 0, so that what is proportional is a straight line."""
    axis.plot(values, expected, color="black", linestyle="--", linewidth=1.2, label="by arithmetic")
    look = {key: value for key, value in style_of(0).items() if key not in ("elinewidth", "capsize", "linestyle")}
    axis.plot(values, measured, label="measured", **look, linestyle="none")
    axis.set_xlim(0, 1.08 * values[-1])
    axis.set_xticks([0, values[-1]], ["0", tick(values[-1])])
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    sns.despine(ax=axis)


def tick(value: int) -> str:
    """A number on an axis.

    >>> tick(64_000_000), tick(60_000)
    ('64 million', '60,000')
    """
    return f"{value / 1e6:g} million" if value >= 1e6 else f"{value:,}"
