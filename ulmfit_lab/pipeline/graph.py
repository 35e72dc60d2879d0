"""What a run is made of: tokens, vocabulary, word and sentence vectors, language models, classifier.

`final_stage` turns a config and a seed into the last stage of the run, with every stage that this one needs below it.
Nothing is computed here; each stage's computation is a function of `text_stages`, `vector_stages`,
`training_stages` or `baselines`. A stage's key holds the
part of the config that can change its result, without the fields that have their default (see `non_defaults`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from ulmfit_lab.config.paths import flatten, non_defaults, override
from ulmfit_lab.config.schema import CorpusConfig, LanguageModelTrainingConfig, RunConfig, SourceConfig
from ulmfit_lab.data.sources import read_documents, source_bytes, source_digest
from ulmfit_lab.models.sizes import MANY_WORDS, is_wide, layer_sizes
from ulmfit_lab.pipeline import devices, text_stages, vector_stages
from ulmfit_lab.pipeline.imported_models import find_import, imported_stage
from ulmfit_lab.pipeline.labelled_data import test_source
from ulmfit_lab.pipeline.store import Stage, StageContext
from ulmfit_lab.utils.errors import ConfigError

BYTES_PER_TOKEN = 4.6
"""English text, markup and marker tokens included; only predictions use it."""
TOKENS_PER_WORD = 1.2
"""Tokens, markers and punctuation among them, for each run of letters between blanks; only predictions use it."""
PIECES_PER_WORD = 1.2
"""Subwords for each word (1.15 on WikiText-2 with 10,000 of them); only predictions use it."""
WIDE_KERNEL_VERSION = 1
"""Version of what large networks alone run through; raised when a change to it can move a number."""
SHAPE = ("emb_size", "hidden_size", "n_layers", "backwards")
"""Fields of a language model that change what it computes in evaluation."""
READING = ("init", "features", "bptt", "backprop_windows", "max_positions")
"""Fields of a classifier that change what its encoder makes of a document in evaluation."""
HEAD_SHARE = 0.01
"""Work of training a head on features, as a share of that of a whole classifier; only predictions use it."""
SAMPLE = 200
"""Documents from which the length of all is predicted."""


@dataclass(frozen=True)
class StageGraph:
    """Makes the stages of one run; equal parts of two runs get equal fingerprints."""

    config: RunConfig
    seed: int
    data: Path | None
    imports: Path | None = None

    def final_stage(self) -> Stage:
        """The stage whose summary holds the run's final numbers."""
        if self.config.last_stage == "pretrained" and self.config.imported:
            raise ConfigError(
                f"last_stage = 'pretrained' trains a language model, but imported = {self.config.imported!r} takes its "
                "place; set imported to ''."
            )
        ends: Mapping[str, Callable[[], Stage]] = {
            "pretrained": self.pretrained,
            "fine-tuned": self.fine_tuned,
            "classifier": self.both_directions if self.config.classifier.both_directions else self.classifier,
        }
        return ends[self.config.last_stage]()

    def classifier(self) -> Stage:
        """A model of the target's labels, trained and tested."""
        fit = self.config.classifier
        if fit.model != "awd-lstm":
            return self.baseline()
        inputs = {"texts": self.target_tokens()} | self.test_tokens()
        inputs |= {"vocabulary": self.vocabulary(), **self.initial_model()}
        frozen = fit.unfreeze == "last"
        inputs |= self.features() if frozen else {}
        key = {
            "target": _sampling(self.config),
            "lm": self.shape_key(),
            "new_word_init": self.config.vocabulary.new_word_init,
            "fit": non_defaults(fit),
            "compute": self.network_key(),
            "seed": self.seed,
        }
        share = HEAD_SHARE if frozen else 1
        train = partial(_train, "fit_classifier")
        return self.stage("classifier", key, inputs, train, lambda: self.classifier_tokens() * share)

    def features(self) -> dict[str, Stage]:
        """What a frozen encoder makes of the target's texts, the same for every number of labels and epochs.

        It is the same for every seed too, unless the seed draws weights of the encoder.
        """
        fit = self.config.classifier
        drawn = fit.init in ("random", "word2vec", "glove") or self.config.vocabulary.new_word_init in (
            "normal",
            "uniform",
        )
        read = _changed(fit, *READING)
        key = {
            "lm": self.shape_key(),
            "new_word_init": self.config.vocabulary.new_word_init,
            "fit": read,
            "compute": self.network_key(),
            "seed": self.seed if drawn else 0,
        }
        inputs = {"vocabulary": self.vocabulary(), **self.initial_model()}
        share = self.units_per_word / 3  # of a training's work: a forward pass
        return self.of_documents("features", "features", key, inputs, partial(_train, "encode_features"), share)

    def of_documents(
        self,
        kind: str,
        name: str,
        key: dict[str, Any],
        inputs: Mapping[str, Stage],
        compute: Callable[..., dict[str, Any]],
        share: float = 1.0,
    ) -> dict[str, Stage]:
        """Stages that compute something of each of the labelled set's texts: of `name`, and of "test `name`".

        share: how much of their tokens counts as work
        """
        target, tokens = self.config.target, self.target_tokens()
        own = key | {"target": _changed(target, "max_length")}
        stages = {name: self.stage(kind, own, {"texts": tokens, **inputs}, compute, self.size(tokens, None, share))}
        for part, tokens in self.test_tokens().items():
            tested = key | {"target": _changed(target, "max_length", "n_test")}
            size = self.size(tokens, target.n_test, share)
            stages[f"{part} {name}"] = self.stage(kind, tested, {part: tokens, **inputs}, compute, size)
        return stages

    def size(self, tokens: Stage, n_documents: int | None, share: float) -> Callable[[], float]:
        """Estimates the work of reading so many documents (None or 0: all) after cutting: a share of their tokens."""

        def estimate() -> float:
            whole = n_documents * self.document_length() if n_documents else tokens.tokens * self.kept_share()
            return share * whole

        return estimate

    def shape_key(self) -> dict[str, Any]:
        """What an encoder takes of the language model's config; how that one is trained is in its own key."""
        return _changed(self.config.lm, *SHAPE)

    def baseline(self) -> Stage:
        """A classifier without a language model, on the same documents."""
        model = self.config.classifier.model
        key = {"model": model, "target": _sampling(self.config), "seed": self.seed}
        inputs = {"texts": self.target_tokens()} | self.test_tokens()
        compute = partial(_compute_baseline, "fit_tf_idf")
        if model == "sentence-encoder":
            inputs, compute = inputs | self.sentence_vectors(), partial(_compute_baseline, "fit_sentence_encoder")
        return self.stage("classifier", key, inputs, compute, self.labelled_tokens)

    def both_directions(self) -> Stage:
        """Two classifiers that differ in direction alone, averaged."""
        model = self.config.classifier.model
        if model != "awd-lstm":
            raise ConfigError(
                f"classifier.both_directions needs classifier.model = 'awd-lstm'; {model!r} has no direction."
            )
        inputs = {"texts": self.target_tokens()} | self.test_tokens()
        for name, backwards in (("forwards", False), ("backwards", True)):
            one = override(self.config, {"classifier.both_directions": False, "lm.backwards": backwards})
            inputs[name] = dataclasses.replace(self, config=one).classifier()
        key = {"target": _sampling(self.config)}
        return self.stage("ensemble", key, inputs, partial(_train, "average_classifiers"))

    def initial_model(self) -> dict[str, Stage]:
        """What the classifier's encoder starts from."""
        start = self.config.classifier.init
        if start in ("word2vec", "glove") and self.config.vocabulary.units == "subwords":
            raise ConfigError(
                f"classifier.init = {start!r} has vectors of words, but vocabulary.units = 'subwords'; "
                "set vocabulary.units to words, or start from random, pretrained or fine-tuned."
            )
        starts: Mapping[str, Callable[[], dict[str, Stage]]] = {
            "random": dict,
            "word2vec": lambda: {"vectors": self.word2vec()},
            "glove": lambda: {"vectors": self.glove()},
            "pretrained": lambda: {"language model": self.pretrained()},
            "fine-tuned": lambda: {"language model": self.fine_tuned()},
        }
        return starts[start]()

    def tokens(self, source: SourceConfig) -> Stage:
        """A source's texts as tokens."""
        if not source.given:
            raise ConfigError("A run needs texts: give target.name or target.path (and general.name or general.path).")
        key = {"digest": source_digest(source, self.data), "language": self.config.language}
        compute = partial(
            text_stages.tokenize_source,
            source=source_fields_only(source),
            language=self.config.language,
            data=self.data,
        )
        return Stage("tokens", key, {}, compute, lambda: source_bytes(source, self.data) / BYTES_PER_TOKEN)

    def target_tokens(self) -> Stage:
        """The labelled set's training texts (all its texts, where the test set is held out of them)."""
        return self.tokens(self.config.target)

    def test_tokens(self) -> dict[str, Stage]:
        """The labelled set's test texts, where it has any of its own."""
        source = test_source(self.config.target)
        return {"test": self.tokens(source)} if source else {}

    def unlabelled_tokens(self) -> Stage:
        """Text of the target's kind: the unlabelled corpus, or else the target's own training texts."""
        return self.tokens(self.config.unlabelled) if self.config.unlabelled.given else self.target_tokens()

    def unlabelled_key(self) -> dict[str, Any]:
        """Which part of the unlabelled text is used."""
        if self.config.unlabelled.given:
            return _part(self.config.unlabelled)
        own = {"lm_text": "labelled", "n_labels": self.config.target.n_labels} if self.drawn_text else {}
        return _part(self.config.unlabelled) | {"target": _holding_out(self.config)} | own

    @property
    def drawn_text(self) -> bool:
        """Whether the language model reads only the documents that the run's seed draws for the classifier."""
        return self.config.target.lm_text == "labelled" and not self.config.unlabelled.given

    def general_vocabulary(self) -> Stage:
        """The words of the general corpus."""
        key = self.vocabulary_key() | {"corpus": _part(self.config.general)}
        inputs = {"corpus": self.tokens(self.config.general)}
        return self.stage("vocabulary", key, inputs, text_stages.count_general_words)

    def vocabulary(self) -> Stage:
        """The words of the unlabelled text and of the target's training texts."""
        key = self.vocabulary_key() | {"corpus": _part(self.config.unlabelled), "target": _holding_out(self.config)}
        inputs = {"corpus": self.unlabelled_tokens(), "texts": self.target_tokens()} | self.test_tokens()
        return self.stage("vocabulary", key, inputs, text_stages.count_target_words)

    def vocabulary_key(self) -> dict[str, Any]:
        """What decides which words a vocabulary keeps; not how unseen ones start."""
        return {name: value for name, value in non_defaults(self.config.vocabulary).items() if name != "new_word_init"}

    def word2vec(self) -> Stage:
        """word2vec, trained on all the text that the language model sees."""
        key = {
            "vectors": {k: v for k, v in non_defaults(self.config.word_vectors).items() if k != "path"},
            "size": self.config.lm.emb_size,
            "general": _part(self.config.general),
            "unlabelled": self.unlabelled_key(),
            "seed": self.text_seed(self.config.pretraining),
        }
        inputs = {"general": self.tokens(self.config.general), "corpus": self.unlabelled_tokens()} | self.test_tokens()
        return self.stage(
            "vectors",
            key,
            inputs,
            vector_stages.train_vectors,
            lambda: (
                self.config.word_vectors.epochs
                * (self.corpus_tokens(self.config.general) + self.estimate_unlabelled_tokens())
            ),
        )

    def glove(self) -> Stage:
        """GloVe, from the installed package or the user's file."""
        # no path: the content decides; an empty one was in the key when fingerprints were first made
        key = {"path": "", "digest": vector_stages.vectors_digest(self.config.word_vectors.path)}
        return self.stage("vectors", key, {}, vector_stages.read_vectors)

    def sentence_vectors(self) -> dict[str, Stage]:
        """Vectors of the labelled set's texts, the same for every seed and number of labels."""
        from ulmfit_lab.models.sentence_encoder import encoder_version  # imports torch

        key = {"encoder": encoder_version(), "compute": self.compute_key()}
        return self.of_documents("encoded", "sentence vectors", key, {}, partial(_compute_baseline, "encode_documents"))

    def pretrained(self) -> Stage:
        """The language model of the general corpus, or the imported one."""
        if self.config.imported:
            return imported_stage(find_import(self.config, self.imports))
        fit = self.config.pretraining
        inputs = {"corpus": self.tokens(self.config.general), "vocabulary": self.general_vocabulary()}
        key = self.lm_key(fit, self.lm_seed(fit)) | {"corpus": _part(self.config.general)}
        return self.stage(
            "pretrained",
            key,
            inputs,
            partial(_train, "pretrain"),
            lambda: fit.epochs * self.corpus_tokens(self.config.general) * self.units_per_word,
        )

    def fine_tuned(self) -> Stage:
        """The pretrained language model, trained further on text of the target's kind."""
        fit = self.config.fine_tuning
        inputs = {
            "corpus": self.unlabelled_tokens(),
            "vocabulary": self.vocabulary(),
            "language model": self.pretrained(),
        } | self.test_tokens()
        key = self.lm_key(fit, self.text_seed(fit))
        key |= {"corpus": self.unlabelled_key(), "new_word_init": self.config.vocabulary.new_word_init}
        return self.stage(
            "fine-tuned",
            key,
            inputs,
            partial(_train, "fine_tune"),
            lambda: fit.epochs * self.estimate_unlabelled_tokens() * self.units_per_word,
        )

    def lm_key(self, fit: LanguageModelTrainingConfig, seed: int) -> dict[str, Any]:
        """What determines a language model beside its text."""
        recipe = {k: v for k, v in non_defaults(fit).items() if k != "seed"}
        return {"lm": non_defaults(self.config.lm), "fit": recipe, "compute": self.network_key(), "seed": seed}

    def lm_seed(self, fit: LanguageModelTrainingConfig) -> int:
        """The stage's own seed, or else the run's."""
        return self.seed if fit.seed is None else fit.seed

    def text_seed(self, fit: LanguageModelTrainingConfig) -> int:
        """The same for a stage that reads the target's text, of which the run's seed may draw a part."""
        return self.seed if self.drawn_text else self.lm_seed(fit)

    def compute_key(self) -> dict[str, Any]:
        """Device, threads and precision, with `auto` resolved: what runs elsewhere is another stage."""
        if self.config.compute.precision == "auto":
            raise ConfigError("compute.precision = 'auto' is not resolved here; set it to float32 or bfloat16.")
        return non_defaults(self.config.compute) | {"device": devices.device_type(self.config.compute)}

    def network_key(self) -> dict[str, Any]:
        """The same for a network, with the version of what large ones alone run through."""
        return self.compute_key() | ({"large": WIDE_KERNEL_VERSION} if uses_wide_kernels(self.config) else {})

    def stage(
        self,
        kind: str,
        key: dict[str, Any],
        inputs: Mapping[str, Stage],
        compute: Callable[..., dict[str, Any]],
        estimate: Callable[[], float] = float,
    ) -> Stage:
        """A stage whose computation is given the whole config and the stage's seed; its key names what it may use."""
        seed = key.get("seed", 0)
        return Stage(kind, key, inputs, partial(compute, config=self.config, seed=seed), estimate)

    def corpus_tokens(self, corpus: CorpusConfig) -> float:
        """Training tokens of a corpus, roughly."""
        held = max(self.tokens(corpus).tokens - corpus.valid_tokens - corpus.test_tokens, 0)
        return min(corpus.max_tokens or held, held)

    def estimate_unlabelled_tokens(self) -> float:
        """Training tokens of the unlabelled text, roughly."""
        corpus = self.config.unlabelled
        held = self.unlabelled_tokens().tokens
        return min(corpus.max_tokens or held, held)

    def labelled_tokens(self) -> float:
        """Tokens of the labelled documents that a run trains on, roughly."""
        target = self.config.target
        return (target.n_labels or 5000) * self.document_length()

    def document_length(self, cut: float | None = None) -> float:
        """Tokens of a document after cutting, roughly: of the first documents, whose words a blank ends."""
        words = [len(text.split()) for text in first_texts(source_fields_only(self.config.target), self.data)]
        cut = (self.config.target.max_words or math.inf) if cut is None else cut
        return sum(min(TOKENS_PER_WORD * n, cut) for n in words) / max(len(words), 1)

    def kept_share(self) -> float:
        """Share of the target's tokens that cutting leaves, roughly."""
        return self.document_length() / max(self.document_length(math.inf), 1.0)

    def classifier_tokens(self) -> float:
        """Tokens read by training and by evaluation; a forward pass alone counts for a third."""
        target, fit = self.config.target, self.config.classifier
        evaluated = (fit.epochs * target.n_valid + (target.n_test or 5000)) * self.document_length() / 3
        return (fit.epochs * self.labelled_tokens() + evaluated) * self.units_per_word

    @property
    def units_per_word(self) -> float:
        """What a model reads for each word, roughly."""
        return PIECES_PER_WORD if self.config.vocabulary.units == "subwords" else 1.0


