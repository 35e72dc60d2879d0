"""Attribution of a classifier's prediction to the words of a document, by integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ulmfit_lab.models.heads import Classifier
from ulmfit_lab.models.pooling import concat_pool

STEPS, CHUNK = 128, 16
"""Points of the path from the baseline, and number of them computed together."""


@dataclass(frozen=True)
class Attribution:
    """Contribution of each word (T,) to a class's probability, and that probability with and without all words."""

    values: Tensor
    probability: float
    baseline: float

    @property
    def gap(self) -> float:
        """Error of the approximation: difference of the probabilities minus the sum of the values."""
        return self.probability - self.baseline - float(self.values.sum())


def integrated_gradients(model: Classifier, ids: Tensor, label: int, steps: int = STEPS) -> Attribution:
    """Compute integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365, eq. 3) of a class's probability.

    model  in evaluation mode
    ids    (T,) int64, a document as the model reads it
    label  class id

    The path is the straight line from embeddings of zeros to the document's; the integral is a midpoint sum. By
    completeness (their proposition 1) the values add up to the probability minus that of the baseline, up to `gap`,
    which decreases with more steps.
    """
    embedded = model.encoder.embedding(ids)[:, None].detach()  # (T, 1, E)
    places = (torch.arange(steps, device=ids.device) + 0.5) / steps
    total = torch.zeros_like(embedded)
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has gradients in training mode only
        for part in places.split(CHUNK):
            x = (embedded * part[None, :, None]).requires_grad_()
            (gradient,) = torch.autograd.grad(probabilities(model, x)[:, label].sum(), x)
            total += gradient.sum(1, keepdim=True)
        with torch.no_grad():
            ends = probabilities(model, torch.cat([embedded, torch.zeros_like(embedded)], 1))[:, label]
    values = (embedded * total / steps).sum(2)[:, 0]
    return Attribution(values, float(ends[0]), float(ends[1]))


def probabilities(model: Classifier, embedded: Tensor) -> Tensor:
    """Return the probabilities (B, C) of embedded documents (T, B, E) of equal length."""
    lengths = torch.full(embedded.shape[1:2], len(embedded), device=embedded.device)
    layers = [embedded]
    if model.pooling != "embeddings":
        layers += [output for output, _ in model.encoder.run(embedded, None)]
    layers = layers if model.pooling == "mix" else layers[-1:]
    pooled = [concat_pool(layer, lengths, model.windows.positions) for layer in layers]
    return model.classify(torch.cat(pooled, 1)).softmax(1)
