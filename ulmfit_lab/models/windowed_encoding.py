"""Encoding of documents for a classifier, in one graph or window by window.

Long documents use ULMFiT's BPT3C (Howard & Ruder 2018, section 3.3): the state is carried through the whole document,
gradients flow through its last windows, and its last positions are pooled. This bounds memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad as zero_pad

from ulmfit_lab.models.awd_lstm import map_tensors
from ulmfit_lab.models.pooling import WindowPool, concat_pool, step_mask

ReadWindow: TypeAlias = Callable[[Tensor, Any], tuple[list[Tensor], Any]]
"""(ids (T, B), state or None for zeros) -> (outputs (T, B, width) of the layers to pool, state after step T).

The tensors of a state have the batch as their first dimension.
"""


@dataclass(frozen=True)
class Windows:
    """Number of words per window, of windows with gradients, and of positions that are pooled.

    masked_anew: whether dropout masks are drawn anew for each window, not once for a batch that is read in one graph
    """

    size: int = 70
    backprop: int = 20
    positions: int = 1400
    masked_anew: bool = False

    @property
    def graph(self) -> int:
        """Maximum length of a document that is read in one graph."""
        return self.size * self.backprop


@dataclass(frozen=True)
class Reading:
    """Pooled features (B, F) of documents, and the means for AR and TAR.

    activation  mean of h[t]^2 of the last output over the steps with gradients, without padding
    change      mean of (h[t+1] - h[t])^2 over the same steps
    """

    pooled: Tensor
    activation: Tensor
    change: Tensor


class PenaltySums:
    """Sums of h[t]^2 and (h[t+1] - h[t])^2 over windows, without padding, and their counts."""

    def __init__(self) -> None:
        self.squares: list[tuple[Tensor, Tensor]] = []
        self.changes: list[tuple[Tensor, Tensor]] = []
        self.last: Tensor | None = None

    def add(self, output: Tensor, left: Tensor) -> None:
        """Add a window, unless it has no gradients: output (T, B, E), left (B,) steps until each document ends.

        The previous window's documents are the first of these, and none of them ended there.
        """
        if not output.requires_grad:
            return
        output, size = output.float(), output.shape[2]
        read = step_mask(output, left)
        self.squares.append(((output.square() * read).sum(), read.sum() * size))
        self.changes.append((((output[1:] - output[:-1]).square() * read[1:]).sum(), read[1:].sum() * size))
        if self.last is not None:
            step = (output[0, : len(self.last)] - self.last).square()
            self.changes.append((step.sum(), torch.full_like(step.sum(), step.numel())))
        self.last = output[-1]

    def means(self) -> list[Tensor]:
        """Return the means of h[t]^2 and (h[t+1] - h[t])^2, 0 without steps."""
        return [_mean(parts) for parts in (self.squares, self.changes)]


def _mean(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean over parts, each a sum and a count."""
    if not parts:
        return torch.zeros(())
    sums, counts = (torch.stack(each).sum() for each in zip(*parts, strict=True))
    return sums / counts.clamp(min=1)


def read_documents(
    read: ReadWindow, ids: Tensor, lengths: Tensor, windows: Windows, *, penalise: bool = False
) -> Reading:
    """Read a batch of documents: ids (T, B) padded at the end, lengths (B,) of at least 1.

    With and without windows the results agree up to rounding and dropout masks, which every call of `read` draws anew.
    The means for AR and TAR are computed with penalise only.
    """
    whole = windows.size if windows.masked_anew and torch.is_grad_enabled() else windows.graph
    if len(ids) > whole:
        return _read_in_windows(read, ids, lengths.tolist(), windows, penalise)
    outputs, _ = read(ids, None)
    lengths = lengths.to(ids.device, non_blocking=True)
    sums = PenaltySums()
    if penalise:
        sums.add(outputs[-1], lengths)
    pooled = torch.cat([concat_pool(output, lengths, windows.positions) for output in outputs], 1)
    return Reading(pooled, *sums.means())


def _read_in_windows(
    read: ReadWindow, ids: Tensor, lengths: Sequence[int], windows: Windows, penalise: bool
) -> Reading:
    """Read documents aligned at their ends, sorted by decreasing number of windows; shorter ones join later."""
    size, n = windows.size, len(lengths)
    counts = [math.ceil(length / size) for length in lengths]
    order = sorted(range(n), key=lambda b: -counts[b])
    most, tail = counts[order[0]], max(length - (c - 1) * size for length, c in zip(lengths, counts, strict=True))
    columns, left, late = (  # per document: column, words not read yet, windows before it joins
        torch.tensor(values).to(ids.device, non_blocking=True)
        for values in (order, [lengths[b] for b in order], [most - counts[b] for b in order])
    )
    by_window = zero_pad(ids, (0, 0, 0, most * size - len(ids))).reshape(most, size, n)
    pools: list[WindowPool] = []
    state, sums = None, PenaltySums()
    for k in range(most):
        now = sum(count >= most - k for count in counts)
        window = by_window[k - late[:now], :, columns[:now]].t()[: tail if k == most - 1 else size]
        state = _widen(state, now)
        with torch.no_grad() if k < most - windows.backprop else nullcontext():
            outputs, state = read(window, state)
        pools = pools or [WindowPool() for _ in outputs]
        for pool, output in zip(pools, outputs, strict=True):
            pool.add(output, left[:now], windows.positions)
        if penalise:
            sums.add(outputs[-1], left[:now])
        left = torch.cat([left[:now] - size, left[now:]])
    pooled = torch.cat([pool.features() for pool in pools], 1)
    return Reading(pooled[columns.argsort()], *sums.means())


def _widen(state: Any, n: int) -> Any:
    """Append zeros to a state for the documents that join, up to n documents."""
    return map_tensors(lambda part: zero_pad(part, (0, 0, 0, n - len(part))), state)