@cache
def first_texts(source: SourceConfig, data: Path | None) -> tuple[str, ...]:
    """The first documents of a source."""
    return tuple(document.text for document in islice(read_documents(source, data), SAMPLE))


def final_stage(config: RunConfig, seed: int, data: Path | None, imported: Path | None = None) -> Stage:
    """The last stage of a run; `stage.ancestry()` lists all it takes.

    data, imported: folders of the named data sets and of the language models that others trained

    Raises ConfigError and DataError where the config cannot be run on the data there is.
    """
    return StageGraph(config, seed, data, imported).final_stage()


def uses_wide_kernels(config: RunConfig) -> bool:
    """Whether a network runs through what small ones do not: wide LSTM layers, or slopes of many words gathered."""
    sizes = layer_sizes(config.lm.emb_size, config.lm.hidden_size, config.lm.n_layers)
    many = config.vocabulary.max_size >= MANY_WORDS
    return config.compute.precision == "bfloat16" and (many or any(is_wide(*size) for size in sizes))


def _call(module: str, name: str, work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Call a function of a module of this room that imports torch or scikit-learn, which a plan does without."""
    compute: Callable[..., dict[str, Any]] = getattr(import_module(f"ulmfit_lab.pipeline.{module}"), name)
    return compute(work, config=config, seed=seed)


_train = partial(_call, "training_stages")
_compute_baseline = partial(_call, "baselines")


def _sampling(config: RunConfig) -> dict[str, Any]:
    """Which of the target's documents train, validate and test, and where they are cut."""
    return _changed(config.target, "n_labels", "n_valid", "n_test", "test_share", "holdout", "max_length")


def _holding_out(config: RunConfig) -> dict[str, Any]:
    """What decides which of the target's documents are left for training."""
    return _changed(config.target, "n_valid", "test_share", "holdout")


def _part(corpus: CorpusConfig) -> dict[str, Any]:
    """Which part of a corpus trains, which validates and which tests."""
    return _changed(corpus, "max_tokens", "valid_tokens", "test_tokens")


def _changed(group: Any, *names: str) -> dict[str, Any]:
    """Those of these fields that do not have their default; raises KeyError for a name that is not a field."""
    unknown = set(names) - flatten(group).keys()
    if unknown:  # a renamed field would else be missing from fingerprints without a word
        raise KeyError(f"{type(group).__name__} has no field {', '.join(sorted(unknown))}")
    return {name: value for name, value in non_defaults(group).items() if name in names}


def source_fields_only(source: SourceConfig) -> SourceConfig:
    """The source without what the reading of it does not depend on."""
    return SourceConfig(**{name: value for name, value in flatten(source).items() if name in flatten(SourceConfig())})
