"""Trained models put to use."""

from __future__ import annotations

from dataclasses import dataclass

from ulmfit_lab.config import RunConfig
from ulmfit_lab.lab.computations import new_language_model, stamp
from ulmfit_lab.lab.finding import language_model_of
from ulmfit_lab.lab.home import Home
from ulmfit_lab.lab.reproduce import config_of
from ulmfit_lab.lab.tracked import TrackedRun
from ulmfit_lab.models.checkpoint import load_checkpoint
from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainedLanguageModel:
    """A run's language model, its words, and the run's config."""

    model: LanguageModel
    vocabulary: Vocabulary
    config: RunConfig


def load_language_model(run: TrackedRun, home: Home) -> TrainedLanguageModel:
    """The last language model of a run, in evaluation mode; raises LabError where it is not there any more."""
    stored, config = language_model_of(run, home), config_of(run)
    vocabulary = Vocabulary.load(stored.folder / "vocabulary.json")
    model = new_language_model(config, len(vocabulary))
    load_checkpoint(stored.folder / "model.safetensors", model, stamp("language-model", vocabulary, config))
    return TrainedLanguageModel(model.eval(), vocabulary, config)
