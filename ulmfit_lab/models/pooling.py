"""Concat pooling with an explicit backward pass."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def concat_pool(output: Tensor, lengths: Tensor, positions: int | None = None) -> Tensor:
    """Concat pooling (Howard & Ruder 2018, section 3.3): [last, max over time, mean over time] without padding.

    output (T, B, E), lengths (B,) of at least 1 -> (B, 3E) in float32, or float64 if the output is. Maximum and mean
    are over each document's last `positions` steps, None for all. Padding must be finite. Equal maxima share the
    gradient, as in `torch.amax`.
    """
    return cast(Tensor, ConcatPool.apply(output, lengths, positions))  # type: ignore[no-untyped-call]


def step_mask(output: Tensor, lengths: Tensor, positions: int | None = None) -> Tensor:
    """Return 1 at the last `positions` steps of each document and 0 elsewhere, (T, B, 1) in the output's type.

    output (T, B, E); lengths (B,), number of steps until each document ends, which may exceed T
    """
    steps = torch.arange(output.shape[0], device=output.device)[:, None]
    read = steps < lengths[None, :]
    if positions is not None and positions < output.shape[0]:
        read = read & (steps >= lengths[None, :] - positions)
    return read[..., None].to(output.dtype)


class ConcatPool(torch.autograd.Function):
    """Autograd function of `concat_pool`.

    Twice as fast as three reductions of masked copies, with bit-identical results: the copies are products with a
    narrow mask, and the gradients are added in place.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, lengths: Tensor, positions: int | None) -> Tensor:
        """Pool (T, B, E) and (B,) -> (B, 3E)."""
        kind = torch.promote_types(output.dtype, torch.float32)
        read = step_mask(output, lengths, positions)
        pooled = lengths if positions is None else lengths.clamp(max=positions)
        last = output[lengths - 1, torch.arange(output.shape[1], device=output.device)]
        kept = output * read
        mean = kept.sum(0, dtype=kind) / pooled[:, None]
        highest = kept.add_(read.log()).amax(0)  # minus infinity at steps that are not pooled
        ctx.save_for_backward(kept, highest, lengths, pooled, read)
        return torch.cat([last.to(kind), highest.to(kind), mean], 1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, d_pooled: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the output (T, B, E) in its type."""
        kept, highest, lengths, pooled, read = ctx.saved_tensors
        d_last, d_highest, d_mean = d_pooled.chunk(3, 1)
        d_output = torch.eq(kept, highest).to(kept.dtype)
        ties = d_output.sum(0, dtype=d_pooled.dtype).to(kept.dtype)
        d_output.mul_(d_highest.to(kept.dtype) / ties)
        d_output.addcmul_(read, (d_mean / pooled[:, None]).to(kept.dtype))
        d_output[lengths - 1, torch.arange(kept.shape[1], device=kept.device)] += d_last.to(kept.dtype)
        return d_output, None, None


class WindowPool:
    """Concat pooling of documents that are read window by window and end in the last window.

    Documents that join later come after those that are being read.
    """

    def __init__(self) -> None:
        self.highest = self.total = self.last = self.count = torch.empty(0)

    def add(self, output: Tensor, left: Tensor, positions: int) -> None:
        """Add a window: output (T, B, E), left (B,) steps from its start until each document ends."""
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        first = left[None, :] - positions <= torch.arange(len(output), device=output.device)[:, None]
        read = (step_mask(output, left) * first[..., None]).bool()
        highest, total, count = output.masked_fill(~read, -torch.inf).amax(0), (output * read).sum(0), read.sum(0)
        before = len(self.highest)
        if before:
            highest = torch.cat([torch.maximum(highest[:before], self.highest), highest[before:]])
            total = torch.cat([total[:before] + self.total, total[before:]])
            count = torch.cat([count[:before] + self.count, count[before:]])
        ends = left.clamp(max=len(output)) - 1
        self.highest, self.total, self.count = highest, total, count
        self.last = output[ends, torch.arange(output.shape[1], device=output.device)]

    def features(self) -> Tensor:
        """Return (B, 3E) as `concat_pool` does."""
        return torch.cat([self.last, self.highest, self.total / self.count], 1)
