"""A corpus on disk is the list of tokens it was written from."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit_lab.data.corpus import TokenCorpus, open_corpus, split_documents, write_corpus
from ulmfit_lab.data.formats import Document, make_document
from ulmfit_lab.data.tokenizer import tokenize
from ulmfit_lab.data.vocabulary import build_vocabulary
from ulmfit_lab.utils.errors import DataError

TEXTS = ["A good film.<br />Really good.", "BAD bad bad bad!", "so-so \u2028 \u0085 line", "A film."]
texts = st.lists(st.text(max_size=30).map("x {}".format), min_size=1, max_size=4)


def make(folder: Path, documents: list[str] | list[Document]) -> TokenCorpus:
    """A corpus of these texts, written and opened."""
    write_corpus((Document(d) if isinstance(d, str) else d for d in documents), "en", folder)
    return open_corpus(folder)


def of_lengths(folder: Path, lengths: list[int]) -> TokenCorpus:
    """A corpus of documents with these many tokens, `xxbos` included."""
    return make(folder, ["a b " * ((n - 1) // 2) + "a" * ((n - 1) % 2) for n in lengths])


@settings(max_examples=15, deadline=None)
@given(texts)
def test_the_map_holds_the_tokens_in_order(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    corpus = make(tmp_path_factory.mktemp("corpus"), texts)
    expected = list(tokenize(texts))
    assert [corpus.words(number) for number in range(corpus.n_documents)] == expected
    flat = list(chain.from_iterable(expected))
    assert corpus.lexicon == tuple(dict.fromkeys(flat))
    assert corpus.n_tokens == len(flat)
    assert dict(zip(corpus.lexicon, corpus.counts.tolist(), strict=True)) == Counter(flat)


def test_streams_and_documents_are_the_vocabularys_ids(tmp_path: Path) -> None:
    corpus = make(tmp_path, TEXTS)
    vocabulary = build_vocabulary(corpus.count_words(), min_freq=2)
    expected = [vocabulary.encode(words) for words in tokenize(TEXTS)]
    for numbers in (None, np.array([2, 0]), np.array([], dtype=np.int64)):
        chosen = expected if numbers is None else [expected[number] for number in numbers]
        documents = corpus.documents(vocabulary, numbers)
        assert [d.tolist() for d in documents] == [e.tolist() for e in chosen]
        stream = corpus.stream(vocabulary, numbers)
        assert stream.tolist() == list(chain.from_iterable(e.tolist() for e in chosen))
        assert stream.dtype == np.int32


def test_words_are_counted_in_the_chosen_documents_alone(tmp_path: Path) -> None:
    corpus = make(tmp_path, TEXTS)
    every = list(tokenize(TEXTS))
    assert corpus.count_words(np.array([3, 1])) == Counter(every[3] + every[1])
    assert corpus.count_words() == Counter(chain.from_iterable(every))
    assert "good" not in corpus.count_words(np.array([3]))


@pytest.mark.parametrize(("words", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_ids_are_as_narrow_as_the_lexicon_allows(tmp_path: Path, words: int, dtype: type) -> None:
    distinct = [chr(0x4E00 + n // 256) + chr(0x4E00 + n % 256) for n in range(words)]
    distinct = [word + "x" if word[0] == word[1] else word for word in distinct]
    corpus = make(tmp_path, [" ".join(distinct)])
    assert len(corpus.lexicon) == words + 1
    assert corpus.ids.dtype == dtype
    assert corpus.words(0)[1:] == distinct


def test_labels_are_places_among_their_sorted_names(tmp_path: Path) -> None:
    corpus = make(tmp_path, [Document("a", "pos"), Document("b", "neg"), Document("c", None), Document("d", "pos")])
    assert corpus.label_names == ("neg", "pos")
    assert corpus.labels is not None and corpus.labels.tolist() == [1, 0, -1, 1]


def test_a_corpus_without_labels_has_none_even_over_one_that_had(tmp_path: Path) -> None:
    make(tmp_path, [Document("a", "pos")])
    corpus = make(tmp_path, ["a"])
    assert corpus.labels is None and corpus.label_names == ()


def test_an_empty_document_is_named_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="document 2: the text has no words"):
        make(tmp_path, ["fine", "<br />", "fine"])


def test_no_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no documents"):
        make(tmp_path, [])


def test_ids_cannot_be_written_to(tmp_path: Path) -> None:
    corpus = make(tmp_path, TEXTS)
    with pytest.raises(ValueError, match="read-only"):
        corpus.ids[0] = 1


def test_opening_takes_less_than_50_ms(tmp_path: Path) -> None:
    """Of a corpus with 4 million tokens and 200,000 words; the best of five, since others use the machine."""
    n = 4_000_000
    np.save(tmp_path / "ids.npy", np.zeros(n, np.uint32))
    np.save(tmp_path / "offsets.npy", np.arange(0, n + 1, 100))
    np.save(tmp_path / "counts.npy", np.ones(200_000, np.int64))
    (tmp_path / "lexicon.json").write_text(json.dumps([str(word) for word in range(200_000)]))
    summary = {"language": "en", "n_tokens": n, "n_documents": n // 100, "label_names": []}
    (tmp_path / "corpus.json").write_text(json.dumps(summary))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert open_corpus(tmp_path).n_tokens == n
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_a_folder_that_is_no_whole_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a complete corpus"):
        open_corpus(tmp_path)
    make(tmp_path, TEXTS)
    np.save(tmp_path / "ids.npy", np.zeros(3, np.uint16))
    with pytest.raises(DataError, match="damaged"):
        open_corpus(tmp_path)
    (tmp_path / "ids.npy").write_bytes(b"\x80\x04 not an array")
    with pytest.raises(DataError, match="not a complete corpus"):
        open_corpus(tmp_path)


def test_the_last_documents_validate_and_the_first_train(tmp_path: Path) -> None:
    corpus = of_lengths(tmp_path, [5, 7, 3, 9, 4, 6])
    parts = split_documents(corpus, 0, 10)
    assert (parts.train.tolist(), parts.valid.tolist()) == ([0, 1, 2, 3], [4, 5])
    parts = split_documents(corpus, 15, 11)
    assert (parts.train.tolist(), parts.valid.tolist()) == ([0, 1, 2], [3, 4, 5])
    parts = split_documents(corpus, 14, 6)
    assert (parts.train.tolist(), parts.valid.tolist()) == ([0, 1], [5])


@pytest.mark.parametrize(
    ("valid_tokens", "test_tokens", "expected"),
    [(6, 1, ([0, 1, 2, 3], [4], [5])), (7, 10, ([0, 1], [2, 3], [4, 5])), (10, 9, ([0, 1, 2], [3], [4, 5]))],
)
def test_the_documents_before_those_of_validation_test(
    tmp_path: Path, valid_tokens: int, test_tokens: int, expected: tuple[list[int], ...]
) -> None:
    parts = split_documents(of_lengths(tmp_path, [5, 7, 3, 9, 4, 6]), 0, valid_tokens, test_tokens)
    assert (parts.train.tolist(), parts.test.tolist(), parts.valid.tolist()) == expected


def test_nothing_left_to_train_on_after_testing_is_refused(tmp_path: Path) -> None:
    corpus = of_lengths(tmp_path, [5, 7, 3, 9, 4, 6])
    for valid, test in ((10, 20), (40, 2)):  # the corpus has 34 tokens
        with pytest.raises(DataError, match=f"valid_tokens = {valid} and test_tokens = {test}"):
            split_documents(corpus, 0, valid, test)


def test_a_split_keeps_to_the_documents_it_is_given(tmp_path: Path) -> None:
    corpus = of_lengths(tmp_path, [5, 7, 3, 9, 4, 6])
    parts = split_documents(corpus, 12, 3, among=np.array([1, 2, 4]))
    assert (parts.train.tolist(), parts.valid.tolist()) == ([1, 2], [4])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=2, max_size=8), st.integers(0, 30), st.integers(1, 40))
def test_a_split_overlaps_nowhere_and_keeps_its_bounds(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], max_tokens: int, valid_tokens: int
) -> None:
    corpus = of_lengths(tmp_path_factory.mktemp("corpus"), lengths)
    try:
        parts = split_documents(corpus, max_tokens, valid_tokens)
    except DataError:
        assert sum(lengths[1:]) < valid_tokens or 0 < max_tokens < lengths[0]
        return
    train, valid = parts.train, parts.valid
    assert len(parts.test) == 0
    assert train.tolist() == list(range(len(train))) and len(train) > 0
    assert valid.tolist() == list(range(valid[0], len(lengths))) and valid[0] >= len(train)
    held = [lengths[number] for number in valid]
    assert sum(held[1:]) < valid_tokens <= sum(held)
    assert not max_tokens or sum(lengths[: len(train)]) <= max_tokens


def test_a_corpus_too_small_to_split_is_refused_with_its_size(tmp_path: Path) -> None:
    corpus = of_lengths(tmp_path, [5, 7])
    with pytest.raises(DataError, match=r"12 tokens in 2 documents.*valid_tokens = 100"):
        split_documents(corpus, 0, 100)
    with pytest.raises(DataError, match="first document has 5 tokens, more than max_tokens = 4"):
        split_documents(corpus, 4, 1)


@pytest.mark.parametrize("fields", [("<br />",), ("&nbsp; ",), ("<br />", "&nbsp;")])
def test_a_text_of_markup_alone_is_told_with_its_file_and_row(tmp_path: Path, fields: tuple[str, ...]) -> None:
    rows = [make_document(["a"] * len(fields), None, "a.csv, row 1"), make_document(fields, None, "a.csv, row 2")]
    with pytest.raises(DataError, match=r"^a.csv, row 2: the text has no words without its markup; fill it in"):
        write_corpus(rows, "en", tmp_path)
