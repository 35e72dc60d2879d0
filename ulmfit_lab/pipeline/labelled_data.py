"""The labelled set: its training, validation and test documents, and the draw of a seed."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ulmfit_lab.config.schema import RunConfig, TargetConfig
from ulmfit_lab.data.corpus import UNLABELLED, TokenCorpus, open_corpus
from ulmfit_lab.data.sources import has_split
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.pipeline.store import StageContext, StageResult
from ulmfit_lab.training.metrics import classification_metrics
from ulmfit_lab.utils.errors import ConfigError, DataError

MOST_CLASSES = 10_000
"""Maximum number of classes; more labels are ids or texts."""


PREFIXES = {"test": "", "valid": "valid_", "holdout": "holdout_"}
"""Part of a labelled set -> what its metrics' names begin with."""


@dataclass(frozen=True)
class LabelledData:
    """The labelled set and its split.

    The validation, test and holdout documents are the same for every run; a run's training documents are drawn from the
    pool.
    """

    train: TokenCorpus
    test: TokenCorpus
    classes: tuple[str, ...]
    pool: np.ndarray
    valid: np.ndarray
    tested: np.ndarray
    held: np.ndarray
    """Documents of the training split that are a second test set; empty where none is asked for."""

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The parts that a classifier is evaluated on."""
        return ("valid", "test", "holdout") if len(self.held) else ("valid", "test")

    def part(self, name: str) -> tuple[TokenCorpus, np.ndarray]:
        """Return corpus and document numbers of the validation, test or holdout set."""
        return {
            "valid": (self.train, self.valid),
            "test": (self.test, self.tested),
            "holdout": (self.train, self.held),
        }[name]

    def documents(self, name: str, vocabulary: Vocabulary, config: RunConfig) -> tuple[list[np.ndarray], np.ndarray]:
        """Return ids and labels of the validation, test or holdout set."""
        return self.select(*self.part(name), vocabulary, config)

    def select(
        self, corpus: TokenCorpus, numbers: np.ndarray, vocabulary: Vocabulary, config: RunConfig
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Return ids, cut as configured, and labels of these documents of a corpus."""
        ids = corpus.documents(vocabulary, numbers, config.target.max_words)
        return ids, self.label_ids(corpus, numbers)

    def words(self, corpus: TokenCorpus, numbers: np.ndarray, config: RunConfig) -> tuple[list[list[str]], np.ndarray]:
        """Return words, cut as configured, and labels of these documents of a corpus."""
        cut = config.target.max_words
        return [corpus.words(int(n))[:cut] for n in numbers], self.label_ids(corpus, numbers)

    def label_ids(self, corpus: TokenCorpus, numbers: np.ndarray) -> np.ndarray:
        """Return class ids of these documents of a corpus."""
        ids = {name: number for number, name in enumerate(self.classes)}
        to_class = np.array([ids.get(name, -1) for name in corpus.label_names], dtype=np.int64)
        return to_class[np.asarray(corpus.labels)[numbers]]


def save_predictions(work: StageContext, texts: LabelledData, probabilities: Mapping[str, np.ndarray]) -> None:
    """Save probabilities (n, C) and class ids (n,) of each evaluated part, and draw the test documents' confusion."""
    for part in texts.evaluated:
        np.save(work.folder / f"{part}_predictions.npy", probabilities[part])
        np.save(work.folder / f"{part}_labels.npy", texts.label_ids(*texts.part(part)))
    save_confusion(work, texts, probabilities["test"].argmax(1))


def load_prediction_metrics(folder: Path) -> dict[str, float]:
    """Compute all metrics of a classifier's stored probabilities; their names begin with `PREFIXES`.

    Empty if none are stored; raises DataError if they cannot be read.
    """
    found: dict[str, float] = {}
    for part, prefix in PREFIXES.items():
        files = [folder / f"{part}_{what}.npy" for what in ("predictions", "labels")]
        if all(file.is_file() for file in files):
            try:
                probabilities, labels = (np.load(file, allow_pickle=False) for file in files)
                metrics = classification_metrics(probabilities, labels)
            except (OSError, ValueError, IndexError, EOFError) as error:
                raise DataError(f"{files[0]} cannot be read ({error}); remove {folder} and sweep again.") from error
            found |= {f"{prefix}{name}": value for name, value in metrics.items()}
    return found


def save_confusion(work: StageContext, texts: LabelledData, guesses: np.ndarray) -> None:
    """Draw the confusion matrix of the test documents, given predicted class ids (n,)."""
    from ulmfit_lab.training.confusion import confusion_matrix, draw_confusion  # imports matplotlib

    truth = texts.label_ids(*texts.part("test"))
    matrix = confusion_matrix(truth, guesses, len(texts.classes))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # characters missing from the font
        draw_confusion(matrix, texts.classes).savefig(work.folder / "confusion.png")


def load_labelled_data(inputs: Mapping[str, StageResult], config: RunConfig) -> LabelledData:
    """Split the labelled set; the split depends on data and config, not on the run's seed.

    Raises DataError for unlabelled documents, a single class, a held-out label without training documents, or too few
    documents.
    """
    train = open_corpus(inputs["texts"].folder)
    separate = "test" in inputs
    test = open_corpus(inputs["test"].folder) if separate else train
    for what, corpus in (("training", train), ("test", test)):
        check_labelled(what, corpus)
        check_class_count(corpus.label_names)
    pool, valid, tested, held = split_numbers(train.n_documents, test.n_documents if separate else None, config.target)
    n_test = 0 if separate else len(tested)
    if len(pool) < max(config.target.n_labels, 1) or len(tested) == 0:
        held_out = f"{n_test} for testing, {config.target.n_valid} for validation and {len(held)} for the holdout"
        raise DataError(
            f"The target has {train.n_documents} documents; {len(pool)} are left after {held_out}, but "
            f"{config.target.n_labels or 1} are needed for training; lower target.n_valid, target.holdout, "
            "target.test_share or target.n_labels."
        )
    classes = class_names(
        label_set(train, pool), label_set(train, np.concatenate([valid, held])), label_set(test, tested)
    )
    return LabelledData(train, test, classes, pool, valid, tested[: config.target.n_test or None], held)


