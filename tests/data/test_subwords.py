"""Byte-pair encoding against an example worked out by hand, and what holds for any counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit_lab.data.corpus import TokenCorpus, open_corpus, write_corpus
from ulmfit_lab.data.formats import Document
from ulmfit_lab.data.rules import SPECIALS, UNK_ID
from ulmfit_lab.data.subwords import END, learn_subwords
from ulmfit_lab.data.tokenizer import tokenize
from ulmfit_lab.data.vocabulary import BLOCK, Table, Vocabulary, build_vocabulary
from ulmfit_lab.utils.errors import ConfigError, DataError

N = len(SPECIALS)
PAPER = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
counts = st.dictionaries(st.text("abcdxé界", min_size=1, max_size=6), st.integers(1, 50), max_size=20)


def subwords(counts: dict[str, int], max_size: int = 100, min_freq: int = 1) -> Vocabulary:
    return build_vocabulary(counts, max_size=max_size, min_freq=min_freq, units="subwords")


def pieces(vocabulary: Vocabulary, word: str) -> list[str]:
    return vocabulary.decode(vocabulary.encode([word]))


def test_merges_of_the_papers_example_by_hand() -> None:
    """Of the pairs met 9, 7, 6 and 5 times the one whose parts have the lowest ids comes first."""
    characters = sorted(set("lowernewestwidest") | {END})
    often = (("e", "s"), ("t", END), ("es", "t "), ("l", "o"), ("lo", "w"))
    seldom = (("e", "w"), ("n", "ew"), ("new", "est "), ("low", END))
    found, learnt = learn_subwords(PAPER, len(characters) + 9, 1)
    assert learnt == (*often, *seldom)
    assert found == (*characters, *(a + b for a, b in learnt))
    vocabulary = Vocabulary(SPECIALS + found, learnt)
    assert pieces(vocabulary, "newest") == ["newest "]
    # a word that was never seen, of parts that were (the paper's own)
    assert pieces(vocabulary, "lowest") == ["low", "est "]


def test_characters_leave_room_for_merges() -> None:
    """Half of 10 pieces are characters, beside the end of a word: the most frequent ones, e, w, s, t and l."""
    vocabulary = subwords(PAPER, N + 10)
    assert vocabulary.words[N : N + 6] == tuple(sorted({"e", "w", "s", "t", "l", END}))
    assert pieces(vocabulary, "re")[0] == "xxunk"


def test_pairs_that_are_rare_are_not_merged_and_rare_characters_are_unknown() -> None:
    vocabulary = subwords(PAPER | {"quiz": 1, "ewes": 4}, min_freq=5)
    assert all(sum(c for w, c in (PAPER | {"ewes": 4}).items() if a + b in w + END) >= 5 for a, b in vocabulary.merges)
    assert pieces(vocabulary, "quiz")[0] == "xxunk"
    assert "q" not in vocabulary.ids and "d" not in vocabulary.ids


@settings(max_examples=60)
@given(counts, st.integers(N + 2, N + 60), st.integers(1, 4))
def test_pieces_are_bounded_in_number_and_spell_the_words(counts: dict[str, int], max_size: int, min_freq: int) -> None:
    vocabulary = subwords(counts, max_size, min_freq)
    assert N < len(vocabulary) <= max_size
    for word in counts:
        found = pieces(vocabulary, word)
        known = all(character in vocabulary.ids for character in word)
        assert ("xxunk" in found) == (not known)
        if known:
            assert "".join(found) == word + END
    assert [pieces(vocabulary, marker) for marker in SPECIALS] == [[marker] for marker in SPECIALS]


def test_no_piece_is_spelt_like_a_marker() -> None:
    longer = {f"xxbos{letter}": 50 for letter in "abcdefy"}
    vocabulary = subwords(longer | {"axxbos": 50, "xxbo": 9, "xxbos": 99, "bosy": 9})
    assert vocabulary.words.count("xxbos") == 1
    assert 2 not in vocabulary.encode(["xxbosy", "axxbos", "xxbo"])
    assert "".join(pieces(vocabulary, "xxbosy")) == "xxbosy" + END


@given(counts)
def test_the_order_of_the_counts_does_not_matter(counts: dict[str, int]) -> None:
    assert subwords(dict(reversed(counts.items()))) == subwords(counts)


def test_another_process_with_one_thread_learns_the_same(sentences: list[tuple[str, str]]) -> None:
    words = [word for tokens in tokenize(text for text, _ in sentences) for word in tokens]
    found = {word: words.count(word) for word in sorted(set(words))}
    code = (
        "import json, sys\n"
        "from ulmfit_lab.data.vocabulary import build_vocabulary\n"
        "print(build_vocabulary(json.load(sys.stdin), 500, 2, 'subwords').digest)"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(found),
        env={**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    vocabulary = subwords(found, 500, 2)
    assert there.stdout.strip() == vocabulary.digest
    assert len(vocabulary) == 500
    assert vocabulary.coverage(found) > build_vocabulary(found, 500, 2).coverage(found)


def test_a_size_without_room_for_a_piece_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_size leaves 1 pieces"):
        subwords(PAPER, N + 1)


def test_both_kinds_survive_saving_and_have_digests_of_their_own(tmp_path: Path) -> None:
    pieced, worded = subwords(PAPER), build_vocabulary(PAPER)
    plain = Vocabulary(pieced.words)
    unmerged = Vocabulary(pieced.words, ())
    for number, vocabulary in enumerate((pieced, worded, plain, unmerged)):
        path = tmp_path / f"{number}.json"
        vocabulary.save(path)
        assert Vocabulary.load(path) == vocabulary
        assert Vocabulary.load(path).digest == vocabulary.digest
        words = ["lowest", "xxbos", "new"]
        assert np.array_equal(Vocabulary.load(path).encode(words), vocabulary.encode(words))
    assert len({v.digest for v in (pieced, worded, plain, unmerged)}) == 4


@pytest.mark.parametrize(
    "content",
    [
        {"pieces": [*SPECIALS, "a", " "], "merges": []},
        {"pieces": [*SPECIALS, "a", " ", "a "], "merges": [["a", " "]]},
    ],
)
def test_a_saved_vocabulary_of_pieces_is_read(tmp_path: Path, content: dict[str, list[str]]) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(content))
    assert "".join(pieces(Vocabulary.load(path), "a")) == "a "


@pytest.mark.parametrize(
    "content",
    [
        {"merges": []},
        {"pieces": [*SPECIALS, "a", " "]},
        {"pieces": [*SPECIALS, "a", " "], "merges": [["a", " "]]},
        {"pieces": [*SPECIALS, "a", " ", "a "], "merges": [["a"]]},
        {"pieces": [*SPECIALS, "a", " ", "a "], "merges": [["a", 1]]},
        {"pieces": [*SPECIALS, "a", " ", "a "], "merges": 3},
    ],
)
def test_a_file_that_is_no_vocabulary_of_pieces_is_refused(tmp_path: Path, content: dict[str, object]) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError):
        Vocabulary.load(path)


@pytest.fixture
def corpus(tmp_path: Path, sentences: list[tuple[str, str]]) -> TokenCorpus:
    write_corpus((Document(text) for text, _ in sentences[:40]), "en", tmp_path / "corpus")
    return open_corpus(tmp_path / "corpus")


def test_streams_and_documents_are_the_words_pieces(corpus: TokenCorpus) -> None:
    vocabulary = subwords(corpus.count_words(), 300, 2)
    for numbers in (None, np.array([7, 0, 3]), np.array([], dtype=np.int64)):
        chosen = range(corpus.n_documents) if numbers is None else numbers
        expected = [vocabulary.encode(corpus.words(int(number))).tolist() for number in chosen]
        assert [d.tolist() for d in corpus.documents(vocabulary, numbers)] == expected
        stream = corpus.stream(vocabulary, numbers)
        assert stream.tolist() == [id_ for document in expected for id_ in document]
        assert stream.dtype == np.int32
    assert len(corpus.stream(vocabulary)) > corpus.n_tokens


@pytest.mark.parametrize("units", ["words", "subwords"])
def test_documents_are_cut_after_words_whatever_a_model_reads(corpus: TokenCorpus, units: str) -> None:
    vocabulary = build_vocabulary(corpus.count_words(), 300, 2, units)  # type: ignore[arg-type]
    cut = corpus.documents(vocabulary, np.array([5, 2]), max_words=6)
    assert [d.tolist() for d in cut] == [vocabulary.encode(corpus.words(number)[:6]).tolist() for number in (5, 2)]
    whole = corpus.documents(vocabulary, np.array([5, 2]), max_words=10_000)
    assert [len(d) for d in whole] == [len(d) for d in corpus.documents(vocabulary, np.array([5, 2]))]


def test_a_table_is_expanded_block_by_block() -> None:
    table = Table(np.array([5, 6, 7, 8], np.int32), np.array([0, 1, 3, 4]))
    assert table.expand(np.array([1, 0, 2, 1])).tolist() == [6, 7, 5, 8, 6, 7]
    places = np.random.default_rng(0).integers(0, 3, BLOCK + 5)
    expanded = table.expand(places)
    assert len(expanded) == BLOCK + 5 + np.count_nonzero(places == 1)
    assert expanded[-len(table.expand(places[-9:])) :].tolist() == table.expand(places[-9:]).tolist()


def test_a_word_is_covered_where_all_its_characters_are() -> None:
    vocabulary = subwords({"ab": 3, "b": 1})
    assert vocabulary.coverage({"abba": 2, "ax": 1, "xxunk": 1}) == 0.75
    assert vocabulary.encode(["ax"]).tolist().count(UNK_ID) == 1
    assert vocabulary.coverage({}) == 0
