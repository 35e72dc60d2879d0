"""A trained model's metrics over batches; what they are is in `metrics`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ulmfit_lab.models.cross_entropy import linear_metrics
from ulmfit_lab.training.metrics import classification_metrics
from ulmfit_lab.training.steps import autocast


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients; training mode is put back as it was."""
    was = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was)


def evaluate_language_model(
    model: Any, batches: Any, *, device: torch.device, precision: str = "float32"
) -> dict[str, float]:
    """loss (nats per token), perplexity and accuracy over a stream read in order, its state carried along."""
    nll, correct, tokens, state = 0.0, 0, 0, None
    with evaluating(model), autocast(device, precision):
        for batch in batches.epoch(0):
            batch = batch.to(device)
            output, _, state = model(batch.ids, state)
            flat = output.reshape(-1, output.shape[-1])
            targets = batch.targets.reshape(-1)
            more, right = linear_metrics(flat, model.decoder_weight, model.decoder_bias, targets, precision)
            nll, correct, tokens = nll + more, correct + right, tokens + batch.n_tokens
    loss = nll / tokens
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "accuracy": correct / tokens}


@dataclass(frozen=True)
class ClassifierEvaluation:
    """A classifier's metrics, and its probabilities (n, C) in the documents' own order."""

    metrics: dict[str, float]
    probabilities: np.ndarray


def evaluate_classifier(
    model: Any, batches: Any, *, device: torch.device, precision: str = "float32"
) -> ClassifierEvaluation:
    """Every metric (see `metrics.classification_metrics`) over all documents; model is a classifier or its head."""

    def classified(batch: Any) -> list[Tensor]:
        return [model(*batch.inputs).float(), batch.labels]

    logits, truth = over_documents(model, batches, classified, device=device, precision=precision)
    loss = {"loss": float(nn.functional.cross_entropy(logits, truth))}
    predictions = logits.softmax(1).numpy()
    return ClassifierEvaluation(classification_metrics(predictions, truth.numpy()) | loss, predictions)


def compute_features(model: Any, batches: Any, *, device: torch.device, precision: str = "float32") -> np.ndarray:
    """What a classifier's head is given for every document, (n, F), computed without dropout."""

    def pooled(batch: Any) -> list[Tensor]:
        return [model.features(*batch.inputs).float()]

    (features,) = over_documents(model, batches, pooled, device=device, precision=precision)
    return features.numpy()


def over_documents(
    model: nn.Module,
    batches: Any,
    compute: Callable[[Any], list[Tensor]],
    *,
    device: torch.device,
    precision: str,
) -> list[Tensor]:
    """Tensors (n, ...) that are computed of batches in evaluation mode, in the documents' own order, on the CPU.

    compute  a batch on the device -> tensors (B, ...)

    On a CPU each of torch's threads reads batches of its own: an LSTM's steps are too small to be shared well.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1

    def computed(batch: Any) -> list[Tensor]:
        with torch.inference_mode(), autocast(device, precision):  # which hold for a thread alone
            return [part.cpu() for part in (*compute(batch.to(device)), batch.index)]

    with evaluating(model), ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
        each = pool.map if threads > 1 else map
        parts = [torch.cat(of_batches) for of_batches in zip(*each(computed, batches.epoch(0)), strict=True)]
    if threads > 1:
        torch.set_num_threads(threads)  # some of what the pool's threads have set holds for all
    *results, index = parts
    order = index.argsort()
    return [part[order] for part in results]