def label_set(corpus: TokenCorpus, numbers: np.ndarray) -> set[str]:
    """Return the labels of these documents."""
    return {corpus.label_names[place] for place in np.unique(np.asarray(corpus.labels)[numbers])}


def check_labelled(what: str, corpus: TokenCorpus) -> None:
    """Raise DataError if a document has no label."""
    labels = np.full(corpus.n_documents, UNLABELLED) if corpus.labels is None else np.asarray(corpus.labels)
    missing = np.flatnonzero(labels < 0)
    if len(missing):
        where = f"document {missing[0] + 1} of the target's {corpus.n_documents} {what} documents has no label"
        raise DataError(f"{where}, nor do {len(missing) - 1} others; ulmfit-lab plan shows its file and row.")


def check_class_count(labels: Collection[str]) -> None:
    """Raise DataError for too many classes."""
    if len(labels) > MOST_CLASSES:
        found = f"{len(labels)} different labels, such as {min(labels)[:50]!r}"
        hint = "set target.label_column to its label column"
        raise DataError(f"The target has {found}, and at most {MOST_CLASSES} are allowed; {hint}.")


def class_names(trained: Collection[str], validating: Collection[str], tested: Collection[str]) -> tuple[str, ...]:
    """Return the sorted labels of the training documents.

    Raises DataError for a single class, and for a held-out label without training documents.
    """
    classes = tuple(sorted(trained))
    if len(classes) < 2:
        raise DataError(f"All training documents of the target have the label {classes[0]!r}; two classes are needed.")
    for what, held_out in (("Test", tested), ("Validation", validating)):
        unseen = sorted(set(held_out) - set(classes))
        if unseen:
            found = f"{what} label {unseen[0]!r} does not occur in the training documents ({len(classes)} do)"
            raise DataError(f"{found}; remove its documents, or add training documents.")
    return classes


def split_numbers(
    n: int, n_own: int | None, target: TargetConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which of a set's n documents may train, which validate, those that test (target.n_test cuts them), the holdout.

    n_own: number of documents of a separate test set, None to hold target.test_share out
    """
    order = drawn_order(n)
    n_test = 0 if n_own is not None else round(target.test_share * n)
    valid, held, pool = np.split(order[n_test:], [target.n_valid, target.n_valid + target.holdout])
    return pool, valid, order[:n_test] if n_own is None else drawn_order(n_own), held


def drawn_order(n: int) -> np.ndarray:
    """Return the numbers of n documents in a random order that is the same for all runs."""
    return np.random.default_rng(0).permutation(n)


def test_order(corpus: TokenCorpus) -> np.ndarray:
    """Return the documents of a separate test set in the order in which target.n_test takes them."""
    return drawn_order(corpus.n_documents)


def documents_to_encode(
    inputs: Mapping[str, StageResult], config: RunConfig, seed: int | None = None
) -> tuple[TokenCorpus, np.ndarray]:
    """Return the configured test documents if there are test texts among the inputs, else training texts.

    seed: with target.n_labels, only the training texts that this seed draws and those held out; None: all of them
    """
    if "test" in inputs:
        corpus = open_corpus(inputs["test"].folder)
        return corpus, test_order(corpus)[: config.target.n_test or None]
    corpus = open_corpus(inputs["texts"].folder)
    if seed is None or not config.target.n_labels:
        return corpus, np.arange(corpus.n_documents)
    separate = test_source(config.target) is not None
    pool, valid, tested, held = split_numbers(corpus.n_documents, 0 if separate else None, config.target)
    classes = tuple(sorted(label_set(corpus, pool)))
    texts = LabelledData(corpus, corpus, classes, pool, valid, tested, held)
    drawn = draw_labelled(texts, config.target.n_labels, seed)
    return corpus, np.sort(np.concatenate([drawn, valid, held, tested[: config.target.n_test or None]]))


def test_source(target: TargetConfig) -> TargetConfig | None:
    """Return the source of the target's own test texts, if any; raises ConfigError for a test file of a named set."""
    if target.test_path and not target.path:
        raise ConfigError(
            f"target.test_path = {target.test_path!r} tests a target of your own, but target.path is not set; set it, "
            "or remove target.test_path."
        )
    if target.test_path:
        return replace(target, path=target.test_path, split="test")
    return replace(target, split="test") if has_split(target, "test") else None


def draw_labelled(texts: LabelledData, labels: int, seed: int) -> np.ndarray:
    """Return the documents that a seed trains on, drawn from the pool, with at least one per class.

    A draw of 100 is the beginning of the same seed's draw of 500.
    """
    order = np.random.default_rng(seed).permutation(texts.pool)
    if not labels:
        return order
    if labels < len(texts.classes):
        raise DataError(f"target.n_labels = {labels} is less than the {len(texts.classes)} classes; raise it.")
    classes = texts.label_ids(texts.train, order)
    firsts = np.sort(np.unique(classes, return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(order)), firsts)
    return order[np.concatenate([firsts, rest])[:labels]]
