"""Summary of a plan's data before training; words are separated by whitespace."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ulmfit_lab.config.schema import CorpusConfig, RunConfig, SourceConfig, TargetConfig
from ulmfit_lab.data.sources import read_labelled
from ulmfit_lab.data.splits import SPLITS
from ulmfit_lab.experiment.declaration import RunSpec
from ulmfit_lab.experiment.plan import Plan
from ulmfit_lab.pipeline.graph import source_fields_only
from ulmfit_lab.pipeline.labelled_data import check_class_count, class_names, split_numbers, test_source
from ulmfit_lab.pipeline.store import Stage, StageStore
from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.home import Home

IMBALANCE = 10
"""Ratio of the largest to the smallest class from which a warning is given."""
OVERLAP = 0.01
"""Share of test texts that are in the training texts, from which a warning is given."""
NO_LABELS = frozenset(("nan", "na", "n/a", "none", "null"))
"""Names of a class that are warned of."""
FEWEST_TO_JUDGE = 20
"""Number of texts from which a label for nearly each of them is an error."""
CLASSES_SHOWN = 12
SHIFT = 0.1
"""Total variation distance between training and test texts, of classes or first words, that may cause a warning."""
FIRST_WORDS = 10
"""Number of the most frequent first words that are compared; the others count as one."""


@dataclass(frozen=True)
class TargetSummary:
    """A labelled set after splitting; `training` counts the texts from which a run samples."""

    name: str
    training: int
    validation: int
    testing: int
    classes: Mapping[str, int]
    """Class -> number of training texts, most frequent first."""
    tested: Mapping[str, int]
    """Class -> number of test texts, in the same order."""
    median: float
    """Median number of words of a training text."""
    percentile_95: float
    max_length: int
    cut: int
    """Training texts with more words than `max_length`; there are more tokens than words, so more may be truncated."""
    repeated: int
    """Duplicate training texts, ignoring whitespace."""
    contradicted: int
    """Duplicate training texts with another label."""
    overlap: int
    """Test texts that are in the training texts, ignoring whitespace."""
    validation_overlap: int
    """Validation texts that are in the training texts."""
    holdout_overlap: int
    """Texts of the holdout that are in the training texts."""
    first_words: Mapping[str, tuple[float, float]]
    """Most frequent first words of texts -> their shares of the training and of the test texts."""
    test_median: float
    """Median number of words of a test text."""

    @property
    def class_shares(self) -> list[tuple[float, float]]:
        """Shares of each class of the training and of the test texts."""
        return [(count / self.training, self.tested[name] / self.testing) for name, count in self.classes.items()]

    @property
    def word_shares(self) -> list[tuple[float, float]]:
        """The same of the most frequent first words, and of all others together."""
        train, test = (1 - sum(shares[part] for shares in self.first_words.values()) for part in (0, 1))
        return [*self.first_words.values(), (train, test)]

    def is_shifted(self, shares: Sequence[tuple[float, float]]) -> bool:
        """Whether the test texts differ by `SHIFT` or more, and by twice as much as samples of one population would."""
        spread = sum((max(p * (1 - p), 0.0) * (1 / self.training + 1 / self.testing)) ** 0.5 for p, _ in shares)
        return total_variation(shares) >= max(SHIFT, 2 * spread * (2 / math.pi) ** 0.5 / 2)

    @property
    def shift(self) -> str:
        """How the test texts differ from the training texts, as one line."""
        word, (train, test) = max(self.first_words.items(), key=lambda each: abs(each[1][0] - each[1][1]))
        return (
            f"classes {total_variation(self.class_shares):.0%}, first words {total_variation(self.word_shares):.0%} "
            f"(most: {word!r} {train:.0%} of training, {test:.0%} of test texts), "
            f"median words {self.median:,.0f} and {self.test_median:,.0f}"
        )

    @property
    def documents(self) -> str:
        """Numbers of texts and classes as one line."""
        parts = f"{self.training:,} training, {self.validation:,} validation and {self.testing:,} test texts"
        return f"Data: {self.name}: {parts}, {len(self.classes)} classes."

    @property
    def lines(self) -> tuple[str, ...]:
        """The summary as lines of text."""
        shown = [
            f"{name} {count:,} ({count / self.training:.1%}; test {self.tested[name] / self.testing:.1%})"
            for name, count in list(self.classes.items())[:CLASSES_SHOWN]
        ]
        more = len(self.classes) - len(shown)
        shown += [f"and {more} smaller ones"] if more else []
        cut = f"target.max_length = {self.max_length} cuts {self.cut:,} ({self.cut / self.training:.1%})"
        cut = cut if self.max_length else "read whole"
        length = f"median {self.median:,.0f}, 95% have at most {self.percentile_95:,.0f}"
        repeated = f"{self.repeated:,} ({self.repeated / self.training:.1%})"
        overlap = f"{self.overlap:,} ({self.overlap / self.testing:.1%})"
        return (
            self.documents,
            f"  classes: {', '.join(shown)}",
            f"  words: {length}; {cut}",
            f"  duplicate training texts: {repeated}; test texts in the training texts: {overlap}{self.held_out}",
            f"  difference of test from training texts (total variation): {self.shift}",
        )

    @property
    def held_out(self) -> str:
        """How many validation texts, and texts of the holdout, are training texts; empty if none is."""
        counts = {"validation": self.validation_overlap, "holdout": self.holdout_overlap}
        return "".join(f"; {name} texts in them: {count:,}" for name, count in counts.items() if count)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings on imbalance, untested classes and overlap."""
        found = []
        (most, largest), *_, (least, smallest) = [*self.classes.items()] * 2  # twice: there may be a single class
        if largest >= IMBALANCE * smallest:
            found.append(
                f"warning: class {least!r} has {smallest:,} training texts and {most!r} has {largest:,}; "
                "consider final/macro_f1, since accuracy is dominated by large classes."
            )
        untested = [name for name, count in self.tested.items() if not count]
        if untested:
            more = f" and {len(untested) - 1} more" if untested[1:] else ""
            found.append(f"warning: class {untested[0]!r}{more} has no test texts.")
        if odd := sorted(name for name in self.classes if name.lower() in NO_LABELS):
            found.append(
                f"warning: class {odd[0]!r} ({self.classes[odd[0]]:,} training texts) looks like a missing label."
            )
        folded = Counter(name.casefold() for name in self.classes)
        if same := sorted(name for name in self.classes if folded[name.casefold()] > 1):
            found.append(f"warning: classes {same[0]!r} and {same[1]!r} differ only in case.")
        if self.contradicted:
            found.append(f"warning: {self.contradicted:,} training texts occur again with another label.")
        if splits := sorted(name for name in self.classes if name.lower() in SPLITS):
            found.append(f"warning: class {splits[0]!r} has the name of a split; is it a class?")
        if self.overlap >= OVERLAP * self.testing and self.overlap:
            found.append(
                f"warning: {self.overlap:,} of {self.testing:,} test texts are also training texts; "
                "remove them from one of the two."
            )
        if self.is_shifted(self.class_shares) or self.is_shifted(self.word_shares):
            found.append(
                f"warning: the test texts differ from the training texts: {self.shift}; target.holdout tests on "
                "held-out training texts as well."
            )
        return tuple(found)


