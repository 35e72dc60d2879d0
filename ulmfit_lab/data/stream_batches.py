"""Windows of a stream for a stateful language model: each batch continues the one before, in every column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ulmfit_lab.utils.errors import DataError

STREAM_SHARE = 16
"""A GPU's memory over that of the longest stream that is kept there; a longer one is copied window by window."""


@dataclass(frozen=True)
class Window:
    """Steps [start, start + length) of every column, and what the step's learning rate is scaled by."""

    start: int
    length: int
    lr_scale: float


@dataclass(frozen=True)
class StreamBatch:
    """Word ids (T, B) and the ids one step later (T, B), both int64."""

    ids: Tensor
    targets: Tensor
    lr_scale: float

    @property
    def n_tokens(self) -> int:
        """Predictions made."""
        return self.ids.numel()

    def to(self, device: torch.device) -> StreamBatch:
        """The batch on a device."""
        return replace(self, ids=self.ids.to(device), targets=self.targets.to(device))


def batchify(stream: np.ndarray, batch_size: int) -> Tensor:
    """Lay a stream of n ids out as columns: (n_steps + 1, B) int64, each column consecutive ids.

    Column b holds ids b * n_steps to (b + 1) * n_steps, its last being the next column's first, so that every id is
    predicted once. At most batch_size - 1 ids at the end of the stream are left out, besides the first, which
    nothing predicts. Raises DataError for a stream too short for one step.
    """
    n_steps = (len(stream) - 1) // batch_size
    if n_steps < 1:
        raise DataError(f"{len(stream)} tokens are too few for a batch of {batch_size}; lower batch_size.")
    # a copy: the stream may be reversed or a read-only memory map, of which torch makes no tensor
    ids = torch.from_numpy(np.array(stream[: n_steps * batch_size + 1], dtype=np.int64))
    return ids.unfold(0, n_steps + 1, n_steps).t().contiguous()


def plan_windows(n_steps: int, bptt: int, *, stochastic: bool, rescale_lr: bool, seed: int, epoch: int) -> list[Window]:
    """Windows that cover n_steps steps, each exactly once.

    Stochastic lengths are those of Merity et al. (2017, section 5): around bptt (5% of the time around half of it),
    normal with sd 5, at least 5. The plan depends on (seed, epoch) alone, so a run resumes at window k by slicing.
    """
    rng = np.random.default_rng([seed, epoch])
    plan: list[Window] = []
    start = 0
    while start < n_steps:
        length = bptt
        if stochastic:
            centre = bptt if rng.random() < 0.95 else bptt / 2
            length = max(5, int(rng.normal(centre, 5)))
        length = min(length, n_steps - start)
        plan.append(Window(start, length, length / bptt if rescale_lr else 1.0))
        start += length
    return plan


class StreamBatches:
    """The batches of a language model's epochs, over one stream of ids."""

    def __init__(
        self,
        stream: np.ndarray,
        *,
        batch_size: int,
        bptt: int,
        stochastic: bool = True,
        rescale_lr: bool = False,
        seed: int = 0,
        backwards: bool = False,
    ) -> None:
        self.columns = batchify(stream[::-1] if backwards else stream, batch_size)
        self.batch_size, self.bptt, self.seed = batch_size, bptt, seed
        self.stochastic, self.rescale_lr = stochastic, rescale_lr

    def to(self, device: torch.device) -> StreamBatches:
        """These batches with the stream on a device where it takes little of the memory, so that no step copies it."""
        if device.type == "cuda":
            memory = torch.cuda.get_device_properties(device).total_memory
            if self.columns.nbytes * STREAM_SHARE <= memory:
                self.columns = self.columns.to(device)
        return self

    def plan(self, epoch: int) -> list[Window]:
        """The windows of an epoch."""
        options = {"stochastic": self.stochastic, "rescale_lr": self.rescale_lr}
        return plan_windows(len(self.columns) - 1, self.bptt, seed=self.seed, epoch=epoch, **options)

    def count(self, epoch: int) -> int:
        """Number of batches of an epoch."""
        return len(self.plan(epoch))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[StreamBatch]:
        """The batches of an epoch in order, from number `start` on."""
        for window in self.plan(epoch)[start:]:
            end = window.start + window.length
            ids, targets = self.columns[window.start : end], self.columns[window.start + 1 : end + 1]
            yield StreamBatch(ids, targets, window.lr_scale)
