"""What a labelled set is like, told before anything is trained on it: texts are read once, words end at blanks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ulmfit_lab.config.schema import CorpusConfig, RunConfig, SourceConfig, TargetConfig
from ulmfit_lab.data.sources import read_labelled
from ulmfit_lab.data.splits import SPLITS
from ulmfit_lab.experiment.plan import Plan
from ulmfit_lab.pipeline.graph import source_fields_only
from ulmfit_lab.pipeline.labelled_data import check_class_count, class_names, split_numbers, test_source
from ulmfit_lab.pipeline.store import Stage, StageStore
from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.home import Home

IMBALANCE = 10
"""Times that the largest class is as large as the smallest, from which on a warning is given."""
OVERLAP = 0.01
"""Share of the test texts that training texts repeat, from which on a warning is given."""
CLASSES_SHOWN = 12


@dataclass(frozen=True)
class TargetSummary:
    """A labelled set as runs split it; `training` are the texts that a run may draw its own from."""

    name: str
    training: int
    validation: int
    testing: int
    classes: Mapping[str, int]
    """Class -> training texts, the most frequent one first."""
    tested: Mapping[str, int]
    """Class -> test texts, for the same classes."""
    median: float
    """Words of a training text, as the next."""
    percentile_95: float
    max_length: int
    cut: int
    """Training texts with more words than `max_length`. Tokens are more than words (marks, markers): of those that
    come close, some are cut besides."""
    repeated: int
    """Training texts that an earlier one repeats, blanks aside."""
    overlap: int
    """Test texts that are training texts too, blanks aside."""

    @property
    def documents(self) -> str:
        """How many texts there are, in a line."""
        parts = f"{self.training:,} training, {self.validation:,} validation and {self.testing:,} test texts"
        return f"Data: {self.name}: {parts}, {len(self.classes)} classes."

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, in lines for people."""
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
            f"  words, as blanks part them: {length}; {cut}",
            f"  training texts that repeat another: {repeated}; test texts among the training texts: {overlap}",
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes a measure say something else than it seems to."""
        found = []
        (most, largest), *_, (least, smallest) = [*self.classes.items()] * 2  # twice: there may be a single class
        if largest >= IMBALANCE * smallest:
            found.append(
                f"warning: class {least!r} has {smallest:,} training texts and {most!r} has {largest:,}; accuracy "
                "hides how small classes fare, final/macro_f1 does not."
            )
        untested = [name for name, count in self.tested.items() if not count]
        if untested:
            more = f" and {len(untested) - 1} more" if untested[1:] else ""
            found.append(f"warning: class {untested[0]!r}{more} has no test texts, so nothing measures it.")
        if splits := sorted(name for name in self.classes if name.lower() in SPLITS):
            found.append(f"warning: class {splits[0]!r} has the name of a split; is it a class?")
        if self.overlap >= OVERLAP * self.testing and self.overlap:
            found.append(
                f"warning: {self.overlap:,} of {self.testing:,} test texts are training texts too: what they test is "
                "memory; drop them from one of the two."
            )
        return tuple(found)


def targets_of(plan: Plan) -> list[TargetConfig]:
    """The labelled sets that the cells of a plan train classifiers on, numbers of labels aside."""
    configs = (each.run_spec.config for each in plan.planned)
    targets = (
        replace(config.target, n_labels=0, lm_text="all") for config in configs if config.last_stage == "classifier"
    )
    return list(dict.fromkeys(targets))


def summarise_target(target: TargetConfig, data: Path | None) -> TargetSummary:
    """Read a labelled set, and its test set where it has one.

    data: folder of the named data sets

    Raises DataError for texts that cannot be read, have no label, or are too few for what is held out of them, and for
    classes that cannot be trained on (see `target.class_names`).
    """
    own = test_source(target)
    train = read_texts(source_fields_only(target), data)
    test = read_texts(source_fields_only(own), data) if own else train
    pool, valid, tested, held = split_numbers(len(train.labels), len(test.labels) if own else None, target)
    if not len(pool) or not len(tested):
        n, left = len(train.labels), f"{len(pool)} are left for training and {len(tested)} for testing"
        raise DataError(f"Of {n} labelled texts {left}; {len(valid)} validate, fewer do with --target.n-valid.")
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
        name=Path(target.path).name if target.path else target.name,
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
        overlap=sum(test.digests[number] in known for number in tested),
    )


@dataclass(frozen=True)
class TextFacts:
    """Label, number of words and digest of the words of each text."""

    labels: list[str]
    lengths: np.ndarray
    digests: list[bytes]


@cache
def read_texts(source: SourceConfig, data: Path | None) -> TextFacts:
    """Read a source, once a process; raises DataError for a text without a label."""
    labels, lengths, digests = [], [], []
    for document in read_labelled(source, data):
        words = document.text.split()
        labels.append(str(document.label))
        lengths.append(len(words))
        digests.append(blake2b(" ".join(words).encode(), digest_size=16).digest())
    return TextFacts(labels, np.array(lengths, dtype=np.int64), digests)


def language_texts(plan: Plan) -> Iterator[str]:
    """A line for every text that language models or word vectors of a plan read, with the variants where not all do."""
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
    """What a language model or word vectors are trained on, in words; empty for any other stage."""
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
    """The source of a stage's text, and how much of it is read."""
    source: SourceConfig = stage.inputs[role].compute.keywords["source"]  # type: ignore[attr-defined]
    most = f", at most {corpus.max_tokens:,} tokens" if corpus.max_tokens else ""
    return (source.path or f"{source.name} ({source.split})") + most


def describe_targets(plan: Plan, home: Home, data: Path | None) -> Iterator[str]:
    """Lines about the texts of a plan: those of language models, the labelled sets, and vocabularies that are there."""
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
            yield f"  vocabulary: {words:,} words, which are {coverage:.1%} of the words of the texts it is made from"
