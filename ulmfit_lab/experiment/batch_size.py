"""Largest batch size that fits in memory, found by training a few steps at each size.

Batches have the maximum size in a run: windows of `bptt` steps with `vocabulary.max_size` words, and documents of
`target.max_length` words or, without truncation, of as many as one graph holds.
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

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silences torch's profiler

LARGEST = 512
"""Largest batch size to try."""
SHARE = 0.5
"""Share of the free memory that a batch may take on a CPU."""
STATES = 2
"""Optimizer states per weight (Adam; averaged SGD has at most as many)."""


@dataclass(frozen=True)
class BatchSizeTrial:
    """A batch size, its speed (None if it did not fit) and memory."""

    size: int
    tokens_per_second: float | None
    bytes: int
    fits: bool


Trial = Callable[[int], tuple[float, int]]
"""Batch size -> tokens per second, and bytes."""


def find_fitting_batch_sizes(plan: Plan) -> Iterator[tuple[str, int, list[BatchSizeTrial]]]:
    """Config group, current batch size and trials, for the language model and the classifier of a plan.

    The config is that of the first run that trains one.
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
    """A size, and the larger powers of two.

    >>> sizes_from(100)
    [100, 128, 256, 512]
    """
    powers = [2**n for n in range(LARGEST.bit_length())]
    return [size, *(power for power in powers if power > size)]


def measure_batch_sizes(sizes: Iterable[int], attempt: Trial, room: float) -> list[BatchSizeTrial]:
    """Try increasing sizes until one does not fit in `room` bytes, or is predicted not to fit.

    torch.OutOfMemoryError counts as not fitting.
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
    """The largest size that fits, or None."""
    return max((each for each in tried if each.fits), key=lambda each: each.size, default=None)


def room_on(device: torch.device) -> float:
    """Bytes that a batch may take: `SHARE` of the free memory on a CPU, all free memory on a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # of an earlier trial
        return float(torch.cuda.mem_get_info(device)[0])
    return float(SHARE * psutil.virtual_memory().available)


def try_language_model(config: RunConfig, size: int) -> tuple[float, int]:
    """Train the language model on two windows of `size` streams."""
    recipe, words = config.pretraining, config.vocabulary.max_size
    device = configure_torch(config.compute)
    ids = np.random.default_rng(0).integers(0, words, size * (2 * recipe.bptt + 1))
    batches = StreamBatches(ids, batch_size=size, bptt=recipe.bptt, stochastic=False, seed=0)
    step = language_model_step(recipe, config.compute.precision)
    return try_steps(lambda: new_language_model(config, words), batches, step, device, config.compute.precision)


def try_classifier(config: RunConfig, size: int) -> tuple[float, int]:
    """Train the classifier, with two classes, on two batches of `size` documents of maximum length."""
    words, length = config.vocabulary.max_size, config.target.max_length or encoding_windows(config).graph
    device = configure_torch(config.compute)
    size = max(size, 2)  # for batch normalization
    documents = [*np.random.default_rng(0).integers(0, words, (2 * size, length), dtype=np.int32)]
    batches = make_document_batches(documents, np.arange(2 * size) % 2, config, "sorted", size)
    step = classifier_step(config.classifier)
    return try_steps(lambda: new_classifier(config, words, 2), batches, step, device, config.compute.precision)


def try_steps(
    make: Callable[[], torch.nn.Module], batches: Any, step: Any, device: torch.device, precision: str
) -> tuple[float, int]:
    """Tokens per second of the second batch, and bytes of model, gradients, optimizer and batch in the first one.

    Memory is measured by torch's profiler on a CPU, and as torch's peak on CUDA.
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
    """Forward and backward pass; returns the state for the next batch."""
    with autocast(device, precision):
        loss, carry, _ = step(model, batch, carry)
    loss.backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return carry


def peak_of(profile: Any) -> int:
    """Peak memory of all tensors in a profile, in bytes."""
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(sizes).max(initial=0))
