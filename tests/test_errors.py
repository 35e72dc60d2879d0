"""Properties of the errors that a user meets."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit_lab.utils import errors
from ulmfit_lab.utils.errors import LabError, suggest

NAMES = ("batch_size", "drop_mult", "weight_decay")


def test_every_error_is_reported_in_one_line_by_the_command_line() -> None:
    raised = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert len(raised) > 1
    assert all(issubclass(kind, LabError) for kind in raised)


@pytest.mark.parametrize("typed", ["drop_mlt", "drop-mult", "drop_multi", "Drop_mult"])
def test_a_misspelt_name_is_answered_with_the_one_it_is_nearest_to(typed: str) -> None:
    assert suggest(typed, NAMES) == "Did you mean 'drop_mult'?"


def test_a_name_that_is_near_to_none_is_answered_with_all_in_order() -> None:
    assert suggest("xyz", reversed(NAMES)) == "Known: batch_size, drop_mult, weight_decay."


def test_where_nothing_is_known_the_answer_says_so() -> None:
    assert suggest("anything", []) == "Known: none."


@given(st.sets(st.text("abcdefgh_", min_size=3, max_size=12), min_size=1, max_size=8), st.data())
def test_a_known_name_is_nearest_to_itself_in_any_order(known: set[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(known)))
    assert suggest(name, data.draw(st.permutations(sorted(known)))) == f"Did you mean {name!r}?"
