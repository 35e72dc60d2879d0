"""Stages of tokens and vocabularies, and the split of a corpus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit_lab.config.schema import CorpusConfig, RunConfig, SourceConfig
from ulmfit_lab.data.corpus import DocumentSplit, TokenCorpus, open_corpus, split_documents, write_corpus
from ulmfit_lab.data.sources import read_documents
from ulmfit_lab.data.vocabulary import Vocabulary, build_vocabulary
from ulmfit_lab.pipeline.labelled_data import draw_labelled, load_labelled_data
from ulmfit_lab.pipeline.store import StageContext


def tokenize_source(
    work: StageContext, *, source: SourceConfig, language: str, mark_capitals: bool, data: Path | None
) -> dict[str, Any]:
    """Tokenise all documents of a source."""
    write_corpus(read_documents(source, data), language, work.folder, mark_capitals=mark_capitals)
    corpus = open_corpus(work.folder)
    return {"documents": corpus.n_documents, "tokens": corpus.n_tokens, "words": len(corpus.lexicon)}


def count_general_words(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Build the vocabulary of the general corpus's training part."""
    corpus = open_corpus(work.inputs["corpus"].folder)
    return _save_vocabulary(work, config, corpus.count_words(split_corpus(corpus, config.general).train))


def count_target_words(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Build the vocabulary of the unlabelled text's training part and the target's training texts."""
    texts = load_labelled_data(work.inputs, config)
    counts = texts.train.count_words(texts.pool)
    if config.unlabelled.given:
        corpus = open_corpus(work.inputs["corpus"].folder)
        counts = counts + corpus.count_words(split_corpus(corpus, config.unlabelled).train)
    return _save_vocabulary(work, config, counts)


def _save_vocabulary(work: StageContext, config: RunConfig, counts: Counter[str]) -> dict[str, Any]:
    rules = config.vocabulary
    vocabulary = build_vocabulary(counts, max_size=rules.max_size, min_freq=rules.min_freq, units=rules.units)
    vocabulary.save(work.folder / "vocabulary.json")
    coverage = vocabulary.coverage(counts)
    return {"words": len(vocabulary.words), "coverage": coverage, "digest": vocabulary.digest}


@dataclass(frozen=True)
class Streams:
    """Word ids (n,) int32 for training, validation and testing of a language model; `test` may be empty."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def load_streams(corpus: TokenCorpus, parts: DocumentSplit, vocabulary: Vocabulary) -> Streams:
    """Return the parts of a corpus as ids, each end to end."""
    return Streams(**{name: corpus.stream(vocabulary, numbers) for name, numbers in vars(parts).items()})


def split_corpus(corpus: TokenCorpus, wanted: CorpusConfig, among: np.ndarray | None = None) -> DocumentSplit:
    """Split a corpus for a language model, as configured."""
    return split_documents(corpus, wanted.max_tokens, wanted.valid_tokens, wanted.test_tokens, among)


def unlabelled_documents(inputs: Any, config: RunConfig, seed: int) -> tuple[TokenCorpus, DocumentSplit]:
    """Return corpus and split of the unlabelled text; it never contains test documents of the target.

    If only the documents drawn by the seed are used, the target's validation documents also validate the language
    model. Those of a user's file are in a drawn order, the same for all runs, since files are often sorted by class.
    """
    corpus = open_corpus(inputs["corpus"].folder)
    if config.unlabelled.given:
        return corpus, split_corpus(corpus, config.unlabelled)
    texts = load_labelled_data({**inputs, "texts": inputs["corpus"]}, config)
    if config.target.lm_text == "labelled":
        drawn = draw_labelled(texts, config.target.n_labels, seed)
        return corpus, DocumentSplit(drawn, np.sort(texts.valid), drawn[:0])
    return corpus, split_corpus(corpus, config.unlabelled, texts.pool if config.target.path else np.sort(texts.pool))
