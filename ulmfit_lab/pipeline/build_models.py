"""Construction of a run's models, new or from stored stages."""

from __future__ import annotations

from typing import Any

import torch

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.rules import PAD_ID
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.checkpoint import Stamp, load_checkpoint, save_checkpoint
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.models.transfer import embedding_from_vectors, move_language_model
from ulmfit_lab.models.windowed_encoding import Windows
from ulmfit_lab.models.word_vectors import WordVectors
from ulmfit_lab.pipeline.store import StageContext, StageResult


def save_model(
    work: StageContext, config: RunConfig, model: torch.nn.Module, kind: str, vocabulary: Vocabulary
) -> None:
    """Write a model with its stamp and vocabulary to the stage's folder."""
    save_checkpoint(work.folder / "model.safetensors", model, stamp(kind, vocabulary, config))
    vocabulary.save(work.folder / "vocabulary.json")


def new_language_model(config: RunConfig, n_words: int) -> LanguageModel:
    """Return a language model with random weights from torch's global generator."""
    encoder = new_encoder(config, n_words, Dropouts.scaled(config.lm))
    return LanguageModel(encoder, tie_weights=config.lm.tie_weights)


def new_encoder(config: RunConfig, n_words: int, dropouts: Dropouts) -> AWDLSTM:
    """Return an AWD-LSTM with random weights from torch's global generator."""
    lm = config.lm
    return AWDLSTM(
        n_words,
        emb_size=lm.emb_size,
        hidden_size=lm.hidden_size,
        n_layers=lm.n_layers,
        dropouts=dropouts,
        pad=PAD_ID,
    )


def restore_language_model(vocabulary: Vocabulary, stored: StageResult, config: RunConfig) -> LanguageModel:
    """Load a language model and move it to another vocabulary; new words are initialised as configured."""
    old = Vocabulary.load(stored.folder / "vocabulary.json")
    model = new_language_model(config, len(old.words))
    load_checkpoint(stored.folder / "model.safetensors", model, stamp("language-model", old, config))
    if old.words == vocabulary.words:
        return model
    generator = torch.Generator().manual_seed(torch.initial_seed())
    return move_language_model(model, old.words, vocabulary.words, config.vocabulary.new_word_init, generator)


def new_classifier(config: RunConfig, n_words: int, n_classes: int) -> Classifier:
    """Return a classifier with random weights from torch's global generator; the encoder's are drawn first."""
    recipe = config.classifier
    return Classifier(
        new_encoder(config, n_words, Dropouts.scaled(recipe)),
        n_classes,
        head_size=recipe.head_size,
        output_dropout=recipe.output_dropout * recipe.drop_mult,
        head_dropout=recipe.head_dropout,
        features=recipe.features,
        windows=encoding_windows(config),
    )


def encoding_windows(config: RunConfig) -> Windows:
    """Return the windows in which documents are read."""
    recipe = config.classifier
    return Windows(recipe.bptt, recipe.backprop_windows, recipe.max_positions, recipe.mask_per_window)


def build_classifier(vocabulary: Vocabulary, inputs: Any, config: RunConfig, n_classes: int) -> Classifier:
    """Return a classifier whose encoder is initialised as configured.

    For a given seed the head's initial weights do not depend on `classifier.init`, since all encoders draw equally many
    random numbers first.
    """
    model = new_classifier(config, len(vocabulary.words), n_classes)
    encoder = model.encoder
    if "language model" in inputs:
        source = restore_language_model(vocabulary, inputs["language model"], config)
        encoder.load_state_dict(source.encoder.state_dict())
    if "vectors" in inputs:
        vectors = WordVectors.load(inputs["vectors"].folder)
        generator = torch.Generator().manual_seed(torch.initial_seed())
        rows = encoder.embedding.weight
        unseen = config.vocabulary.new_word_init
        with torch.no_grad():
            rows.copy_(embedding_from_vectors(vectors, vocabulary.words, rows.detach().clone(), unseen, generator))
    return model


def stamp(kind: str, vocabulary: Vocabulary, config: RunConfig) -> Stamp:
    """Return the stamp of a checkpoint."""
    return Stamp(kind=kind, vocabulary=vocabulary.digest, direction=config.lm.direction)
