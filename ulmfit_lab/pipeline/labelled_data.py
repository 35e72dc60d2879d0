"""The labelled set: which of its documents train, validate and test, and which of them a seed draws."""

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
from ulmfit_lab.utils.errors import DataError

MOST_CLASSES = 10_000
"""Labels of a target: more is a column of ids or texts, which as classes would have a document or two each.

Benchmarks of text classification have 2 to some hundred; the output layer and the drawing of labels grow with them.
"""


PREFIXES = {"test": "", "valid": "valid_", "holdout": "holdout_"}
"""Part of a labelled set -> what its metrics' names begin with."""


@dataclass(frozen=True)
class LabelledData:
    """The labelled set, and which of its documents train, validate and test.

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
        """Corpus and documents of the validation, the test or the holdout set."""
        return {
            "valid": (self.train, self.valid),
            "test": (self.test, self.tested),
            "holdout": (self.train, self.held),
        }[name]

    def documents(self, name: str, vocabulary: Vocabulary, config: RunConfig) -> tuple[list[np.ndarray], np.ndarray]:
        """Ids and labels of the validation, the test or the holdout set."""
        return self.select(*self.part(name), vocabulary, config)

    def select(
        self, corpus: TokenCorpus, numbers: np.ndarray, vocabulary: Vocabulary, config: RunConfig
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Ids, cut after the config's number of words, and labels of these documents of a corpus."""
        ids = corpus.documents(vocabulary, numbers, config.target.max_words)
        return ids, self.label_ids(corpus, numbers)

    def words(self, corpus: TokenCorpus, numbers: np.ndarray, config: RunConfig) -> tuple[list[list[str]], np.ndarray]:
        """Words, cut at the config's length, and labels of these documents of a corpus."""
        cut = config.target.max_words
        return [corpus.words(int(n))[:cut] for n in numbers], self.label_ids(corpus, numbers)

    def label_ids(self, corpus: TokenCorpus, numbers: np.ndarray) -> np.ndarray:
        """Class numbers of these documents of a corpus."""
        ids = {name: number for number, name in enumerate(self.classes)}
        to_class = np.array([ids.get(name, -1) for name in corpus.label_names], dtype=np.int64)
        return to_class[np.asarray(corpus.labels)[numbers]]


def save_labels(work: StageContext, texts: LabelledData) -> None:
    """Keep the class numbers (n,) of the evaluated documents, beside the stage's `*_predictions.npy`."""
    for part in texts.evaluated:
        np.save(work.folder / f"{part}_labels.npy", texts.label_ids(*texts.part(part)))


def load_prediction_metrics(folder: Path) -> dict[str, float]:
    """Every metric of the probabilities that a classifier's stage keeps: on validation documents as valid_..., on those
    of the second test set as holdout_...

    Empty where it keeps none; raises DataError where what it keeps cannot be read.
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
    """Draw which classes the test documents were taken for: class numbers (n,) in the documents' order."""
    from ulmfit_lab.training.confusion import confusion_matrix, draw_confusion  # imports matplotlib

    truth = texts.label_ids(*texts.part("test"))
    matrix = confusion_matrix(truth, guesses, len(texts.classes))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of letters that the font lacks
        draw_confusion(matrix, texts.classes).savefig(work.folder / "confusion.png")


