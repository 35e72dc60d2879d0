"""The largest batch that fits the device, found by training a few steps at each size; nothing is chosen for anyone.

The batches are the largest that a run can meet: windows of `bptt` steps over a vocabulary of `vocabulary.max_size`,
and documents that all have `target.max_length` words.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch

from ulmfit_lab.batches.windows import StreamBatches
from ulmfit_lab.config import RunConfig
from ulmfit_lab.lab.plan import Plan
from ulmfit_lab.stages.devices import use
from ulmfit_lab.stages.fits import batches_of
from ulmfit_lab.stages.models import new_classifier, new_language_model
from ulmfit_lab.training.steps import autocast, classifier_step, language_model_step

LARGEST = 512
"""Streams or documents side by side that are tried at most."""
SHARE = 0.5
"""Share of a CPU's free memory that a batch may take: the rest is for what a run keeps besides, and for others."""
STATES = 2
"""Numbers that the optimiser keeps for each weight (Adam, and averaged SGD at most as many)."""


@dataclass(frozen=True)
class Tried:
    """A batch size, its speed and the memory that it took; no speed where it did not fit at all."""

    size: int
    tokens_per_second: float | None
    bytes: int
    fits: bool


Trial = Callable[[int], tuple[float, int]]
"""Batch size -> tokens per second, and bytes taken."""


def fitting_batches(plan: Plan) -> Iterator[tuple[str, int, list[Tried]]]:
    """Option, what it is now, and what was tried, for the language model and the classifier of a plan, if it has them.

    The config is that of the first cell that trains one.
    """
    trials: dict[str, tuple[str, Callable[[RunConfig, int], tuple[float, int]]]] = {
        "pretrained": ("pretraining", try_language_model),
        "classifier": ("classifier", try_classifier),
    }
    for kind, (group, attempt) in trials.items():
        trained = (
            each.cell.config
            for each in plan.cells
            if any(stage.kind == kind and "model" not in stage.key for stage in each.stage.ancestry())
        )
        if config := next(trained, None):
            size, room = getattr(config, group).batch_size, room_on(use(config.compute))
            yield group, size, try_sizes(sizes_from(size), lambda n, c=config, f=attempt: f(c, n), room)  # type: ignore[misc]


def sizes_from(size: int) -> list[int]:
    """A size, and the powers of two above it.

    >>> sizes_from(100)
    [100, 128, 256, 512]
    """
    powers = [2**n for n in range(LARGEST.bit_length())]
    return [size, *(power for power in powers if power > size)]


def try_sizes(sizes: Iterable[int], attempt: Trial, room: float) -> list[Tried]:
    """Try rising sizes until one does not fit in so many bytes, or a larger one cannot, by what the last one took.

    A size that the device refuses (torch.OutOfMemoryError) does not fit; sizes are tried no further.
    """
    found: list[Tried] = []
    for size in sizes:
        if found and found[-1].bytes * size / found[-1].size > room:
            found.append(Tried(size, None, found[-1].bytes * size // found[-1].size, False))
            break
        try:
            speed, taken = attempt(size)
        except torch.OutOfMemoryError:
            found.append(Tried(size, None, 0, False))
            break
        found.append(Tried(size, speed, taken, taken <= room))
        if taken > room:
            break
    return found


def largest(tried: Iterable[Tried]) -> Tried | None:
    """The largest size that fits, if any does."""
    return max((each for each in tried if each.fits), key=lambda each: each.size, default=None)


def room_on(device: torch.device) -> float:
    """Bytes that a batch may take: a share of a CPU's free memory, all that is free on a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what an earlier trial held
        return float(torch.cuda.mem_get_info(device)[0])
    return float(SHARE * psutil.virtual_memory().available)


def try_language_model(config: RunConfig, size: int) -> tuple[float, int]:
    """Train two windows of the config's language model with so many streams."""
    recipe, words = config.pretraining, config.vocabulary.max_size
    device = use(config.compute)
    ids = np.random.default_rng(0).integers(0, words, size * (2 * recipe.bptt + 1))
    batches = StreamBatches(ids, batch_size=size, bptt=recipe.bptt, stochastic=False, seed=0)
    step = language_model_step(recipe, config.compute.precision)
    return try_steps(lambda: new_language_model(config, words), batches, step, device, config.compute.precision)


def try_classifier(config: RunConfig, size: int) -> tuple[float, int]:
    """Train two batches of so many documents of the greatest length with the config's classifier, of two classes."""
    words, length = config.vocabulary.max_size, config.target.max_length
    device = use(config.compute)
    size = max(size, 2)  # batch normalisation needs two
    documents = [*np.random.default_rng(0).integers(0, words, (2 * size, length), dtype=np.int32)]
    batches = batches_of(documents, np.arange(2 * size) % 2, config, "sorted", size)
    step = classifier_step(config.compute.precision)
    return try_steps(lambda: new_classifier(config, words, 2), batches, step, device, config.compute.precision)


def try_steps(
    make: Callable[[], torch.nn.Module], batches: Any, step: Any, device: torch.device, precision: str
) -> tuple[float, int]:
    """Tokens per second of the last batch, and bytes that model, gradients, optimiser and batches took.

    On a CPU these are how far the process has grown beyond what it was: its peak, which never falls, so that sizes must
    be tried in rising order. On CUDA they are torch's own peak. The tests have no GPU: that branch is not tested.
    """
    with torch.random.fork_rng():
        gc.collect()
        before = start_memory(device)
        model, carry, seconds, tokens = make().to(device), None, 0.0, 0
        for batch in batches.epoch(0):
            began, tokens = time.perf_counter(), batch.n_tokens
            with autocast(device, precision):
                loss, carry, _ = step(model, batch.to(device), carry)
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - began
        states = STATES * sum(weight.numel() * weight.element_size() for weight in model.parameters())
        return tokens / seconds, max(peak_memory(device) - before, 0) + states


def start_memory(device: torch.device) -> int:
    """Bytes in use before a trial; on CUDA the peak is counted anew."""
    if device.type != "cuda":
        return int(psutil.Process().memory_info().rss)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def peak_memory(device: torch.device) -> int:
    """Bytes in use at most: by torch since `start_memory` on CUDA, by the whole process ever on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
