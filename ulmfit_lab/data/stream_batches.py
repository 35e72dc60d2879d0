"""Batches of consecutive windows of a token stream, for a language model that carries its state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ulmfit_lab.utils.errors import DataError

STREAM_SHARE = 16
"""A stream of up to 1/16 of a GPU's memory is kept on the GPU; a longer one is copied window by window."""


@dataclass(frozen=True)
class Window:
    """Steps [start, start + length) of every column, and the factor of the learning rate."""

    start: int
    length: int
    lr_scale: float


@dataclass(frozen=True)
class StreamBatch:
    """Word ids (T, B) and target ids one step later (T, B), both int64."""

    ids: Tensor
    targets: Tensor
    lr_scale: float

    @property
    def n_tokens(self) -> int:
        """Number of predictions."""
        return self.ids.numel()

    def to(self, device: torch.device) -> StreamBatch:
        """The batch on a device."""
        return replace(self, ids=self.ids.to(device), targets=self.targets.to(device))


def batchify(stream: np.ndarray, batch_size: int) -> Tensor:
    """Arrange a stream of n ids in columns (n_steps + 1, B) int64.

    Column b holds ids b * n_steps to (b + 1) * n_steps inclusive, so every id but the first is predicted once; up to
    batch_size - 1 ids at the end are dropped. Raises DataError if the stream is too short for one step.
    """
    n_steps = (len(stream) - 1) // batch_size
    if n_steps < 1:
        raise DataError(f"{len(stream)} tokens are too few for a batch of {batch_size}; lower batch_size.")
    # Copy: torch accepts neither reversed arrays nor read-only memory maps.
    ids = torch.from_numpy(np.array(stream[: n_steps * batch_size + 1], dtype=np.int64))
    return ids.unfold(0, n_steps + 1, n_steps).t().contiguous()


def plan_windows(n_steps: int, bptt: int, *, stochastic: bool, rescale_lr: bool, seed: int, epoch: int) -> list[Window]:
    """Split n_steps steps into windows.

    Stochastic lengths follow Merity et al. (2017, section 5): normal with mean bptt (5% of the time half of it) and
    sd 5, at least 5. The plan depends on (seed, epoch) only, so a run can resume at any window.
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
    """Batches for training and evaluating a language model on one stream of ids."""

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
        """Move the stream to a GPU if it takes at most 1/16 of its memory; returns self."""
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
        """Yield the batches of an epoch, beginning with batch number `start`."""
        for window in self.plan(epoch)[start:]:
            end = window.start + window.length
            ids, targets = self.columns[window.start : end], self.columns[window.start + 1 : end + 1]
            yield StreamBatch(ids, targets, window.lr_scale)
