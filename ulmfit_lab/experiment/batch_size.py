"""The largest batch that fits the device, found by training a few steps at each size; nothing is chosen for anyone.

The batches are the largest that a run can meet: windows of `bptt` steps over a vocabulary of `vocabulary.max_size`,
and documents that all have `target.max_length` words or, where they are read whole, as many as one graph holds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import psutil
import torch

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.experiment.plan import Plan
from ulmfit_lab.pipeline.build_models import encoding_windows, new_classifier, new_language_model
from ulmfit_lab.pipeline.devices import configure_torch
from ulmfit_lab.pipeline.training_stages import make_document_batches
from ulmfit_lab.training.steps import autocast, classifier_step, language_model_step

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch's profiler, when first used, speaks of itself

LARGEST = 512
"""Streams or documents side by side that are tried at most."""
SHARE = 0.5
"""Share of a CPU's free memory that a batch may take: the rest is for what a run keeps besides, and for others."""
STATES = 2
"""Numbers that the optimiser keeps for each weight (Adam, and averaged SGD at most as many)."""


@dataclass(frozen=True)
class BatchSizeTrial:
    """A batch size, its speed and the memory that it took; no speed where it did not fit at all."""

    size: int
    tokens_per_second: float | None
    bytes: int
    fits: bool


Trial = Callable[[int], tuple[float, int]]
"""Batch size -> tokens per second, and bytes taken."""


def find_fitting_batch_sizes(plan: Plan) -> Iterator[tuple[str, int, list[BatchSizeTrial]]]:
    """Option, what it is now, and what was tried, for the language model and the classifier of a plan, if it has them.

    The config is that of the first cell that trains one.
    """
    trials: dict[str, tuple[str, Callable[[RunConfig, int], tuple[float, int]]]] = {
        "pretrained": ("pretraining", try_language_model),
        "classifier": ("classifier", try_classifier),
    }
    for kind, (group, attempt) in trials.items():
        trained = (
            each.run_spec.config
            for each in plan.planned
            if any(stage.kind == kind and "model" not in stage.key for stage in each.stage.ancestry())
        )
        if config := next(trained, None):
            size, room = getattr(config, group).batch_size, room_on(configure_torch(config.compute))
            yield group, size, measure_batch_sizes(sizes_from(size), lambda n, c=config, f=attempt: f(c, n), room)  # type: ignore[misc]


def sizes_from(size: int) -> list[int]:
    """A size, and the powers of two above it.

    >>> sizes_from(100)
    [100, 128, 256, 512]
    """
    powers = [2**n for n in range(LARGEST.bit_length())]
    return [size, *(power for power in powers if power > size)]


def measure_batch_sizes(sizes: Iterable[int], attempt: Trial, room: float) -> list[BatchSizeTrial]:
    """Try rising sizes until one does not fit in so many bytes, or a larger one cannot, by what the last one took.

    A size that the device refuses (torch.OutOfMemoryError) does not fit; sizes are tried no further.
    """
    found: list[BatchSizeTrial] = []
    for size in sizes:
        if found and found[-1].bytes * size / found[-1].size > room:
            found.append(BatchSizeTrial(size, None, found[-1].bytes * size // found[-1].size, False))
            break
        try:
            speed, taken = attempt(size)
        except torch.OutOfMemoryError:
            found.append(BatchSizeTrial(size, None, 0, False))
            break
        found.append(BatchSizeTrial(size, speed, taken, taken <= room))
        if taken > room:
            break
    return found


def largest(tried: Iterable[BatchSizeTrial]) -> BatchSizeTrial | None:
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
    device = configure_torch(config.compute)
    ids = np.random.default_rng(0).integers(0, words, size * (2 * recipe.bptt + 1))
    batches = StreamBatches(ids, batch_size=size, bptt=recipe.bptt, stochastic=False, seed=0)
    step = language_model_step(recipe, config.compute.precision)
    return try_steps(lambda: new_language_model(config, words), batches, step, device, config.compute.precision)


def try_classifier(config: RunConfig, size: int) -> tuple[float, int]:
    """Train two batches of so many documents of the greatest length with the config's classifier, of two classes."""
    words, length = config.vocabulary.max_size, config.target.max_length or encoding_windows(config).graph
    device = configure_torch(config.compute)
    size = max(size, 2)  # batch normalisation needs two
    documents = [*np.random.default_rng(0).integers(0, words, (2 * size, length), dtype=np.int32)]
    batches = make_document_batches(documents, np.arange(2 * size) % 2, config, "sorted", size)
    step = classifier_step(config.classifier)
    return try_steps(lambda: new_classifier(config, words, 2), batches, step, device, config.compute.precision)


def try_steps(
    make: Callable[[], torch.nn.Module], batches: Any, step: Any, device: torch.device, precision: str
) -> tuple[float, int]:
    """Tokens per second of the second of two batches, and bytes that model, gradients, optimiser and batch took.

    The first batch is measured: on a CPU from what torch's profiler tells of every tensor, on CUDA as torch's own
    peak. The tests have no GPU: that branch is not tested.
    """
    with torch.random.fork_rng():
        first, second = (batch.to(device) for batch in islice(batches.epoch(0), 2))
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        with torch.autograd.profiler.profile(enabled=not cuda, profile_memory=True) as profile:
            model = make().to(device)
            carry = one_step(model, first, None, step, device, precision)
        taken = torch.cuda.max_memory_allocated(device) if cuda else peak_of(profile)
        began = time.perf_counter()
        one_step(model, second, carry, step, device, precision)
        seconds = time.perf_counter() - began
    states = STATES * sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return second.n_tokens / seconds, taken + states


def one_step(model: Any, batch: Any, carry: Any, step: Any, device: torch.device, precision: str) -> Any:
    """Forwards and backwards, as a run does without its optimiser; returns what the next batch is given."""
    with autocast(device, precision):
        loss, carry, _ = step(model, batch, carry)
    loss.backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return carry


def peak_of(profile: Any) -> int:
    """Bytes of all tensors together, when they were the most, since a profile began."""
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(sizes).max(initial=0))
