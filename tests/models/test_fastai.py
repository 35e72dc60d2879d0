"""The same weights give fastai's numbers: logits, penalties, loss and gradients, with dropout and without.

fixtures/record_fastai.py recorded them; fastai itself is not needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.cross_entropy import linear_cross_entropy
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.training.steps import activation_penalty


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    text = (Path(__file__).parent / "fixtures" / "fastai_awd_lstm.json").read_text()
    recorded: dict[str, Any] = json.loads(text)
    return recorded


def language_model(record: dict[str, Any]) -> LanguageModel:
    model = LanguageModel(AWDLSTM(**record["sizes"], dropouts=Dropouts(**record["rates"])))
    model.load_state_dict({name: torch.tensor(values) for name, values in record["weights"].items()})
    return model


def read_windows(model: LanguageModel, record: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and penalties of the two windows, and the loss of both."""
    state, logits, penalties, loss = None, [], [], torch.zeros(())
    for ids, targets in zip(torch.tensor(record["ids"]), torch.tensor(record["targets"]), strict=True):
        dropped, raw, state = model(ids, state)
        state = [(h.detach(), c.detach()) for h, c in state]
        nll = linear_cross_entropy(dropped.flatten(0, 1), model.decoder_weight, model.decoder_bias, targets.flatten())
        penalties.append(activation_penalty(dropped, raw, record["alpha"], record["beta"]))
        logits.append(model.logits(dropped))
        loss = loss + nll + penalties[-1]
    return torch.stack(logits), torch.stack(penalties), loss


def close(found: Tensor, recorded: Any) -> None:
    torch.testing.assert_close(found, torch.tensor(recorded), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_a_training_step_is_fastais(record: dict[str, Any], mode: str) -> None:
    model = language_model(record).train(mode == "training")
    torch.manual_seed(record["seed"])
    probe = torch.tensor(record["bernoulli_probe"])
    if not torch.equal(torch.empty_like(probe).bernoulli_(0.6), probe):
        pytest.skip("this torch draws other masks for the same seed than the one that recorded fastai")
    torch.manual_seed(record["seed"])
    logits, penalties, loss = read_windows(model, record)
    loss.backward()
    recorded = record[mode]
    close(logits, recorded["logits"])
    close(penalties, recorded["penalties"])
    close(loss, recorded["loss"])
    gradients = dict(model.named_parameters())
    assert gradients.keys() == recorded["gradients"].keys()
    for name, values in recorded["gradients"].items():
        close(gradients[name].grad, values)


def test_training_differs_from_evaluation(record: dict[str, Any]) -> None:
    # or else the comparison in training mode would show nothing about dropout
    difference = torch.tensor(record["training"]["logits"]) - torch.tensor(record["evaluation"]["logits"])
    assert float(difference.abs().min(dim=-1).values.max()) > 1e-3


def test_pooled_features_are_fastais(record: dict[str, Any]) -> None:
    recorded = record["classifier"]
    encoder = language_model(record).encoder
    model = Classifier(encoder, 2, head_size=5, output_dropout=0.1, head_dropout=0.1).eval()
    close(model.features(torch.tensor(recorded["ids"]), torch.tensor(recorded["lengths"])), recorded["features"])
