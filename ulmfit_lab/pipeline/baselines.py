"""Baselines without a language model: logistic regression on TF-IDF, word vectors or vectors of a sentence encoder.

They use the same documents as the other variants, cut after as many words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.corpus import TokenCorpus
from ulmfit_lab.data.rules import SPECIALS
from ulmfit_lab.models.sentence_encoder import load_encoder
from ulmfit_lab.models.word_vectors import WordVectors
from ulmfit_lab.pipeline.devices import configure_torch
from ulmfit_lab.pipeline.labelled_data import (
    LabelledData,
    documents_to_encode,
    draw_labelled,
    load_labelled_data,
    load_prediction_metrics,
    save_predictions,
)
from ulmfit_lab.pipeline.store import StageContext, StageResult
from ulmfit_lab.training.steps import autocast

REGULARISATIONS = (1.0, 10.0, 100.0)
"""Inverse regularisation strengths of logistic regression; the best on the validation documents is tested."""
WIDEST = (1e-4, 1e5)
"""Strengths up to which they are extended while the best one is at an edge."""


def fit_tf_idf(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Fit and test logistic regression on TF-IDF of 1- and 2-grams; returns the stage's summary."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = load_labelled_data(work.inputs, config)
    draw = draw_labelled(texts, config.target.n_labels, seed)
    vectorizer = TfidfVectorizer(analyzer=one_and_two_grams, sublinear_tf=True)
    words, labels = texts.words(texts.train, draw, config)
    counted = vectorizer.fit_transform(words), labels
    others = {name: texts.words(*texts.part(name), config) for name in texts.evaluated}
    evaluated = {name: (vectorizer.transform(words), labels) for name, (words, labels) in others.items()}
    return evaluate_baseline(work, texts, counted, evaluated)


def one_and_two_grams(words: Sequence[str]) -> list[str]:
    """Return the words of a document and the pairs of adjacent words."""
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]


def encode_documents(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Compute sentence vectors of the target's texts, or of the configured test documents."""
    corpus, numbers = documents_to_encode(work.inputs, config)
    device = configure_torch(config.compute)
    texts = [plain_text(corpus.words(int(number))[: config.target.max_words]) for number in numbers]
    with autocast(device, config.compute.precision):
        vectors = load_encoder(device).encode(texts)
    return save_vectors(work, numbers, vectors)


def plain_text(words: Sequence[str]) -> str:
    """Join words by blanks without marker tokens, for models with their own tokenizer.

    >>> plain_text(["xxbos", "xxup", "good", "film", "!"])
    'good film !'
    """
    return " ".join(word for word in words if word not in SPECIALS)


