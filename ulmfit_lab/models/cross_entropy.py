"""Fused linear layer and cross-entropy, computed by blocks of rows, so that all logits are never held at once.

With 10,000 words the logits of one window are 22 million numbers, and processing them takes longer than the LSTM. Here
the forward pass computes the gradients of a block together with its loss; the backward pass only scales them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ulmfit_lab.models.sizes import MANY_WORDS

BLOCK = 256
"""Rows per block on a CPU; at 10,000 and 60,000 words 64 is slower, and 128 to 448 are not faster."""
SHARE = 256
"""A block's logits take 1/256 of a GPU's memory."""
GATHERED = 5
"""From `MANY_WORDS` on, number of blocks whose products are added to the bfloat16 weight gradient at once.

Writing this large gradient once per block would take longer than computing it.
"""


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: str = "float32"
) -> Tensor:
    """Return the mean negative log-likelihood, in nats, of targets under softmax(hidden @ weight.T + bias).

    hidden (N, K), weight (V, K), bias (V,), targets (N,) int64 -> scalar. With precision "bfloat16" the three matrix
    products are computed in bfloat16; softmax, loss and sums keep the type of the weight. Only required gradients are
    computed.
    """
    wanted = tuple(torch.is_grad_enabled() and tensor.requires_grad for tensor in (hidden, weight, bias))
    # the precision is chosen here, not by autocast
    with torch.autocast(hidden.device.type, enabled=False):
        arguments = hidden.to(weight.dtype), weight, bias, targets, precision == "bfloat16", wanted
        loss: Tensor = LinearCrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def linear_metrics(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, precision: str = "float32"
) -> tuple[float, int]:
    """Return the sum of negative log-likelihoods (nats) and the number of correct words; shapes as above."""
    nll = torch.zeros((), dtype=torch.float64, device=hidden.device)
    correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        h, w = matmul_dtype(precision == "bfloat16", hidden.to(weight.dtype), weight)
        for rows, logits in blocks(h, w, bias):
            target = targets[rows, None]
            correct += (logits.argmax(1, keepdim=True) == target).sum()
            nll += softmax_nll_(logits, target).sum()
    return float(nll), int(correct)


class LinearCrossEntropy(torch.autograd.Function):
    """Autograd function of `linear_cross_entropy`."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, low: bool, wanted: tuple[bool, ...]
    ) -> Tensor:
        """Compute loss and gradients block by block; save the gradients."""
        h, w = matmul_dtype(low, hidden, weight)
        total = hidden.new_zeros(())
        d_hidden, d_weight, d_bias = (
            torch.zeros_like(tensor) if wish else None
            for tensor, wish in zip((hidden, weight, bias), wanted, strict=True)
        )
        sum_weight = None if d_weight is None else ProductSum(d_weight, h)
        for rows, logits in blocks(h, w, bias):
            target = targets[rows, None]
            total += softmax_nll_(logits, target).sum()
            if not any(wanted):
                continue
            # softmax minus one-hot is the gradient of the logits; the backward pass multiplies by the mean's 1 / N
            logits.scatter_(1, target, logits.gather(1, target) - 1)
            if d_bias is not None:
                d_bias += logits.sum(0)
            slopes = logits.to(w.dtype) if sum_weight is None else sum_weight.take(rows, logits)
            if d_hidden is not None:
                d_hidden[rows] = slopes @ w
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        ctx.n = len(hidden)
        mean: Tensor = total / ctx.n
        return mean

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the saved gradients."""
        return (*(None if d is None else d * (scale / ctx.n) for d in ctx.saved_tensors), None, None, None)


def matmul_dtype(low: bool, hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of the matrix products, in bfloat16 if `low`."""
    return (hidden.bfloat16(), weight.bfloat16()) if low else (hidden, weight)


def block_rows(words: int, device: torch.device) -> int:
    """Return the number of rows of logits that are held at once."""
    if device.type != "cuda":
        return BLOCK
    fitting = torch.cuda.get_device_properties(device).total_memory // SHARE // (4 * words)
    return max(fitting // BLOCK, 1) * BLOCK


def blocks(hidden: Tensor, weight: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of hidden's rows with their logits (n, V) in the bias's type.

    All logits share one buffer, which the caller may modify and the next block overwrites.
    """
    block = block_rows(len(weight), hidden.device)
    size = min(block, len(hidden)), len(weight)
    buffer, products = bias.new_empty(size), hidden.new_empty(size if hidden.dtype != bias.dtype else 0)
    for start in range(0, len(hidden), block):
        rows = slice(start, min(start + block, len(hidden)))
        logits = buffer[: rows.stop - start]
        if hidden.dtype == bias.dtype:
            torch.addmm(bias, hidden[rows], weight.t(), out=logits)
        else:
            logits.copy_(torch.mm(hidden[rows], weight.t(), out=products[: len(logits)])).add_(bias)
        yield rows, logits


def softmax_nll_(logits: Tensor, target: Tensor) -> Tensor:
    """Return the negative log-likelihoods (n, 1) of target (n, 1); replaces the logits (n, V) by probabilities."""
    top = logits.amax(1, keepdim=True)
    chosen = logits.gather(1, target)
    sums = logits.sub_(top).exp_().sum(1, keepdim=True)
    logits.div_(sums)
    return sums.log() + top - chosen


class ProductSum:
    """Adds slopes.T @ hidden to total (V, K), given the slopes (n, V) of one block after the other.

    If hidden has a lower precision than total, several blocks are gathered in a shared buffer for one product.
    """

    def __init__(self, total: Tensor, hidden: Tensor) -> None:
        self.total, self.hidden, self.start = total, hidden, 0
        if hidden.dtype != total.dtype:
            gathered = GATHERED if len(total) >= MANY_WORDS and hidden.device.type != "cuda" else 1
            rows = min(block_rows(len(total), hidden.device) * gathered, len(hidden))
            self.slopes = hidden.new_empty(rows, len(total))
            self.product = hidden.new_empty(total.shape)

    def take(self, rows: slice, slopes: Tensor) -> Tensor:
        """Add the slopes of these rows, which follow the last ones; return them in hidden's type."""
        if self.hidden.dtype == self.total.dtype:
            self.total.addmm_(slopes.t(), self.hidden[rows])
            return slopes
        kept = self.slopes[rows.start - self.start : rows.stop - self.start].copy_(slopes)
        if rows.stop - self.start == len(self.slopes) or rows.stop == len(self.hidden):
            gathered = self.slopes[: rows.stop - self.start]
            self.total += torch.mm(gathered.t(), self.hidden[self.start : rows.stop], out=self.product)
            self.start = rows.stop
        return kept
