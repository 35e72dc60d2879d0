"""What a grid costs, by hand."""

from __future__ import annotations

from benchmarks.grid import grid_row, shared_and_alone


def test_a_shared_stage_counts_once_or_with_every_cell() -> None:
    cells = [["tokens", "lm", "a"], ["tokens", "lm", "b"], ["tokens", "c"]]
    seconds = {"tokens": 2.0, "lm": 100.0, "a": 5.0, "b": 6.0, "c": 1.0}
    assert shared_and_alone(cells, seconds) == (114.0, 3 * 2 + 2 * 100 + 5 + 6 + 1)


def test_a_repeated_cell_costs_nothing_more_where_stages_are_shared() -> None:
    assert shared_and_alone([["a"], ["a"]], {"a": 3.0}) == (3.0, 6.0)


def test_a_row_counts_the_experiments_it_names_as_far_as_they_were_measured() -> None:
    planned = {"a": [["tokens", "x"], ["tokens", "y"]], "b": [["z"]], "c": []}
    seconds = {"tokens": 10.0, "x": 1.0, "y": 2.0, "z": 100.0}
    row = grid_row("", ("a", "c"), planned, seconds)
    assert (row.ours, row.other, row.value) == (13.0, 23.0, 23 / 13) and row.note.startswith("2 runs of a;")
    assert grid_row("", ("c",), planned, seconds).value is None