def targets_of(plan: Plan) -> list[TargetConfig]:
    """Labelled sets on which a plan trains classifiers, ignoring `n_labels`."""
    return list(runs_of_targets(plan))


def runs_of_targets(plan: Plan) -> dict[TargetConfig, list[RunSpec]]:
    """Each of these labelled sets, and the runs that train a classifier on it."""
    found: dict[TargetConfig, list[RunSpec]] = {}
    for spec in (each.run_spec for each in plan.planned):
        if spec.config.last_stage == "classifier":
            found.setdefault(replace(spec.config.target, n_labels=0, lm_text="all"), []).append(spec)
    return found


def check_labels(plan: Plan, data: Path | None) -> None:
    """Raise DataError if a run wants more labelled documents than its target has for training."""
    for target, specs in runs_of_targets(plan).items():
        try:
            found = summarise_target(target, data)
        except DataError:
            continue  # told where the set is summarised, or by its runs
        for spec in specs:
            if (wanted := spec.config.target.n_labels) > found.training:
                raise DataError(
                    f"{spec.label} wants target.n_labels = {wanted:,}, but {found.name} has {found.training:,} "
                    f"training texts beside {found.validation:,} for validation and {found.testing:,} for testing; "
                    "lower it (--levels), or hold out fewer (target.n_valid, target.holdout, target.test_share)."
                )


