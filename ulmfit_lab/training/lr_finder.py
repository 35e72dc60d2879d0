"""The learning-rate finder (Smith 2017): raise the rate step by step and watch the loss."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch

from ulmfit_lab.config import Fit
from ulmfit_lab.training.optimizers import make_optimizer
from ulmfit_lab.training.steps import Step, autocast

SMOOTHING = 0.9


@dataclass(frozen=True)
class LrSearch:
    """Rates tried, the smoothed loss at each, and the rate where the loss fell fastest."""

    lrs: list[float]
    losses: list[float]
    suggestion: float


def find_lr(
    model: Any,
    batches: Any,
    step: Step,
    config: Fit,
    *,
    device: torch.device,
    precision: str = "float32",
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
) -> LrSearch:
    """Train a copy of the model while the rate grows exponentially; ends where the loss has quadrupled.

    The model itself and torch's random state are left as they were.
    """
    random = torch.get_rng_state()
    trial = copy.deepcopy(model).train()
    optimizer = make_optimizer(trial.layer_groups(), config)
    lrs: list[float] = []
    losses: list[float] = []
    mean, carry = 0.0, None
    for number, batch in zip(range(steps), batches.epoch(0), strict=False):
        lr = lowest * (highest / lowest) ** (number / max(steps - 1, 1))
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        with autocast(device, precision):
            loss, carry, stats = step(trial, batch.to(device), carry)
        loss.backward()
        optimizer.step()
        mean = SMOOTHING * mean + (1 - SMOOTHING) * stats["loss"]
        smooth = mean / (1 - SMOOTHING ** (number + 1))
        if not math.isfinite(smooth) or (losses and smooth > 4 * min(losses)):
            break
        lrs.append(lr)
        losses.append(smooth)
    torch.set_rng_state(random)
    return LrSearch(lrs, losses, steepest(lrs, losses))


def steepest(lrs: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls fastest per decade of the rate."""
    if len(lrs) < 3:
        return lrs[0] if lrs else math.nan
    slopes = [
        (after - before) / math.log(high / low)
        for before, after, low, high in zip(losses, losses[2:], lrs, lrs[2:], strict=False)
    ]
    return lrs[1 + slopes.index(min(slopes))]
