"""Stages of a run: tokens, vocabulary, word and sentence vectors, language models, classifier.

`final_stage` returns the last stage of a run with all stages that it needs, without computing anything. A stage's key
contains the part of the config that can change its result, without fields at their default (see `non_defaults`).
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
from ulmfit_lab.models.encoder_package import encoder_version
from ulmfit_lab.models.sizes import MANY_WORDS, is_wide, layer_sizes
from ulmfit_lab.pipeline import devices, text_stages, vector_stages
from ulmfit_lab.pipeline.imported_models import find_import, imported_stage
from ulmfit_lab.pipeline.labelled_data import test_source
from ulmfit_lab.pipeline.store import Stage, StageContext
from ulmfit_lab.utils.errors import ConfigError

BYTES_PER_TOKEN = 4.6
"""Bytes of English text per token, with markup and markers; used for predictions only."""
TOKENS_PER_WORD = 1.2
"""Tokens per whitespace-separated word, with markers and punctuation; used for predictions only."""
PIECES_PER_WORD = 1.2
"""Subwords per word (1.15 on WikiText-2 with 10,000 of them); used for predictions only."""
WIDE_KERNEL_VERSION = 1
"""Version of the code that only large networks use; raise it when a change can change a number."""
SHAPE = ("emb_size", "hidden_size", "n_layers", "backwards")
"""Fields of a language model that change its computation in evaluation."""
READING = ("init", "features", "bptt", "backprop_windows", "max_positions")
"""Fields of a classifier that change the encoder's output in evaluation."""
TRANSFORMER = (
    *("epochs", "batch_size", "lr", "schedule", "optimizer", "beta1", "beta2", "weight_decay", "clip"),
    *("layer_lr_decay", "unfreeze", "restart_schedule", "non_monotone", "patience", "checkpoint"),
    *("sampler", "epoch_size", "head_dropout"),
)
"""Fields of a classifier that the fine-tuned transformer reads."""
TRANSFORMER_COST = 13.0
"""Cost of a word in the transformer, as a multiple of that in a small AWD-LSTM (measured: 11 to 15, float32); used
for predictions only."""
HEAD_SHARE = 0.01
"""Cost of training a head on features, as a share of that of a classifier; used for predictions only."""
SAMPLE = 200
"""Documents used to predict the mean length."""