@cache
def summarise_target(target: TargetConfig, data: Path | None) -> TargetSummary:
    """Read and summarize a labelled set, and its test set if it has one.

    data: folder of the named data sets

    Raises DataError for texts that cannot be read or have no label, too few texts, or invalid classes.
    """
    own = test_source(target)
    train = read_texts(source_fields_only(target), data)
    test = read_texts(source_fields_only(own), data) if own else train
    name = Path(target.path).name if target.path else target.name
    check_label_column(train.labels, name, target)
    pool, valid, tested, held = split_numbers(len(train.labels), len(test.labels) if own else None, target)
    if not len(pool) or not len(tested):
        parts = f"{len(pool)} for training, {len(valid)} for validation and {len(tested)} for testing"
        raise DataError(f"{name}: {len(train.labels)} labelled texts leave {parts}; use a smaller --target.n-valid.")
    counts = Counter(train.labels[number] for number in pool)
    check_class_count(counts)
    unseen = {train.labels[number] for number in (*valid, *held)}
    class_names(counts, unseen, {test.labels[number] for number in tested})
    tested = tested[: target.n_test or None]
    found = Counter(test.labels[number] for number in tested)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    digests = [train.digests[number] for number in pool]
    known = set(digests)
    lengths = train.lengths[pool]
    return TargetSummary(
        name=name,
        training=len(pool),
        validation=len(valid),
        testing=len(tested),
        classes={name: counts[name] for name in names},
        tested={name: found[name] for name in names},
        median=float(np.median(lengths)),
        percentile_95=float(np.percentile(lengths, 95, method="inverted_cdf")),
        max_length=target.max_length,
        cut=int(np.sum(lengths > target.max_length)) if target.max_length else 0,
        repeated=len(digests) - len(known),
        contradicted=len({(d, train.labels[n]) for d, n in zip(digests, pool, strict=True)}) - len(known),
        overlap=sum(test.digests[number] in known for number in tested),
        validation_overlap=sum(train.digests[number] in known for number in valid),
        holdout_overlap=sum(train.digests[number] in known for number in held),
        first_words=share_first_words([train.first[n] for n in pool], [test.first[n] for n in tested]),
        test_median=float(np.median(test.lengths[tested])),
    )


def check_label_column(labels: Sequence[str], name: str, target: TargetConfig) -> None:
    """Raise DataError if there are no labels, or if nearly each text has one of its own."""
    if not labels:
        raise DataError(f"{name} has no labelled texts.")
    different = len(set(labels))
    if len(labels) >= FEWEST_TO_JUDGE and different > len(labels) / 2:
        column = f"; is target.label_column = {target.label_column!r} the column of labels?" if target.path else "."
        raise DataError(f"{name} has {different:,} different labels in {len(labels):,} texts{column}")


def total_variation(shares: Iterable[tuple[float, float]]) -> float:
    """Total variation distance between two distributions over the same values, 0 to 1."""
    return sum(abs(train - test) for train, test in shares) / 2