def fit_sentence_encoder(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Fit and test logistic regression on sentence vectors; returns the stage's summary."""
    texts = load_labelled_data(work.inputs, config)
    draw = draw_labelled(texts, config.target.n_labels, seed)
    own = work.inputs["sentence vectors"]
    stored = {"test": work.inputs.get("test sentence vectors", own)}

    def features(where: StageResult, corpus: TokenCorpus, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return load_document_vectors(where, numbers), texts.label_ids(corpus, numbers)

    evaluated = {name: features(stored.get(name, own), *texts.part(name)) for name in texts.evaluated}
    return evaluate_baseline(work, texts, features(own, texts.train, draw), evaluated)


def fit_word_vectors(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Fit and test logistic regression on the mean of a document's word vectors, each dimension standardised."""
    from sklearn.preprocessing import StandardScaler

    texts = load_labelled_data(work.inputs, config)
    draw = draw_labelled(texts, config.target.n_labels, seed)
    vectors = WordVectors.load(work.inputs["vectors"].folder)

    def features(corpus: TokenCorpus, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        words, labels = texts.words(corpus, numbers, config)
        return mean_vectors(words, vectors), labels

    means, labels = features(texts.train, draw)
    scaler = StandardScaler().fit(means)
    evaluated = {name: features(*texts.part(name)) for name in texts.evaluated}
    scaled = {name: (scaler.transform(found), truth) for name, (found, truth) in evaluated.items()}
    return evaluate_baseline(work, texts, (scaler.transform(means), labels), scaled)


def mean_vectors(documents: Sequence[Sequence[str]], vectors: WordVectors) -> np.ndarray:
    """Return the mean vectors (n, d) of documents; words without a vector are left out."""
    rows = {word: row for row, word in enumerate(vectors.words)}
    means = np.zeros((len(documents), vectors.matrix.shape[1]), np.float32)
    for number, words in enumerate(documents):
        if known := [rows[word] for word in words if word in rows]:
            means[number] = vectors.matrix[known].mean(0)
    return means


def save_vectors(work: StageContext, numbers: np.ndarray, vectors: np.ndarray) -> dict[str, Any]:
    """Save vectors (n, d) of the documents numbered (n,); returns the stage's summary."""
    np.save(work.folder / "documents.npy", numbers)
    np.save(work.folder / "vectors.npy", vectors)
    return {"documents": len(vectors), "size": vectors.shape[1]}


def load_document_vectors(stored: StageResult, numbers: np.ndarray) -> np.ndarray:
    """Load the vectors (n, d) of the documents numbered (n,)."""
    documents = np.load(stored.folder / "documents.npy", allow_pickle=False)
    vectors = np.load(stored.folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    order = np.argsort(documents)
    rows: np.ndarray = vectors[order[np.searchsorted(documents, numbers, sorter=order)]]
    return rows


def evaluate_baseline(
    work: StageContext,
    texts: LabelledData,
    train: tuple[Any, np.ndarray],
    evaluated: Mapping[str, tuple[Any, np.ndarray]],
) -> dict[str, Any]:
    """Fit and test logistic regression on pairs of features (n, d) and labels (n,); returns the stage's summary.

    The probabilities are kept, as those of every classifier are.
    """
    strength, probabilities = logistic_regression(train, evaluated, len(texts.classes))
    save_predictions(work, texts, probabilities)
    final = load_prediction_metrics(work.folder)
    return {"final": final, "best": {"error": final["valid_error"]}, "C": strength, "labels": len(train[1])}


def logistic_regression(
    train: tuple[Any, np.ndarray], evaluated: Mapping[str, tuple[Any, np.ndarray]], n_classes: int
) -> tuple[float, dict[str, np.ndarray]]:
    """Logistic regression on pairs of features (n, d) and labels (n,), its strength chosen on the pairs of `valid`.

    While the best of `REGULARISATIONS` is at an edge, and not level with its neighbour, the next power of ten is tried.

    Returns the strength, and the probabilities (n, n_classes) of each evaluated part's documents.
    """
    from sklearn.linear_model import LogisticRegression

    def tried(strength: float) -> tuple[float, LogisticRegression]:
        model = LogisticRegression(C=strength, max_iter=1000).fit(*train)
        return model.score(*evaluated["valid"]), model

    tries = {c: tried(c) for c in REGULARISATIONS}
    while (further := beyond_the_edge({c: score for c, (score, _) in tries.items()})) is not None:
        tries[further] = tried(further)
    _, model = max(sorted(tries.items()), key=lambda each: each[1][0])[1]
    found = {}
    for part, (features, _) in evaluated.items():
        probabilities = model.predict_proba(features)
        # keep the type: float32 rows do not sum to 1 in float64 precision
        found[part] = np.zeros((len(probabilities), n_classes), probabilities.dtype)
        found[part][:, model.classes_] = probabilities
    return float(model.C), found


def beyond_the_edge(scores: Mapping[float, float]) -> float | None:
    """Return the next strength to try if the best one is at an edge and not at a limit, else None.

    >>> beyond_the_edge({1.0: 0.7, 10.0: 0.8, 100.0: 0.8})
    >>> beyond_the_edge({1.0: 0.7, 10.0: 0.8, 100.0: 0.9})
    1000.0
    """
    strengths = sorted(scores)
    lowest, highest = strengths[0], strengths[-1]
    best = max(scores.values())
    inside = any(scores[c] == best for c in strengths[1:-1])
    if inside:
        return None
    if scores[highest] == best:
        return highest * 10 if highest * 10 <= WIDEST[1] else None
    return lowest / 10 if lowest / 10 >= WIDEST[0] else None
