"""Tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class FittedTable:
    """A table for the terminal, or a paragraph per row if the terminal is too narrow; words are never cut."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    intervals: Sequence[tuple[float, float, float]] = ()
    """Low end, middle and high end of each row, drawn as a last column; only on a terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table, bars = text_table(self.header, self.rows), [""] * len(self.rows)
        if self.intervals and console.is_terminal:
            bars = interval_bars(self.intervals, ascii_only=options.ascii_only)
            with_bars = text_table([*self.header, ""], [[*row, bar] for row, bar in zip(self.rows, bars, strict=True)])
            table = with_bars if fits(with_bars, console, options) else table
        if fits(table, console, options):
            yield table
            return
        for (title, *values), bar in zip(self.rows, bars, strict=True):
            facts = [f"{name} {value}".strip() for name, value in zip(self.header[1:], values, strict=True) if value]
            yield Text(title)
            yield Padding(Text(", ".join(facts)), (0, 0, 0, 2))
            if bar.strip():
                yield Padding(Text(bar), (0, 0, 0, 2))


def fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    """Return whether a table fits the terminal without wrapping cells."""
    return Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width


BAR = 21
"""Width of a drawn interval in characters."""


def interval_bars(intervals: Sequence[tuple[float, float, float]], *, ascii_only: bool) -> list[str]:
    """Draw intervals on a common axis with 0 marked; empty if an end is not finite.

    >>> interval_bars([(-2.0, -1.0, 0.0), (0.0, 1.0, 2.0)], ascii_only=True)
    ['[----o----|          ', '          |----o----]']
    """
    known = [end for ends in intervals for end in ends if math.isfinite(end)]
    low, high = min([0.0, *known]), max([0.0, *known])
    if low == high:
        return [""] * len(intervals)
    line, left, right, middle, zero = "-[]o|" if ascii_only else "─├┤●│"

    def place(value: float) -> int:
        return round((BAR - 1) * (value - low) / (high - low))

    bars = []
    for ends in intervals:
        if not all(map(math.isfinite, ends)):
            bars.append("")
            continue
        first, centre, last = map(place, ends)
        drawn = [" "] * BAR
        drawn[first : last + 1] = line * (last + 1 - first)
        drawn[first], drawn[last], drawn[place(0.0)], drawn[centre] = left, right, zero, middle
        bars.append("".join(drawn))
    return bars


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, narrow_values: bool = False) -> Table:
    """Return a table for the terminal; cells are plain text, not markup.

    If it is too wide, the first column is wrapped or, with `narrow_values`, all others.
    """
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(Text(name), no_wrap=(place == 0) == narrow_values, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