@dataclass(frozen=True)
class StageGraph:
    """Builds the stages of one run."""

    config: RunConfig
    seed: int
    data: Path | None
    imports: Path | None = None

    def final_stage(self) -> Stage:
        """Return the stage whose summary contains the run's final numbers."""
        if self.config.last_stage == "pretrained" and self.config.imported:
            raise ConfigError(
                f"last_stage = 'pretrained' trains a language model, but imported = {self.config.imported!r} replaces "
                "it; set imported to ''."
            )
        ends: Mapping[str, Callable[[], Stage]] = {
            "pretrained": self.pretrained,
            "fine-tuned": self.fine_tuned,
            "classifier": lambda: self.ensemble(members) if (members := self.members()) else self.classifier(),
        }
        return ends[self.config.last_stage]()

    def classifier(self) -> Stage:
        """Return the stage of the classifier, trained and tested."""
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
        """Return the stages of a frozen encoder's features, which do not depend on the head's recipe.

        Those of test texts depend on the seed only if it draws weights of the encoder. With `target.n_labels` only the
        training documents that the seed draws are read, and those held out.
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
        share = self.units_per_word / 3  # a forward pass takes a third of a training step
        compute = partial(_train, "encode_features")
        return self.of_documents("features", "features", key, inputs, compute, share, draws=True)

    def of_documents(
        self,
        kind: str,
        name: str,
        key: dict[str, Any],
        inputs: Mapping[str, Stage],
        compute: Callable[..., dict[str, Any]],
        share: float = 1.0,
        draws: bool = False,
    ) -> dict[str, Stage]:
        """Return stages that compute something per document: `name` for the training and "test `name`" for test texts.

        share: cost per token; draws: of the training texts only the documents that a run with n_labels uses
        """
        target, tokens = self.config.target, self.target_tokens()
        own, n_own = key | {"target": _changed(target, "max_length")}, None
        if draws and target.n_labels:
            own |= {"target": _sampling(self.config), "seed": self.seed}
            n_own = target.n_labels + target.n_valid + target.holdout
        stages = {name: self.stage(kind, own, {"texts": tokens, **inputs}, compute, self.size(tokens, n_own, share))}
        for part, tokens in self.test_tokens().items():
            tested = key | {"target": _changed(target, "max_length", "n_test")}
            size = self.size(tokens, target.n_test, share)
            stages[f"{part} {name}"] = self.stage(kind, tested, {part: tokens, **inputs}, compute, size)
        return stages

    def size(self, tokens: Stage, n_documents: int | None, share: float) -> Callable[[], float]:
        """Estimates the work of reading so many documents (None or 0: all) after cutting: a share of their tokens."""

        return lambda: share * self.read_tokens(tokens, n_documents)

    def read_tokens(self, tokens: Stage, n_documents: int | None) -> float:
        """Estimate the tokens of so many documents (None or 0: all), after cutting."""
        return n_documents * self.document_length() if n_documents else tokens.tokens * self.kept_share()

    def shape_key(self) -> dict[str, Any]:
        """Return the fields of the language model that an encoder uses."""
        return _changed(self.config.lm, *SHAPE)

    def baseline(self) -> Stage:
        """Return the stage of a classifier without a language model."""
        model = self.config.classifier.model
        key: dict[str, Any] = {"model": model, "target": _sampling(self.config), "seed": self.seed}
        inputs = {"texts": self.target_tokens()} | self.test_tokens()
        if model == "transformer":
            return self.transformer(key, inputs)
        key |= {"strengths": "widened"}
        compute = partial(_compute_baseline, "fit_tf_idf")
        if model == "sentence-encoder":
            inputs, compute = inputs | self.sentence_vectors(), partial(_compute_baseline, "fit_sentence_encoder")
        elif model == "word-vectors":
            inputs, compute = inputs | {"vectors": self.word2vec()}, partial(_compute_baseline, "fit_word_vectors")
        return self.stage("classifier", key, inputs, compute, self.labelled_tokens)

    def transformer(self, key: dict[str, Any], inputs: Mapping[str, Stage]) -> Stage:
        """Return the stage of the sentence encoder, fine-tuned whole with a linear head."""
        key |= {
            "encoder": encoder_version(),
            "fit": _changed(self.config.classifier, *TRANSFORMER),
            "compute": self.compute_key(),
        }
        train = partial(_call, "transformer", "fit_transformer")
        return self.stage("classifier", key, inputs, train, lambda: TRANSFORMER_COST * self.classifier_tokens())

    def ensemble(self, members: Mapping[str, RunConfig]) -> Stage:
        """Return the stage that averages the classifiers of these configs."""
        inputs = {"texts": self.target_tokens()} | self.test_tokens()
        inputs |= {name: dataclasses.replace(self, config=one).classifier() for name, one in members.items()}
        key = {"target": _sampling(self.config)}
        return self.stage("ensemble", key, inputs, partial(_train, "average_classifiers"))

    def members(self) -> dict[str, RunConfig]:
        """Return the configs of the two classifiers that a run averages, by their names; empty if it trains one."""
        fit = self.config.classifier
        if fit.both_directions and fit.second_model:
            raise ConfigError(
                "classifier.both_directions and classifier.second_model each make two classifiers; set one."
            )
        if not fit.both_directions and not fit.second_model:
            return {}
        members = self.both_directions() if fit.both_directions else self.two_models()
        one = override(self.config, {"classifier.both_directions": False, "classifier.second_model": 0})
        return {name: override(one, changes) for name, changes in members.items()}

    def both_directions(self) -> dict[str, dict[str, Any]]:
        """Return the changes of the config that make a forward and a backward classifier."""
        model = self.config.classifier.model
        if model != "awd-lstm":
            raise ConfigError(
                f"classifier.both_directions needs classifier.model = 'awd-lstm'; {model!r} has no direction."
            )
        return {"forwards": {"lm.backwards": False}, "backwards": {"lm.backwards": True}}

    def two_models(self) -> dict[str, dict[str, Any]]:
        """Return the changes of the config that make classifiers of two language models.

        Both classifiers have the run's own seed, so that they are trained on the same documents.
        """
        config = self.config
        fit = config.classifier
        trained = not config.imported or (fit.init == "fine-tuned" and not self.drawn_text)
        if fit.model != "awd-lstm" or fit.init not in ("pretrained", "fine-tuned") or not trained:
            raise ConfigError(
                "classifier.second_model needs a second language model, but classifier.model = "
                f"{fit.model!r}, classifier.init = {fit.init!r} and imported = {config.imported!r} leave none that "
                "depends on a seed."
            )
        seeds = {
            "pretraining.seed": self.lm_seed(config.pretraining) + fit.second_model,
            "fine_tuning.seed": self.lm_seed(config.fine_tuning) + fit.second_model,
        }
        return {"first": {}, "second": seeds}

    def initial_model(self) -> dict[str, Stage]:
        """Return the stages from which the classifier's encoder is initialised."""
        start = self.config.classifier.init
        if start in ("word2vec", "glove") and self.config.vocabulary.units == "subwords":
            raise ConfigError(
                f"classifier.init = {start!r} uses vectors of words, but vocabulary.units = 'subwords'; "
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
        """Return the stage of a source's tokens."""
        if not source.given:
            raise ConfigError("No texts: set target.name or target.path (and general.name or general.path).")
        key: dict[str, Any] = {"digest": source_digest(source, self.data), "language": self.config.language}
        key |= {"mark_capitals": True} if self.config.mark_capitals else {}
        compute = partial(
            text_stages.tokenize_source,
            source=source_fields_only(source),
            language=self.config.language,
            mark_capitals=self.config.mark_capitals,
            data=self.data,
        )
        return Stage("tokens", key, {}, compute, lambda: source_bytes(source, self.data) / BYTES_PER_TOKEN)

    def target_tokens(self) -> Stage:
        """Return the stage of the target's training texts (all its texts if the test set is held out of them)."""
        return self.tokens(self.config.target)

    def test_tokens(self) -> dict[str, Stage]:
        """Return the stage of the target's own test texts, if any."""
        source = test_source(self.config.target)
        return {"test": self.tokens(source)} if source else {}

    def unlabelled_tokens(self) -> Stage:
        """Return the stage of the unlabelled corpus, or else of the target's training texts.

        Raises ConfigError if the corpus is the labelled set itself, of which documents are held out.
        """
        if not self.config.unlabelled.given:
            return self.target_tokens()
        found = self.tokens(self.config.unlabelled)
        if self.config.target.given and found.fingerprint in self.labelled_fingerprints():
            raise ConfigError(
                "unlabelled is the target's labelled or test set, so that a language model would read the documents "
                "that are held out; leave it out: by default the target's training texts are used."
            )
        return found

    def labelled_fingerprints(self) -> set[str]:
        """Return the fingerprints of the tokens of the target's training and test texts."""
        return {each.fingerprint for each in (self.target_tokens(), *self.test_tokens().values())}

    def unlabelled_key(self) -> dict[str, Any]:
        """Return the key of the part of the unlabelled text that is used."""
        if self.config.unlabelled.given:
            return _part(self.config.unlabelled)
        own: dict[str, Any] = {"order": "drawn"} if self.config.target.path else {}
        if self.drawn_text:
            own = {"lm_text": "labelled", "n_labels": self.config.target.n_labels}
        return _part(self.config.unlabelled) | {"target": _holding_out(self.config)} | own

    @property
    def drawn_text(self) -> bool:
        """Whether the language model reads only the documents that the run's seed draws for the classifier."""
        return self.config.target.lm_text == "labelled" and not self.config.unlabelled.given

    def general_vocabulary(self) -> Stage:
        """Return the stage of the general corpus's vocabulary."""
        key = self.vocabulary_key() | {"corpus": _part(self.config.general)}
        inputs = {"corpus": self.tokens(self.config.general)}
        return self.stage("vocabulary", key, inputs, text_stages.count_general_words)

    def vocabulary(self) -> Stage:
        """Return the stage of the vocabulary of the unlabelled text and the target's training texts."""
        key = self.vocabulary_key() | {"corpus": _part(self.config.unlabelled), "target": _holding_out(self.config)}
        inputs = {"corpus": self.unlabelled_tokens(), "texts": self.target_tokens()} | self.test_tokens()
        return self.stage("vocabulary", key, inputs, text_stages.count_target_words)

    def vocabulary_key(self) -> dict[str, Any]:
        """Return the fields that determine the words of a vocabulary."""
        return {name: value for name, value in non_defaults(self.config.vocabulary).items() if name != "new_word_init"}

    def word2vec(self) -> Stage:
        """Return the stage of word2vec, trained on all text that the language model sees."""
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
        """Return the stage of GloVe, from the installed package or the user's file."""
        # the digest replaces the path; the empty path keeps old fingerprints
        key = {"path": "", "digest": vector_stages.vectors_digest(self.config.word_vectors.path)}
        return self.stage("vectors", key, {}, vector_stages.read_vectors)

    def sentence_vectors(self) -> dict[str, Stage]:
        """Return the stages of sentence vectors, the same for every seed and number of labels."""
        key = {"encoder": encoder_version(), "compute": self.compute_key()}
        return self.of_documents("encoded", "sentence vectors", key, {}, partial(_compute_baseline, "encode_documents"))

    def pretrained(self) -> Stage:
        """Return the stage of the general corpus's language model, or of the imported one."""
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
        """Return the stage of the language model, fine-tuned on the unlabelled text."""
        fit = self.config.fine_tuning
        inputs = {
            "corpus": self.unlabelled_tokens(),
            "vocabulary": self.vocabulary(),
            "language model": self.pretrained(),
        } | self.test_tokens()
        key = self.lm_key(fit, self.text_seed(fit))
        new_word_init = self.config.vocabulary.new_word_init
        key |= {"corpus": self.unlabelled_key(), "new_word_init": new_word_init}
        if new_word_init != "mean":  # the decoder's biases of new words were once initialised in the same way
            key["new_word_bias"] = "mean"
        return self.stage(
            "fine-tuned",
            key,
            inputs,
            partial(_train, "fine_tune"),
            lambda: fit.epochs * self.estimate_unlabelled_tokens() * self.units_per_word,
        )

    def lm_key(self, fit: LanguageModelTrainingConfig, seed: int) -> dict[str, Any]:
        """Return the key of a language model without its text."""
        recipe = {k: v for k, v in non_defaults(fit).items() if k != "seed"}
        return {"lm": non_defaults(self.config.lm), "fit": recipe, "compute": self.network_key(), "seed": seed}

    def lm_seed(self, fit: LanguageModelTrainingConfig) -> int:
        """Return the stage's seed, or else the run's."""
        return self.seed if fit.seed is None else fit.seed

    def text_seed(self, fit: LanguageModelTrainingConfig) -> int:
        """Return the seed of a stage that reads the target's text, of which the run's seed may draw a part."""
        return self.seed if self.drawn_text else self.lm_seed(fit)

    def compute_key(self) -> dict[str, Any]:
        """Device, threads and precision, with `auto` resolved: what runs elsewhere is another stage."""
        if self.config.compute.precision == "auto":
            raise ConfigError("compute.precision = 'auto' is not resolved here; set it to float32 or bfloat16.")
        return non_defaults(self.config.compute) | {"device": devices.device_type(self.config.compute)}

    def network_key(self) -> dict[str, Any]:
        """Return the compute key of a network, with the version of the code for large ones."""
        return self.compute_key() | ({"large": WIDE_KERNEL_VERSION} if uses_wide_kernels(self.config) else {})

    def stage(
        self,
        kind: str,
        key: dict[str, Any],
        inputs: Mapping[str, Stage],
        compute: Callable[..., dict[str, Any]],
        estimate: Callable[[], float] = float,
    ) -> Stage:
        """Return a stage whose computation gets the whole config and the seed in its key."""
        seed = key.get("seed", 0)
        return Stage(kind, key, inputs, partial(compute, config=self.config, seed=seed), estimate)

    def corpus_tokens(self, corpus: CorpusConfig) -> float:
        """Estimate the training tokens of a corpus."""
        held = max(self.tokens(corpus).tokens - corpus.valid_tokens - corpus.test_tokens, 0)
        return min(corpus.max_tokens or held, held)

    def estimate_unlabelled_tokens(self) -> float:
        """Estimate the training tokens of the unlabelled text."""
        corpus = self.config.unlabelled
        held = self.unlabelled_tokens().tokens
        return min(corpus.max_tokens or held, held)

    def labelled_tokens(self) -> float:
        """Estimate the tokens of the labelled training documents."""
        return self.read_tokens(self.target_tokens(), self.config.target.n_labels)

    def tested_tokens(self) -> float:
        """Estimate the tokens of the test documents."""
        target, own = self.config.target, self.test_tokens().get("test")
        share = 1.0 if own or target.n_test else target.test_share
        return share * self.read_tokens(own or self.target_tokens(), target.n_test)

    def document_length(self, cut: float | None = None) -> float:
        """Estimate the tokens per document after cutting, from the first documents."""
        words = [len(text.split()) for text in first_texts(source_fields_only(self.config.target), self.data)]
        cut = (self.config.target.max_words or math.inf) if cut is None else cut
        return sum(min(TOKENS_PER_WORD * n, cut) for n in words) / max(len(words), 1)

    def kept_share(self) -> float:
        """Estimate the share of the target's tokens that cutting keeps."""
        return self.document_length() / max(self.document_length(math.inf), 1.0)

    def classifier_tokens(self) -> float:
        """Estimate the tokens of training and evaluation; a forward pass counts for a third."""
        target, fit = self.config.target, self.config.classifier
        evaluated = (fit.epochs * target.n_valid * self.document_length() + self.tested_tokens()) / 3
        of_epoch = fit.epoch_size * self.document_length() if fit.epoch_size else self.labelled_tokens()
        return (fit.epochs * of_epoch + evaluated) * self.units_per_word

    @property
    def units_per_word(self) -> float:
        """Tokens of the model per word."""
        return PIECES_PER_WORD if self.config.vocabulary.units == "subwords" else 1.0


@cache
def first_texts(source: SourceConfig, data: Path | None) -> tuple[str, ...]:
    """Return the first documents of a source."""
    return tuple(document.text for document in islice(read_documents(source, data), SAMPLE))


def final_stage(config: RunConfig, seed: int, data: Path | None, imported: Path | None = None) -> Stage:
    """Return the last stage of a run; `stage.ancestry()` lists all stages that it needs.

    data, imported: folders of the named data sets and of imported language models

    Raises ConfigError and DataError if the config cannot be run on the data.
    """
    return StageGraph(config, seed, data, imported).final_stage()


def uses_wide_kernels(config: RunConfig) -> bool:
    """Return whether a network uses code that small ones do not: wide LSTM layers, or gathered weight gradients."""
    sizes = layer_sizes(config.lm.emb_size, config.lm.hidden_size, config.lm.n_layers)
    many = config.vocabulary.max_size >= MANY_WORDS
    return config.compute.precision == "bfloat16" and (many or any(is_wide(*size) for size in sizes))


def _call(module: str, name: str, work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Call a function of a module that imports torch or scikit-learn, which planning does not need."""
    compute: Callable[..., dict[str, Any]] = getattr(import_module(f"ulmfit_lab.pipeline.{module}"), name)
    return compute(work, config=config, seed=seed)


_train = partial(_call, "training_stages")
_compute_baseline = partial(_call, "baselines")


def _sampling(config: RunConfig) -> dict[str, Any]:
    """Return the fields that select and cut the target's documents."""
    return _changed(config.target, "n_labels", "n_valid", "n_test", "test_share", "holdout", "max_length")


def _holding_out(config: RunConfig) -> dict[str, Any]:
    """Return the fields that hold documents of the target out of training."""
    return _changed(config.target, "n_valid", "test_share", "holdout")


def _part(corpus: CorpusConfig) -> dict[str, Any]:
    """Return the fields that split a corpus."""
    return _changed(corpus, "max_tokens", "valid_tokens", "test_tokens")


def _changed(group: Any, *names: str) -> dict[str, Any]:
    """Return those of these fields that are not at their default; raises KeyError for an unknown field."""
    unknown = set(names) - flatten(group).keys()
    if unknown:  # a renamed field would silently be missing from fingerprints
        raise KeyError(f"{type(group).__name__} has no field {', '.join(sorted(unknown))}")
    return {name: value for name, value in non_defaults(group).items() if name in names}


def source_fields_only(source: SourceConfig) -> SourceConfig:
    """Return the source without fields that do not affect its documents."""
    return SourceConfig(**{name: value for name, value in flatten(source).items() if name in flatten(SourceConfig())})
