"""What a grid costs, by hand."""

from __future__ import annotations

from ulmfit_lab.bench.grid import shared_and_alone


def test_a_shared_stage_counts_once_or_with_every_cell() -> None:
    cells = [["tokens", "lm", "a"], ["tokens", "lm", "b"], ["tokens", "c"]]
    seconds = {"tokens": 2.0, "lm": 100.0, "a": 5.0, "b": 6.0, "c": 1.0}
    assert shared_and_alone(cells, seconds) == (114.0, 3 * 2 + 2 * 100 + 5 + 6 + 1)


def test_a_repeated_cell_costs_nothing_more_where_stages_are_shared() -> None:
    assert shared_and_alone([["a"], ["a"]], {"a": 3.0}) == (3.0, 6.0)
