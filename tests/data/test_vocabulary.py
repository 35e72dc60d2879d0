"""Order, bounds and identity of a vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit_lab.data.rules import SPECIALS
from ulmfit_lab.data.vocabulary import Vocabulary, build_vocabulary
from ulmfit_lab.utils.errors import ConfigError, DataError

N = len(SPECIALS)
counts = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 9), max_size=30)


def test_words_follow_the_markers_by_falling_count_then_alphabet() -> None:
    found = build_vocabulary({"b": 3, "a": 3, "z": 7, "rare": 1, "xxbos": 9, "xxunk": 9})
    assert found.words == (*SPECIALS, "z", "a", "b")
    assert found.words[:3] == ("xxunk", "xxpad", "xxbos")


@given(counts, st.integers(N, N + 20), st.integers(1, 5))
def test_size_and_frequency_are_bounds_that_no_better_word_falls_to(
    counts: dict[str, int], max_size: int, min_freq: int
) -> None:
    found = build_vocabulary(counts, max_size=max_size, min_freq=min_freq)
    kept = found.words[N:]
    assert len(found) <= max_size
    assert all(counts[word] >= min_freq for word in kept)
    left_out = [word for word in counts if word not in kept and counts[word] >= min_freq]
    assert not left_out or len(found) == max_size
    assert all((-counts[a], a) < (-counts[b], b) for a in kept for b in left_out)


@given(counts)
def test_known_words_survive_encoding_and_unknown_ones_become_xxunk(counts: dict[str, int]) -> None:
    vocabulary = build_vocabulary(counts, min_freq=3)
    words = list(counts)
    ids = vocabulary.encode(words)
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == [word if counts[word] >= 3 else "xxunk" for word in words]


@given(st.lists(st.text(max_size=5), unique=True))
def test_words_of_any_shape_survive_saving(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    vocabulary = Vocabulary((*SPECIALS, "\n", *(word for word in words if word not in (*SPECIALS, "\n"))))
    path = tmp_path_factory.mktemp("words") / "vocabulary.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert Vocabulary.load(path).digest == vocabulary.digest


def test_the_digest_stands_for_words_and_order() -> None:
    a, b = (Vocabulary((*SPECIALS, *words)) for words in (("x", "y"), ("y", "x")))
    assert a.digest == Vocabulary((*SPECIALS, "x", "y")).digest
    assert a.digest != b.digest
    assert Vocabulary((*SPECIALS, "xy")).digest != a.digest
    assert len(a.digest) == 16


@pytest.mark.parametrize("words", [("a",), (*SPECIALS, "a", "a"), (SPECIALS[1], SPECIALS[0], *SPECIALS[2:])])
def test_words_without_markers_or_that_repeat_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        Vocabulary(words)


def test_a_size_below_the_markers_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_size = 3"):
        build_vocabulary({}, max_size=3)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[", '"a"'])
def test_a_file_that_is_no_list_of_words_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"vocabulary\.json"):
        Vocabulary.load(path)
