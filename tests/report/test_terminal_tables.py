"""Intervals are drawn beside a table on a terminal, in ASCII where it has no other characters, and never in a pipe."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from ulmfit_lab.report.terminal_tables import BAR, FittedTable, interval_bars

ROWS = [["fine-tuned - random", "-14.25", "better"], ["fine-tuned - frozen", "-2.09", "no difference shown"]]
TABLE = FittedTable(["pair", "difference", "verdict"], ROWS, [(-17.7, -14.25, -10.9), (-4.5, -2.09, 0.3)])


def shown(width: int, *, terminal: bool = True, encoding: str = "utf-8") -> str:
    """What a console of a width prints."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None, legacy_windows=False)
    console.print(TABLE)
    file.seek(0)
    return file.read()


def test_a_terminal_shows_each_interval_on_one_axis_with_zero() -> None:
    first, second = shown(120).splitlines()[1:]
    assert "●" in first and first.rstrip().endswith("│"), "zero is right of the first interval"
    assert second.rstrip()[-1] in "┤│" and "●" in second
    assert first.index("●") < second.index("●")


def test_a_pipe_shows_none() -> None:
    out = shown(120, terminal=False)
    assert "better" in out and not set("●├┤│") & set(out)


def test_an_ascii_terminal_is_drawn_in_ascii() -> None:
    out = shown(120, encoding="ascii")
    assert out.isascii() and "o" in out.splitlines()[1] and "[" in out


@pytest.mark.parametrize(("width", "drawn"), [(40, True), (60, False), (80, True)])
def test_what_does_not_fit_goes_below_and_no_word_is_cut(width: int, drawn: bool) -> None:
    out = shown(width)
    for row in ROWS:
        assert all(word in out for cell in row for word in cell.split())
    assert ("●" in out) == drawn, "below a paragraph, beside a table with room, and not beside one without"


def test_bars_hold_zero_and_every_end() -> None:
    bars = interval_bars([(-2.0, -1.0, 0.0), (0.0, 1.0, 2.0), (math.nan, 1.0, math.nan)], ascii_only=True)
    assert bars == ["[----o----|          ", "          |----o----]", ""]
    assert {len(bar) for bar in bars if bar} == {BAR}
    assert interval_bars([(0.0, 0.0, 0.0)], ascii_only=True) == [""]
