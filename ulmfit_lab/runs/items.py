"""Test predictions of runs, document by document: McNemar's test, and the documents that all runs get wrong."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.labelled_data import LabelledData, load_labelled_data
from ulmfit_lab.pipeline.store import StageStore
from ulmfit_lab.runs.reproduce import config_of
from ulmfit_lab.tracking.predictions import Predictions, find_predictions
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.utils.errors import LabError, MismatchError
from ulmfit_lab.utils.files import check_writable, write_output
from ulmfit_lab.utils.home import Home

WORDS_SHOWN = 40


@dataclass(frozen=True)
class McNemar:
    """Two runs on the same test documents."""

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p: float
    """Of the exact test (McNemar 1947): whether the documents that one run alone gets right are split evenly."""

    def __str__(self) -> str:
        p = "< 0.0001" if self.p < 1e-4 else f"{self.p:.4f}"
        n = self.both_right + self.only_first + self.only_second + self.both_wrong
        return (
            f"Of {n:,} test documents both get {self.both_right:,} right, only the first {self.only_first:,}, only the "
            f"second {self.only_second:,}, neither {self.both_wrong:,}; McNemar's exact test: p {p}."
        )


def load_predictions(run: TrackedRun, home: Home) -> Predictions:
    """A run's test predictions; raises MismatchError if the home does not have them."""
    if found := find_predictions(run, home):
        return found
    raise MismatchError(
        f"Run {run.origin} ({run.name}) has no test predictions in {home.root}; make them again: "
        f"ulmfit-lab reproduce {run.origin} --keep-stages"
    )


def compare_items(first: Predictions, second: Predictions) -> McNemar:
    """McNemar's exact test; raises MismatchError for other test documents."""
    from statsmodels.stats.contingency_tables import mcnemar

    if not np.array_equal(first.labels, second.labels):
        raise MismatchError("The runs were tested on different documents, which cannot be compared one by one.")
    a, b = first.right, second.right
    counts = [int(each.sum()) for each in (a & b, a & ~b, ~a & b, ~a & ~b)]
    p = float(mcnemar([counts[:2], counts[2:]], exact=True).pvalue)
    return McNemar(counts[0], counts[1], counts[2], counts[3], p)


def load_test_documents(run: TrackedRun, home: Home, data: Path | None) -> LabelledData:
    """The labelled set of a run; raises LabError if its texts are not stored here as tokens."""
    config, store = config_of(run), StageStore(home.stages)
    stage = final_stage(config, run.seed, data, home.imported)
    found = {name: store.find(stage.inputs[name]) for name in ("texts", "test") if name in stage.inputs}
    stored = {name: each for name, each in found.items() if each}
    if len(stored) < len(found):
        raise LabError(
            f"The texts of run {run.origin} are not stored here; ulmfit-lab reproduce {run.origin} --keep-stages"
        )
    return load_labelled_data(stored, config)


def document_text(texts: LabelledData, item: int, words: int = WORDS_SHOWN) -> str:
    """The first words of a test document."""
    corpus, numbers = texts.part("test")
    found = corpus.words(int(numbers[item]))
    return " ".join(found[:words]) + (" ..." if len(found) > words else "")


def item_rows(items: Sequence[Predictions], texts: LabelledData, chosen: Sequence[int]) -> list[list[str]]:
    """Number, label, class that each run predicts with its probability, and text of test documents."""
    rows = []
    for item in chosen:
        shown = [f"{texts.classes[int(each.predicted[item])]} {each.probability[item]:.2f}" for each in items]
        rows.append([str(item), texts.classes[int(items[0].labels[item])], *shown, document_text(texts, item)])
    return rows


def write_always_wrong(runs: Sequence[TrackedRun], home: Home, data: Path | None, path: Path) -> int:
    """Write the test documents that every run gets wrong as CSV, with each variant's commonest guess; returns how many.

    Raises MismatchError if runs were tested on different documents, LabError if there are none or they are not stored.
    """
    if not runs:
        raise LabError("There are no finished runs whose test documents could be listed.")
    items = [load_predictions(run, home) for run in runs]
    if any(not np.array_equal(each.labels, items[0].labels) for each in items):
        raise MismatchError("The runs were tested on different documents, which cannot be listed together.")
    check_writable(path)
    texts, chosen = load_test_documents(runs[0], home, data), always_wrong(items)
    variants = list(dict.fromkeys(run.variant for run in runs))
    with write_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["document", "label", *variants, "text"])
        for item in chosen:
            guesses: dict[str, Counter[int]] = {variant: Counter() for variant in variants}
            for run, each in zip(runs, items, strict=True):
                guesses[run.variant][int(each.predicted[item])] += 1
            named = [texts.classes[guesses[variant].most_common(1)[0][0]] for variant in variants]
            label = texts.classes[int(items[0].labels[item])]
            writer.writerow([item, label, *named, document_text(texts, item, words=10_000)])
    return len(chosen)


def always_wrong(items: Sequence[Predictions]) -> list[int]:
    """The test documents that every run gets wrong."""
    right = np.array([each.right for each in items])
    return [int(item) for item in np.flatnonzero(~right.any(axis=0))]
