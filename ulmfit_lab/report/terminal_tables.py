"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class FittedTable:
    """A table for the terminal or, where it is too narrow for one, a paragraph for each row; no word is ever cut."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = text_table(self.header, self.rows)
        if Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width:
            yield table
            return
        for title, *values in self.rows:
            facts = [f"{name} {value}".strip() for name, value in zip(self.header[1:], values, strict=True) if value]
            yield Text(title)
            yield Padding(Text(", ".join(facts)), (0, 0, 0, 2))


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, narrow_values: bool = False) -> Table:
    """A table for the terminal; names in it are text, not markup.

    Where it is too wide the first column is wrapped or, with narrow_values, all the others.
    """
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(Text(name), no_wrap=(place == 0) == narrow_values, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
