"""The learning-rate finder (Smith 2017): raise the rate step by step and watch the loss."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ulmfit_lab.config.schema import TrainingConfig
from ulmfit_lab.training.optimizers import make_optimizer, set_rates
from ulmfit_lab.training.schedules import layer_rates
from ulmfit_lab.training.steps import Step, autocast
from ulmfit_lab.utils.errors import TrainingError

SMOOTHING = 0.9
"""Share of the past in the exponential mean of the losses; the mean is corrected for its short beginning."""
DIVERGED = 4.0
"""The sweep ends where the smoothed loss is this many times the lowest one."""


@dataclass(frozen=True)
class LrSearch:
    """Rates tried, the smoothed loss (nats) at each, and the rate where the loss fell fastest."""

    lrs: list[float]
    losses: list[float]
    suggestion: float


def find_lr(
    model: Any,
    batches: Any,
    step: Step,
    config: TrainingConfig,
    *,
    device: torch.device,
    precision: str = "float32",
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    seed: int = 0,
) -> LrSearch:
    """Train a copy of the model while the rate of its top group grows exponentially from lowest to highest.

    Lower groups learn at their share of it, as config.layer_lr_decay has it. The model itself and torch's random
    state are left as they were. Raises TrainingError where the loss is not finite from the start.
    """
    trial = copy.deepcopy(model).train()
    rates = [lowest * (highest / lowest) ** (number / max(steps - 1, 1)) for number in range(steps)]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        losses = list(smoothed_until_diverged(sweep(trial, batches, step, config, rates, device, precision)))
    if not losses:
        raise TrainingError(
            f"The loss is not finite even at learning rate {lowest:.3g}; look at the data or the weights."
        )
    lrs = rates[: len(losses)]
    return LrSearch(lrs, losses, steepest(lrs, losses))


def sweep(
    model: Any,
    batches: Any,
    step: Step,
    config: TrainingConfig,
    rates: list[float],
    device: torch.device,
    precision: str,
) -> Iterator[float]:
    """Loss before each of the steps that are made at these rates, over as many epochs as they take."""
    groups = model.layer_groups()
    optimizer, carry = make_optimizer(groups, config), None
    for rate, (first, batch) in zip(rates, endless(batches), strict=False):
        set_rates(optimizer, layer_rates(rate, config.layer_lr_decay, len(groups)))
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            loss, carry, reported = step(model, batch.to(device), None if first else carry)
        yield float(reported)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()


def endless(batches: Any) -> Iterator[tuple[bool, Any]]:
    """Batches of one epoch after the other, and whether each is its epoch's first."""
    for epoch in itertools.count():
        for number, batch in enumerate(batches.epoch(epoch)):
            yield number == 0, batch


def smoothed_until_diverged(losses: Iterator[float]) -> Iterator[float]:
    """Exponential mean of the losses, as long as it is finite and has not left its lowest value far behind."""
    mean, lowest = 0.0, math.inf
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smooth = mean / (1 - SMOOTHING**number)
        if not smooth <= DIVERGED * lowest or not math.isfinite(smooth):
            return
        lowest = min(lowest, smooth)
        yield smooth


def steepest(lrs: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls fastest per decade of the rate; the first of fewer than three."""
    if len(lrs) < 3:
        return lrs[0]
    slopes = [
        (after - before) / math.log(high / low)
        for before, after, low, high in zip(losses, losses[2:], lrs, lrs[2:], strict=False)
    ]
    return lrs[1 + slopes.index(min(slopes))]
