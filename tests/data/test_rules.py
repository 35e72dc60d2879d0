"""Each rule against examples worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit_lab.data.rules import (
    SPECIALS,
    Unit,
    fix_markup,
    mark_repeat,
    mark_repeated_words,
    mark_word,
    separate,
    split_repeats,
)


@pytest.mark.parametrize(
    ("raw", "fixed"),
    [
        ("a<br />b<BR>c<br/>d", "a\nb\nc\nd"),
        ("a\\nb", "a\nb"),
        ("R&amp;B &quot;x&quot;", 'R&B "x"'),
        ("it #39;s quot;x quot; #36;5", 'it \'s "x " $5'),
        ("1 < 2; 3 & 4", "1 < 2; 3 & 4"),
        ("&lt;br /&gt;", "\n"),
    ],
)
def test_markup_becomes_what_it_stands_for(raw: str, fixed: str) -> None:
    assert fix_markup(raw) == fixed


@pytest.mark.parametrize(
    ("word", "parts"),
    [("and/or", ["and", "/", "or"]), ("#1", ["#", "1"]), ("so...", ["so", "…"]), ("plain-word", ["plain-word"])],
)
def test_slashes_and_hashes_and_ellipses_stand_alone(word: str, parts: list[str]) -> None:
    assert separate(word).split() == parts


@given(st.text(alphabet="ab!\n ", max_size=30))
def test_splitting_at_repeats_loses_no_character_and_leaves_no_run_of_three(text: str) -> None:
    parts = list(split_repeats(text))
    assert "".join(plain + run for plain, run in parts) == text
    assert all(c.isspace() or c * 3 not in plain for plain, _ in parts for c in plain)
    assert all(len(run) >= 3 and len(set(run)) == 1 for _, run in parts[:-1])


def test_a_run_is_its_length_and_its_character_in_lower_case() -> None:
    assert mark_repeat("!!!!!") == ("xxrep", "5", "!")
    assert mark_repeat("AAA") == ("xxrep", "3", "a")


@pytest.mark.parametrize(
    ("word", "plain", "with_capitals"),
    [
        ("GREAT", ("xxup", "great"), ("xxup", "great")),
        ("Great", ("great",), ("xxmaj", "great")),
        ("McDonald", ("mcdonald",), ("mcdonald",)),
        ("I", ("i",), ("i",)),
        ("L'", ("l'",), ("l'",)),
        ("U.S.", ("xxup", "u.s."), ("xxup", "u.s.")),
        ("ÉTÉ", ("xxup", "été"), ("xxup", "été")),
        ("42", ("42",), ("42",)),
    ],
)
def test_capitals_become_markers(word: str, plain: Unit, with_capitals: Unit) -> None:
    assert mark_word(word) == plain
    assert mark_word(word, mark_capitals=True) == with_capitals


@pytest.mark.parametrize("marker", SPECIALS)
def test_a_word_cannot_forge_a_marker_in_any_case(marker: str) -> None:
    assert {mark_word(word, capitals) for word in (marker, marker.upper(), marker.title()) for capitals in (0, 1)} == {
        ("xxunk",)
    }


def test_three_equal_words_are_counted_two_are_not() -> None:
    no, up, stop = ("no",), ("xxup", "no"), (".",)
    assert mark_repeated_words([no, no]) == [no, no]
    assert mark_repeated_words([no, no, no, stop]) == [("xxwrep", "3", "no"), stop]
    assert mark_repeated_words([up] * 4) == [("xxwrep", "4", "xxup", "no")]
    assert mark_repeated_words([no, no, up, no]) == [no, no, up, no]


def test_repeated_punctuation_and_lines_are_left_alone() -> None:
    for unit in ((".",), ("\n",), ("*",)):
        assert mark_repeated_words([unit] * 3) == [unit] * 3


@given(st.lists(st.sampled_from(["a", "b", "."]), max_size=20))
def test_counting_words_can_be_undone(words: list[str]) -> None:
    undone: list[str] = []
    for unit in mark_repeated_words([(word,) for word in words]):
        undone += [unit[-1]] * (int(unit[1]) if unit[0] == "xxwrep" else 1)
    assert undone == words
