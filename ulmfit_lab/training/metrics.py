"""Metrics of a trained model: nats per token, perplexity, accuracy, error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ulmfit_lab.models.cross_entropy import linear_metrics
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
class Tested:
    """A classifier's metrics, and its probabilities (n, C) in the documents' own order."""

    metrics: dict[str, float]
    predictions: np.ndarray


def evaluate_classifier(model: Any, batches: Any, *, device: torch.device, precision: str = "float32") -> Tested:
    """loss (nats per document), accuracy, error and macro F1 over all documents.

    On a CPU each of torch's threads classifies batches of its own: an LSTM's steps are too small to be shared well.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1

    def classified(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        with torch.inference_mode(), autocast(device, precision):  # which hold for a thread alone
            batch = batch.to(device)
            return model(batch.ids, batch.lengths).float().cpu(), batch.labels.cpu(), batch.index.cpu()

    with evaluating(model), ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
        each = pool.map if threads > 1 else map
        logits, labels, index = zip(*each(classified, batches.epoch(0)), strict=True)
    if threads > 1:
        torch.set_num_threads(threads)  # some of what the pool's threads have set holds for all
    order = torch.cat(index).argsort()
    scores, truth = torch.cat(logits)[order], torch.cat(labels)[order]
    loss = {"loss": float(nn.functional.cross_entropy(scores, truth))}
    predictions = scores.softmax(1).numpy()
    return Tested(label_metrics(predictions, truth.numpy()) | loss, predictions)


def label_metrics(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Loss, accuracy, error and macro F1 of probabilities (n, C) against class numbers (n,)."""
    guesses = scores.argmax(1)
    accuracy = float(np.mean(guesses == truth))
    likelihood = np.maximum(scores[np.arange(len(truth)), truth], np.finfo(scores.dtype).tiny)
    loss = float(-np.log(likelihood, dtype=np.float64).mean())
    return {"loss": loss, "accuracy": accuracy, "error": 1 - accuracy, "macro_f1": macro_f1(truth, guesses)}


def macro_f1(truth: np.ndarray, guesses: np.ndarray) -> float:
    """Mean over the classes that occur of 2 * hits / (guessed + true); class numbers (n,), (n,)."""
    scores = []
    for label in np.union1d(truth, guesses):
        hits = np.sum((truth == label) & (guesses == label))
        scores.append(2 * hits / (np.sum(truth == label) + np.sum(guesses == label)))
    return float(np.mean(scores))
