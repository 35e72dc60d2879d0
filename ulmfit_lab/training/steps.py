"""Forward passes of training: model, batch and carried state in, loss and carried state out."""

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
    """Return the step of a language model: cross-entropy of the next word with AR and TAR; carries the hidden state."""

    def step(model: Any, batch: Any, carry: Any) -> tuple[Tensor, Any, Tensor]:
        dropped, raw, state = model(batch.ids, carry)
        flat = dropped.reshape(-1, dropped.shape[-1]).float()
        nll = linear_cross_entropy(flat, model.decoder_weight, model.decoder_bias, batch.targets.reshape(-1), precision)
        penalty = activation_penalty(dropped.float(), raw.float(), config.alpha, config.beta)
        return nll + penalty, detach(state), nll.detach()

    return step


def activation_penalty(dropped: Tensor, raw: Tensor, alpha: float, beta: float) -> Tensor:
    """Return AR plus TAR (Merity et al. 2017, section 4.6) of the last layer's output (T, B, E).

    alpha * mean(dropped^2) + beta * mean((raw[t+1] - raw[t])^2); there is no TAR in a window of one step.
    """
    penalty = alpha * dropped.square().mean()
    if raw.shape[0] > 1:
        penalty = penalty + beta * (raw[1:] - raw[:-1]).square().mean()
    return penalty


def classifier_step(config: ClassifierConfig) -> Step:
    """Return the step of a classifier: cross-entropy of the label with AR and TAR of the encoder's output."""
    penalise = bool(config.alpha or config.beta)

    def step(model: Any, batch: Any, carry: Any) -> tuple[Tensor, Any, Tensor]:
        read = model.read(*batch.inputs, penalise=penalise)
        nll = label_loss(model.classify(read.pooled), batch.labels)
        return nll + config.alpha * read.activation + config.beta * read.change, None, nll.detach()

    return step


def head_step(model: Any, batch: Any, carry: Any) -> tuple[Tensor, Any, Tensor]:
    """Compute the cross-entropy of the label from the features of a frozen encoder."""
    nll = label_loss(model(*batch.inputs), batch.labels)
    return nll, None, nll.detach()


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, C) and class ids (B,).

    Raises TrainingError for a batch of one document, which batch normalisation cannot train on.
    """
    if len(labels) < 2:
        raise TrainingError("A batch has one document, but batch normalisation needs two; raise batch_size or labels.")
    return nn.functional.cross_entropy(logits.float(), labels)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context of a precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