def share_first_words(train: Sequence[str], test: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The most frequent first words of both together -> their shares of the training and of the test texts."""
    counts = Counter(train), Counter(test)
    shares = {
        word: (counts[0][word] / len(train), counts[1][word] / len(test)) for word in sorted(counts[0] | counts[1])
    }
    return dict(sorted(shares.items(), key=lambda each: -sum(each[1]))[:FIRST_WORDS])


@dataclass(frozen=True)
class TextFacts:
    """Label, number of words, digest and first word of each text."""

    labels: list[str]
    lengths: np.ndarray
    digests: list[bytes]
    first: list[str]


@cache
def read_texts(source: SourceConfig, data: Path | None) -> TextFacts:
    """Read a source, cached; raises DataError for a text without a label."""
    labels, lengths, digests, first = [], [], [], []
    for document in read_labelled(source, data):
        words = document.text.split()
        labels.append(str(document.label))
        lengths.append(len(words))
        first.append(words[0].lower())
        digests.append(blake2b(" ".join(words).encode(), digest_size=16).digest())
    return TextFacts(labels, np.array(lengths, dtype=np.int64), digests, first)


def language_texts(plan: Plan) -> Iterator[str]:
    """A line for each text on which language models or word vectors are trained, with its variants if not all."""
    readers: dict[str, dict[str, None]] = {}
    for each in plan.planned:
        for stage in each.stage.ancestry():
            if text := text_of(stage, each.run_spec.config):
                readers.setdefault(text, {})[each.run_spec.variant] = None
    variants = {each.run_spec.variant for each in plan.planned}
    for text, some in readers.items():
        yield text + (f" ({', '.join(some)})" if len(some) < len(variants) else "")
    if not readers:
        yield "No run has a language model."


def text_of(stage: Stage, config: RunConfig) -> str:
    """Training text of a language model or word vectors; empty for other stages."""
    drawn = ", those whose labels a run uses" if config.target.lm_text == "labelled" else ""
    own = f"the target's own training texts{drawn}"
    unlabelled = "the unlabelled corpus" if config.unlabelled.given else own
    if stage.kind == "pretrained":
        if "corpus" not in stage.inputs:
            return f"Language model: imported as {config.imported}"
        return f"Language model, pretrained on the general corpus: {named_part(stage, 'corpus', config.general)}"
    if stage.kind == "fine-tuned":
        return f"Language model, fine-tuned on {unlabelled}: {named_part(stage, 'corpus', config.unlabelled)}"
    if stage.kind == "vectors" and "general" in stage.inputs:
        texts = named_part(stage, "general", config.general), named_part(stage, "corpus", config.unlabelled)
        return f"Word vectors, trained on the general corpus and {unlabelled}: {' and '.join(texts)}"
    return ""


def named_part(stage: Stage, role: str, corpus: CorpusConfig) -> str:
    """Source of a stage's text, and the maximum number of tokens."""
    source: SourceConfig = stage.inputs[role].compute.keywords["source"]  # type: ignore[attr-defined]
    most = f", at most {corpus.max_tokens:,} tokens" if corpus.max_tokens else ""
    return (source.path or f"{source.name} ({source.split})") + most


def describe_targets(plan: Plan, home: Home, data: Path | None) -> Iterator[str]:
    """Lines on the data of a plan: texts of language models, labelled sets, and finished vocabularies."""
    yield from language_texts(plan)
    for target in targets_of(plan):
        found = summarise_target(target, data)
        yield from found.lines
        yield from found.warnings
    stages = {s.fingerprint: s for each in plan.planned for s in each.stage.ancestry() if s.kind == "vocabulary"}
    for stage in stages.values():
        stored = StageStore(home.stages).find(stage)
        if stored and "texts" in stage.inputs:
            words, coverage = stored.summary["words"], stored.summary["coverage"]
            yield f"  vocabulary: {words:,} words, which cover {coverage:.1%} of its texts"
