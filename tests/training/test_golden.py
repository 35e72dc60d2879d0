"""The first 50 losses of real trainings are those on record, so that no change moves numbers in silence.

A change that means to move them records new ones, `RECORD_GOLDEN=1 pytest tests/training/test_golden.py`, and says so
in CHANGELOG.md. Processors of other kinds sum in other orders; what that does to 50 steps is what the bounds allow.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelTrainingConfig
from ulmfit_lab.data.document_batches import DocumentBatches
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.data.tokenizer import tokenize
from ulmfit_lab.data.vocabulary import Vocabulary, build_vocabulary
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.training.loop import fit
from ulmfit_lab.training.steps import Step, classifier_step, language_model_step

FILE = Path(__file__).parent / "fixtures" / "golden_losses.json"
STEPS, CPU = 50, torch.device("cpu")
BOUNDS = {"float32": 1e-4, "bfloat16": 2e-2}
"""Relative, of each loss."""
RATES = Dropouts(input=0.25, output=0.1, weight=0.2, embedding=0.02, hidden=0.15)

Text = tuple[Vocabulary, list[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def text(sentences: list[tuple[str, str]]) -> Text:
    """Vocabulary, documents and labels of 300 real sentences."""
    words = list(tokenize(text for text, _ in sentences))
    vocabulary = build_vocabulary(Counter(chain.from_iterable(words)), max_size=1000, min_freq=2)
    labels = np.array([label == sentences[0][1] for _, label in sentences], dtype=np.int64)
    return vocabulary, [vocabulary.encode(document) for document in words], labels


class EnoughError(Exception):
    """Ends a training after the steps that are compared."""


def losses_of(model: Any, batches: Any, step: Step, recipe: Any, precision: str) -> list[float]:
    """The loss of each of the first steps."""
    seen: list[float] = []

    def watched(model: Any, batch: Any, carry: Any) -> Any:
        result = step(model, batch, carry)
        seen.append(float(result[2]))
        if len(seen) == STEPS:
            raise EnoughError
        return result

    with pytest.raises(EnoughError):
        fit(model, batches, watched, lambda model: {"loss": 0.0}, recipe, seed=0, device=CPU, precision=precision)
    return seen


def language_model(text: Text, precision: str, *, emb: int, hidden: int, n_layers: int) -> list[float]:
    vocabulary, documents, _ = text
    recipe = LanguageModelTrainingConfig(lr=3e-3, epochs=2, batch_size=4, bptt=35, clip=0.4)
    torch.manual_seed(0)
    encoder = AWDLSTM(len(vocabulary), emb_size=emb, hidden_size=hidden, n_layers=n_layers, dropouts=RATES)
    batches = StreamBatches(np.concatenate(documents), batch_size=4, bptt=35, stochastic=True, seed=0)
    return losses_of(LanguageModel(encoder), batches, language_model_step(recipe, precision), recipe, precision)


def classifier(text: Text, precision: str, **options: Any) -> list[float]:
    vocabulary, documents, labels = text
    recipe = ClassifierConfig(lr=3e-3, epochs=3, **{"clip": 0.4, "alpha": 0.0, "beta": 0.0, **options})
    torch.manual_seed(0)
    encoder = AWDLSTM(len(vocabulary), emb_size=20, hidden_size=32, n_layers=2, dropouts=RATES)
    model = Classifier(encoder, 2, head_size=10, output_dropout=0.2, head_dropout=0.1)
    batches = DocumentBatches(documents, labels, batch_size=16, seed=0)
    return losses_of(model, batches, classifier_step(recipe), recipe, precision)


CASES: dict[str, Callable[[Text], list[float]]] = {
    "language model, float32": lambda text: language_model(text, "float32", emb=20, hidden=32, n_layers=2),
    "language model, bfloat16": lambda text: language_model(text, "bfloat16", emb=20, hidden=32, n_layers=2),
    "wide language model, bfloat16": lambda text: language_model(text, "bfloat16", emb=760, hidden=0, n_layers=1),
    "classifier, float32": lambda text: classifier(text, "float32"),
    "classifier, bfloat16": lambda text: classifier(text, "bfloat16"),
    "classifier with AR and TAR, float32": lambda text: classifier(text, "float32", clip=25.0, alpha=2.0, beta=1.0),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.bfloat16) if "bfloat16" in case else case for case in CASES]
)
def test_the_first_losses_are_those_on_record(case: str, text: Text) -> None:
    found = CASES[case](text)
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
    if os.environ.get("RECORD_GOLDEN"):
        recorded[case] = [round(loss, 6) for loss in found]
        FILE.write_text(json.dumps(recorded, indent=0) + "\n")
    assert len(found) == STEPS
    assert found == pytest.approx(recorded[case], rel=BOUNDS[case.rpartition(" ")[2]])
    assert np.mean(found[-10:]) < np.mean(found[:10])
