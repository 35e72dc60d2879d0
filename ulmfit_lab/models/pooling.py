"""Concat pooling of a document's outputs, with a backward pass written out."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def concat_pool(output: Tensor, lengths: Tensor) -> Tensor:
    """Concat pooling (Howard & Ruder 2018, section 3.3): [last, max over time, mean over time], padding left out.

    output (T, B, E), lengths (B,) of at least 1 -> (B, 3E) in float32, or float64 where the output is. What is
    padded must be finite. Steps that share a maximum share its gradient, as with `torch.amax`.
    """
    return cast(Tensor, ConcatPool.apply(output, lengths))  # type: ignore[no-untyped-call]


class ConcatPool(torch.autograd.Function):
    """The function itself; `concat_pool` is what to call.

    The same bits as the three reductions of masked copies, in half of the time: the copies are products with a
    narrow mask, and the three gradients are added up in place.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, E) and (B,) -> (B, 3E)."""
        kind = torch.promote_types(output.dtype, torch.float32)
        steps = torch.arange(output.shape[0], device=output.device)
        read = (steps[:, None] < lengths[None, :])[..., None].to(output.dtype)  # (T, B, 1): 0 in padding
        last = output[lengths - 1, torch.arange(output.shape[1], device=output.device)]
        kept = output * read
        mean = kept.sum(0, dtype=kind) / lengths[:, None]
        highest = kept.add_(read.log()).amax(0)  # padding at minus infinity
        ctx.save_for_backward(kept, highest, lengths, read)
        return torch.cat([last.to(kind), highest.to(kind), mean], 1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, d_pooled: Tensor) -> tuple[Tensor, None]:
        """Gradient of the output (T, B, E), in its type."""
        kept, highest, lengths, read = ctx.saved_tensors
        d_last, d_highest, d_mean = d_pooled.chunk(3, 1)
        d_output = torch.eq(kept, highest).to(kept.dtype)
        ties = d_output.sum(0, dtype=d_pooled.dtype).to(kept.dtype)
        d_output.mul_(d_highest.to(kept.dtype) / ties)
        d_output.addcmul_(read, (d_mean / lengths[:, None]).to(kept.dtype))
        d_output[lengths - 1, torch.arange(kept.shape[1], device=kept.device)] += d_last.to(kept.dtype)
        return d_output, None
