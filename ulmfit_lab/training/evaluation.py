"""Evaluation of a trained model on batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ulmfit_lab.models.cross_entropy import linear_metrics
from ulmfit_lab.training.metrics import classification_metrics
from ulmfit_lab.training.steps import autocast
from ulmfit_lab.utils.memory import MemoryBound


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode and disable gradients; restore the mode afterwards."""
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
    """Return loss (nats per token), perplexity and accuracy on a stream, carrying the state from batch to batch."""
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
    """A classifier on documents, in their order."""

    logits: Tensor
    """(n, C)"""
    labels: Tensor
    """Class ids (n,)."""

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(n, C)"""
        return np.asarray(self.logits.softmax(1).numpy())

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All metrics (see `metrics.classification_metrics`), computed when they are asked for."""
        loss = {"loss": float(nn.functional.cross_entropy(self.logits, self.labels))}
        return classification_metrics(self.probabilities, self.labels.numpy()) | loss


def evaluate_classifier(
    model: Any, batches: Any, *, device: torch.device, precision: str = "float32"
) -> ClassifierEvaluation:
    """Evaluate a classifier, or its head, on batches of documents or features."""

    def classified(batch: Any) -> list[Tensor]:
        return [model(*batch.inputs).float(), batch.labels]

    return ClassifierEvaluation(*over_documents(model, batches, classified, device=device, precision=precision))


def compute_features(model: Any, batches: Any, *, device: torch.device, precision: str = "float32") -> np.ndarray:
    """Return the inputs of a classifier's head for all documents, (n, F), without dropout."""

    def pooled(batch: Any) -> list[Tensor]:
        return [model.features(*batch.inputs).float()]

    (features,) = over_documents(model, batches, pooled, device=device, precision=precision)
    return features.numpy()


def over_documents(
    model: nn.Module, batches: Any, compute: Callable[[Any], list[Tensor]], *, device: torch.device, precision: str
) -> list[Tensor]:
    """Compute tensors (n, ...) of all batches in evaluation mode; return them on the CPU in the documents' order.

    compute  maps a batch on the device to tensors (B, ...)

    On a CPU each thread computes its own batches, which is faster than sharing the steps of an LSTM.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    memory = MemoryBound()

    def computed(batch: Any) -> list[Tensor]:
        with torch.inference_mode(), autocast(device, precision):  # both are per thread
            found = [part.cpu() for part in (*compute(batch.to(device)), batch.index)]
        memory.hold()
        return found

    with evaluating(model), ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
        each = pool.map if threads > 1 else map
        parts = [torch.cat(of_batches) for of_batches in zip(*each(computed, batches.epoch(0)), strict=True)]
    if threads > 1:
        torch.set_num_threads(threads)  # the pool's threads changed a global setting
    *results, index = parts
    order = index.argsort()
    return [part[order] for part in results]