def load_labelled_data(inputs: Mapping[str, StageResult], config: RunConfig) -> LabelledData:
    """Split the labelled set; the split depends on the data and the config alone, never on the run's seed.

    Raises DataError for unlabelled documents, a single class, a label held out that training never saw, or too few
    documents for what is held out.
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
            f"The target has {train.n_documents} documents: after {held_out} {len(pool)} are left, and "
            f"{config.target.n_labels or 'some'} are to be trained on; lower target.n_valid, target.holdout, "
            "target.test_share or target.n_labels."
        )
    classes = class_names(
        label_set(train, pool), label_set(train, np.concatenate([valid, held])), label_set(test, tested)
    )
    return LabelledData(train, test, classes, pool, valid, tested[: config.target.n_test or None], held)


def label_set(corpus: TokenCorpus, numbers: np.ndarray) -> set[str]:
    """The labels of the documents of these numbers."""
    return {corpus.label_names[place] for place in np.unique(np.asarray(corpus.labels)[numbers])}


def check_labelled(what: str, corpus: TokenCorpus) -> None:
    """Raise DataError where a document has no label."""
    labels = np.full(corpus.n_documents, UNLABELLED) if corpus.labels is None else np.asarray(corpus.labels)
    missing = np.flatnonzero(labels < 0)
    if len(missing):
        where = f"document {missing[0] + 1} of the target's {corpus.n_documents} {what} documents has no label"
        raise DataError(f"{where}, nor have {len(missing) - 1} others; ulmfit-lab plan names its file and row.")


def check_class_count(labels: Collection[str]) -> None:
    """Raise DataError for more labels than classes may be."""
    if len(labels) > MOST_CLASSES:
        found = f"{len(labels)} different labels, such as {min(labels)[:50]!r}"
        hint = "name its label column with target.label_column"
        raise DataError(f"The target has {found}, and at most {MOST_CLASSES} are allowed; {hint}.")


def class_names(trained: Collection[str], validating: Collection[str], tested: Collection[str]) -> tuple[str, ...]:
    """The classes, sorted: the labels of the documents that may train.

    Raises DataError for a single one, and for one held out that none of them has.
    """
    classes = tuple(sorted(trained))
    if len(classes) < 2:
        raise DataError(f"All training documents of the target have the label {classes[0]!r}; two classes are needed.")
    for what, held_out in (("Test", tested), ("Validation", validating)):
        unseen = sorted(set(held_out) - set(classes))
        if unseen:
            found = f"{what} label {unseen[0]!r} does not occur in the training documents ({len(classes)} do)"
            raise DataError(f"{found}; drop its documents, or give more of them.")
    return classes


def split_numbers(
    n: int, n_own: int | None, target: TargetConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which of a set's n documents may train, which validate, those that test (target.n_test cuts them), the holdout.

    n_own: documents of a test set of its own, whose numbers those that test then are; None: a share of the n is held
        out for testing
    """
    order = drawn_order(n)
    n_test = 0 if n_own is not None else round(target.test_share * n)
    valid, held, pool = np.split(order[n_test:], [target.n_valid, target.n_valid + target.holdout])
    return pool, valid, order[:n_test] if n_own is None else drawn_order(n_own), held


def drawn_order(n: int) -> np.ndarray:
    """The numbers of n documents in an order that is the same for every run."""
    return np.random.default_rng(0).permutation(n)


def test_order(corpus: TokenCorpus) -> np.ndarray:
    """The documents of a test set of its own, in the order in which target.n_test takes the first ones."""
    return drawn_order(corpus.n_documents)


def documents_to_encode(inputs: Mapping[str, StageResult], config: RunConfig) -> tuple[TokenCorpus, np.ndarray]:
    """The test documents that the config asks for, of a stage that is given the test texts; else all training texts."""
    if "test" in inputs:
        corpus = open_corpus(inputs["test"].folder)
        return corpus, test_order(corpus)[: config.target.n_test or None]
    corpus = open_corpus(inputs["texts"].folder)
    return corpus, np.arange(corpus.n_documents)


def test_source(target: TargetConfig) -> TargetConfig | None:
    """The labelled set's test texts, where it has any of its own."""
    if target.path and target.test_path:
        return replace(target, path=target.test_path, split="test")
    return replace(target, split="test") if has_split(target, "test") else None


def draw_labelled(texts: LabelledData, labels: int, seed: int) -> np.ndarray:
    """The documents that a seed trains on: a draw from the pool, at least one of each class, smaller draws first.

    A draw of 100 is the beginning of the same seed's draw of 500.
    """
    order = np.random.default_rng(seed).permutation(texts.pool)
    if not labels:
        return order
    if labels < len(texts.classes):
        raise DataError(f"target.n_labels = {labels} is fewer than the {len(texts.classes)} classes.")
    classes = texts.label_ids(texts.train, order)
    firsts = np.sort(np.unique(classes, return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(order)), firsts)
    return order[np.concatenate([firsts, rest])[:labels]]
