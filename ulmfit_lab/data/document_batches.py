"""Padded batches of documents for a classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ulmfit_lab.utils.errors import ConfigError, DataError, suggest

MEGABATCH = 50
"""Batches in a chunk that the sortish sampler sorts (as in fastai)."""
SAMPLERS = ("sortish", "shuffled", "sorted")


@dataclass(frozen=True)
class DocumentBatch:
    """Ids (T, B) padded at the end, lengths (B,), labels (B,) and document numbers (B,), all int64.

    Lengths and document numbers stay on the CPU.
    """

    ids: Tensor
    lengths: Tensor
    labels: Tensor
    index: Tensor
    lr_scale: float = 1.0

    @property
    def n_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.lengths.numpy().sum())

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        """Arguments of the classifier."""
        return self.ids, self.lengths

    def to(self, device: torch.device) -> DocumentBatch:
        """The batch on a device."""
        return replace(self, ids=copied(self.ids, device), labels=copied(self.labels, device))


@dataclass(frozen=True)
class FeatureBatch:
    """Features (B, F) of a frozen encoder, labels (B,) and document numbers (B,)."""

    features: Tensor
    labels: Tensor
    index: Tensor
    lr_scale: float = 1.0

    @property
    def n_tokens(self) -> int:
        """Number of documents; no tokens are read."""
        return len(self.labels)

    @property
    def inputs(self) -> tuple[Tensor]:
        """Arguments of the classifier's head."""
        return (self.features,)

    def to(self, device: torch.device) -> FeatureBatch:
        """The batch on a device."""
        return replace(self, features=copied(self.features, device), labels=copied(self.labels, device))


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device, asynchronously from pinned memory to a GPU."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def sort_order(lengths: np.ndarray) -> np.ndarray:
    """Return document numbers by decreasing length; the sort is stable."""
    return np.argsort(-np.asarray(lengths), kind="stable")


