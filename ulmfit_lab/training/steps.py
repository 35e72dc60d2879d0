"""One training step's forward pass: model, batch and carried state in, loss and carried state out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelTrainingConfig
from ulmfit_lab.models.awd_lstm import detach
from ulmfit_lab.models.cross_entropy import linear_cross_entropy
from ulmfit_lab.utils.errors import TrainingError

Step = Callable[[Any, Any, Any], tuple[Tensor, Any, Tensor]]
"""(model, batch, carry) -> (loss to minimise, carry for the next batch, loss to report, on the device)."""


def language_model_step(config: LanguageModelTrainingConfig, precision: str) -> Step:
    """Cross-entropy of the next word, with AR and TAR; carries the hidden state, detached."""

    def step(model: Any, batch: Any, carry: Any) -> tuple[Tensor, Any, Tensor]:
        dropped, raw, state = model(batch.ids, carry)
        flat = dropped.reshape(-1, dropped.shape[-1]).float()
        nll = linear_cross_entropy(flat, model.decoder_weight, model.decoder_bias, batch.targets.reshape(-1), precision)
        penalty = activation_penalty(dropped.float(), raw.float(), config.alpha, config.beta)
        return nll + penalty, detach(state), nll.detach()

    return step


def activation_penalty(dropped: Tensor, raw: Tensor, alpha: float, beta: float) -> Tensor:
    """AR and TAR (Merity et al. 2017, section 4.6), of the last layer's output (T, B, E).

    alpha * mean(dropped^2) + beta * mean((raw[t+1] - raw[t])^2); a window of one step has no TAR.
    """
    penalty = alpha * dropped.square().mean()
    if raw.shape[0] > 1:
        penalty = penalty + beta * (raw[1:] - raw[:-1]).square().mean()
    return penalty


def classifier_step(config: ClassifierConfig) -> Step:
    """Cross-entropy of the label, with AR and TAR of the encoder's output; nothing is carried."""
    penalise = bool(config.alpha or config.beta)

    def step(model: Any, batch: Any, carry: Any) -> tuple[Tensor, Any, Tensor]:
        read = model.read(*batch.inputs, penalise=penalise)
        nll = label_loss(model.classify(read.pooled), batch.labels)
        return nll + config.alpha * read.activation + config.beta * read.change, None, nll.detach()

    return step


def head_step(model: Any, batch: Any, carry: Any) -> tuple[Tensor, Any, Tensor]:
    """Cross-entropy of the label for a head alone, whose inputs are features; nothing is carried."""
    nll = label_loss(model(*batch.inputs), batch.labels)
    return nll, None, nll.detach()


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, C) against class numbers (B,).

    Raises TrainingError for a single document, of which batch normalisation can learn nothing.
    """
    if len(labels) < 2:
        raise TrainingError("A batch has one document, but batch normalisation needs two; raise batch_size or labels.")
    return nn.functional.cross_entropy(logits.float(), labels)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a forward pass is made in this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
