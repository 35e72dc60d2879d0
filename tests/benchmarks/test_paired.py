"""Turns alternate, and the ratio is that of pairs."""

from __future__ import annotations

import pytest

from benchmarks.paired import Ratio, in_turns, ratio


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str) -> int:
        order.append(name)
        return len(order)

    found = in_turns({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert found == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_ratios_are_of_pairs() -> None:
    # medians are 4 and 3, but the pairs' ratios are 2, 3, 0.5, 1 and 4
    assert ratio([4, 9, 2, 3, 4], [2, 3, 4, 3, 1]) == Ratio(median=2.0, low=0.5, high=4.0, pairs=5)


def test_a_slow_spell_that_meets_both_sides_leaves_the_ratio() -> None:
    assert ratio([20, 10, 20], [10, 5, 10]) == Ratio(2.0, 2.0, 2.0, 3)


def test_a_missing_turn_is_refused() -> None:
    with pytest.raises(ValueError):
        ratio([1, 2], [1])
