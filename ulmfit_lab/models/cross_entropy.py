"""Linear layer and cross-entropy in one, a block of rows at a time, so that all logits are never held at once.

At a vocabulary of 10,000 words the logits of one window are 22 million numbers; written, read, normalised and
differentiated whole they take longer than the LSTM. Here one block stays in the cache while its loss and its
gradients are computed; gradients are made in the forward pass and only scaled in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 256
"""Rows a block; from 128 to 256 were equally fast at 10,000 words, fewer or more slower."""


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: str = "float32"
) -> Tensor:
    """Mean negative log-likelihood, in nats, of targets under softmax(hidden @ weight.T + bias).

    hidden (N, K), weight (V, K), bias (V,), targets (N,) int64 -> scalar. With precision "bfloat16" the three matrix
    products are made in bfloat16; softmax, loss and sums stay in hidden's own type.
    """
    # autocast would cast the products and the buffers behind our back; the precision is chosen here
    with torch.autocast(hidden.device.type, enabled=False):
        loss: Tensor = LinearCrossEntropy.apply(hidden, weight, bias, targets, precision == "bfloat16")  # type: ignore[no-untyped-call]
    return loss


class LinearCrossEntropy(torch.autograd.Function):
    """The fused function; `linear_cross_entropy` is what to call."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, low: bool) -> Tensor:
        """Loss and gradients, block by block; the gradients wait for the backward pass."""
        wanted = ctx.needs_input_grad
        n = hidden.shape[0]
        h, w = (hidden.bfloat16(), weight.bfloat16()) if low else (hidden, weight)
        total = hidden.new_zeros(())
        d_hidden = torch.empty_like(hidden) if wanted[0] else None
        d_weight = torch.zeros_like(weight) if wanted[1] else None
        d_bias = torch.zeros_like(bias) if wanted[2] else None
        for start in range(0, n, BLOCK):
            rows, target = h[start : start + BLOCK], targets[start : start + BLOCK, None]
            probabilities, nll = softmax_nll(rows, w, bias, target)
            total += nll.sum()
            if not any(wanted[:3]):
                continue
            probabilities.mul_(1 / n).scatter_add_(1, target, probabilities.new_full(target.shape, -1 / n))
            slopes = probabilities.to(w.dtype)
            if d_bias is not None:
                d_bias += probabilities.sum(0)
            if d_hidden is not None:
                d_hidden[start : start + BLOCK] = slopes @ w
            if d_weight is not None:
                d_weight += slopes.t() @ rows
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        return total / n

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients that the forward pass made, scaled."""
        (scale,) = grad_outputs
        return (*(None if d is None else d * scale for d in ctx.saved_tensors), None, None)


def softmax_nll(rows: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (n, V) and negative log-likelihoods (n, 1) of one block, in the bias's type."""
    logits = torch.mm(rows, weight.t()).to(bias.dtype).add_(bias)
    top = logits.amax(1, keepdim=True)
    chosen = logits.gather(1, target)
    exponentials = logits.sub_(top).exp_()
    sums = exponentials.sum(1, keepdim=True)
    return exponentials.div_(sums), sums.log() + top - chosen


@torch.no_grad()
def linear_metrics(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: str = "float32"
) -> tuple[float, int]:
    """Sum of negative log-likelihoods (nats) and number of words guessed right; shapes as above."""
    low = precision == "bfloat16"
    nll, correct = 0.0, 0
    with torch.autocast(hidden.device.type, enabled=False):
        h, w = (hidden.bfloat16(), weight.bfloat16()) if low else (hidden.to(weight.dtype), weight)
        for start in range(0, hidden.shape[0], BLOCK):
            target = targets[start : start + BLOCK]
            logits = torch.mm(h[start : start + BLOCK], w.t()).to(bias.dtype).add_(bias)
            correct += int((logits.argmax(1) == target).sum())
            nll += float(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
    return nll, correct