def sortish_order(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Return document numbers roughly by decreasing length: shuffled, sorted in megabatches, batches shuffled.

    The batch with the longest document comes first, so that an out-of-memory error occurs in the first step.
    """
    shuffled = rng.permutation(len(lengths))
    megabatch = MEGABATCH * batch_size
    # A rest of less than one batch joins the last megabatch; otherwise that short batch could come first.
    chunks = np.split(shuffled, np.arange(megabatch, len(shuffled) - batch_size + 1, megabatch))
    sorted_chunks = np.concatenate([chunk[sort_order(lengths[chunk])] for chunk in chunks])
    batches = np.split(sorted_chunks, np.arange(batch_size, len(sorted_chunks), batch_size))
    longest = max(range(len(batches)), key=lambda b: lengths[batches[b]].max())
    # Keep the short batch last, so that all others are full.
    rest = [b for b in range(len(batches)) if b != longest and len(batches[b]) == batch_size]
    short = [b for b in range(len(batches)) if b != longest and len(batches[b]) < batch_size]
    order = [longest, *rng.permutation(rest).astype(int), *short]
    return np.concatenate([batches[b] for b in order])


def collate(documents: Sequence[np.ndarray], pad: int) -> tuple[Tensor, Tensor]:
    """Return ids (T, B) int64 padded at the end, and lengths (B,)."""
    lengths = np.array([len(d) for d in documents], dtype=np.int64)
    ids = np.full((int(lengths.max()), len(documents)), pad, dtype=np.int64)
    for column, document in enumerate(documents):
        ids[: len(document), column] = document
    return torch.from_numpy(ids), torch.from_numpy(lengths)


class DocumentBatches:
    """Batches of documents for training and evaluating a classifier.

    documents  non-empty 1-d arrays of ids; labels (n,)
    sampler    sortish, shuffled or sorted (by length, the same order in every epoch)
    backwards  reverse each document; padding still comes last
    epoch_size documents of an epoch (0: all, once): epochs are consecutive parts of repeated passes, each shuffled
    mark       ids added before and after each document, None for none

    A last batch of one document is merged into the batch before it, since batch normalisation needs two. Raises
    DataError for no documents, empty documents, or another number of labels.
    """

    def __init__(
        self,
        documents: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        batch_size: int,
        sampler: str = "sortish",
        seed: int = 0,
        pad: int = 1,
        backwards: bool = False,
        epoch_size: int = 0,
        mark: tuple[int | None, int | None] = (None, None),
    ) -> None:
        check_documents(documents, labels)
        if sampler not in SAMPLERS:
            raise ConfigError(f"classifier.sampler = {sampler!r} is not an option. {suggest(sampler, SAMPLERS)}")
        self.documents = [marked(d[::-1] if backwards else d, *mark) for d in documents]
        self.labels = torch.from_numpy(np.array(labels, dtype=np.int64))
        self.lengths = np.array([len(d) for d in self.documents], dtype=np.int64)
        self.batch_size, self.sampler, self.seed, self.pad = batch_size, sampler, seed, pad
        self.epoch_size = epoch_size

    def order(self, epoch: int) -> np.ndarray:
        """Document numbers in the order of an epoch, which depends on (seed, epoch) only."""
        if not self.epoch_size:
            return self.sampled(self.lengths, epoch)
        drawn = self.drawn(epoch)
        return drawn[self.sampled(self.lengths[drawn], epoch)]

    def sampled(self, lengths: np.ndarray, epoch: int) -> np.ndarray:
        """Numbers of documents of these lengths in the sampler's order of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.sampler == "sorted":
            return sort_order(lengths)
        if self.sampler == "shuffled":
            return rng.permutation(len(lengths))
        return sortish_order(lengths, self.batch_size, rng)

    def drawn(self, epoch: int) -> np.ndarray:
        """Numbers (epoch_size,) of an epoch's documents: its part of the passes, which are shuffled one by one."""
        n, first = len(self.documents), epoch * self.epoch_size
        passes = range(first // n, (first + self.epoch_size - 1) // n + 1)
        shuffled = [np.random.default_rng([self.seed, number, n]).permutation(n) for number in passes]
        return np.concatenate(shuffled)[first - passes.start * n :][: self.epoch_size]

    def count(self, epoch: int) -> int:
        """Number of batches of an epoch."""
        return len(self.splits())

    def splits(self) -> list[int]:
        """Index at which each batch begins."""
        n = self.epoch_size or len(self.documents)
        firsts = list(range(0, n, self.batch_size))
        return firsts[:-1] if len(firsts) > 1 and n - firsts[-1] == 1 else firsts

    def epoch(self, epoch: int, start: int = 0) -> Iterator[DocumentBatch]:
        """Yield the batches of an epoch, beginning with batch number `start`."""
        for numbers in self.numbers(epoch, start):
            ids, lengths = collate([self.documents[n] for n in numbers], self.pad)
            index = torch.from_numpy(numbers)
            yield DocumentBatch(ids, lengths, self.labels[index], index)

    def numbers(self, epoch: int, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the document numbers (B,) of each batch of an epoch, beginning with batch number `start`."""
        order = self.order(epoch)
        for first, end in pairwise([*self.splits(), len(order)][start:]):
            yield order[first:end].astype(np.int64)


class FeatureBatches:
    """Batches of features (n, F) that a frozen encoder computed from `documents`, in their order."""

    def __init__(self, documents: DocumentBatches, features: np.ndarray) -> None:
        if len(features) != len(documents.documents):
            raise DataError(f"{len(features)} rows of features do not match {len(documents.documents)} documents.")
        self.documents, self.features = documents, torch.from_numpy(np.array(features, dtype=np.float32))

    def count(self, epoch: int) -> int:
        """Number of batches of an epoch."""
        return self.documents.count(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[FeatureBatch]:
        """Yield the batches of an epoch, beginning with batch number `start`."""
        for numbers in self.documents.numbers(epoch, start):
            index = torch.from_numpy(numbers)
            yield FeatureBatch(self.features[index], self.documents.labels[index], index)


def marked(document: np.ndarray, beginning: int | None, end: int | None) -> np.ndarray:
    """Add marks around a document."""
    before = [] if beginning is None else [beginning]
    after = [] if end is None else [end]
    return np.concatenate([before, document, after]).astype(document.dtype) if before or after else document


def check_documents(documents: Sequence[np.ndarray], labels: np.ndarray) -> None:
    """Raise DataError for no documents, an empty document, or another number of labels."""
    if len(documents) != len(labels):
        raise DataError(f"{len(documents)} documents have {len(labels)} labels; each needs one.")
    if not len(documents):
        raise DataError("There are no documents to make batches of; check the data set and its splits.")
    empty = [number for number, document in enumerate(documents) if not len(document)]
    if empty:
        raise DataError(f"Document {empty[0]} (counted from 0) has no tokens; remove it.")


def padding_share(batches: Iterable[DocumentBatch]) -> float:
    """Return the share of padding in the ids of these batches."""
    places, tokens = 0, 0
    for batch in batches:
        places += batch.ids.numel()
        tokens += batch.n_tokens
    return 1 - tokens / places
