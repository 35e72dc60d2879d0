"""Adam, and SGD that starts averaging when validation stops improving (NT-ASGD, Merity et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ulmfit_lab.config.schema import TrainingConfig


def make_optimizer(groups: Sequence[list[nn.Parameter]], config: TrainingConfig) -> torch.optim.Optimizer:
    """Return an optimizer with one parameter group per layer group.

    Adam's weight decay is decoupled (Loshchilov & Hutter 2019), SGD's is an L2 penalty. Frozen groups have no
    gradient and are skipped.
    """
    parameters = [{"params": group, "lr": config.lr} for group in groups]
    if config.optimizer == "nt-asgd":
        return torch.optim.SGD(parameters, lr=config.lr, weight_decay=config.weight_decay)
    betas = config.beta1, config.beta2
    # fused: 3 ms per step on two cores instead of 5 to 20
    return torch.optim.AdamW(parameters, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float]) -> None:
    """Set the learning rate of each parameter group."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def should_average(losses: Sequence[float], n: int) -> bool:
    """Return whether NT-ASGD triggers (Merity et al. 2017, algorithm 1), given all validation losses so far.

    It does if the last loss is worse than the best of those before it, the n directly before it excluded.
    """
    *before, newest = losses
    return len(before) > n and newest > min(before[:-n])


class WeightAverage:
    """Running mean of a model's weights after each step since averaging began (ASGD with t0 = 0 and lambd = 0)."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.count = 0
        self.mean: list[Tensor] = []
        self.began: int | None = None

    def start(self, step: int) -> None:
        """Start averaging with the weights after the next step."""
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.began = step

    @property
    def started(self) -> bool:
        """Whether averaging has begun."""
        return bool(self.mean)

    @torch.no_grad()
    def update(self) -> None:
        """Add the current weights to the mean."""
        if self.started:
            self.count += 1
            for mean, parameter in zip(self.mean, self.parameters, strict=True):
                mean.lerp_(parameter, 1 / self.count)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights with their mean."""
        if self.count:
            for mean, parameter in zip(self.mean, self.parameters, strict=True):
                kept = parameter.clone()
                parameter.copy_(mean)
                mean.copy_(kept)

    def state(self) -> dict[str, Any]:
        """Return the content of a resume state."""
        return {"count": self.count, "mean": self.mean, "began": self.began}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the content of a resume state."""
        self.count, self.began = int(state["count"]), state["began"]
        self.mean = [m.to(p.device) for m, p in zip(state["mean"], self.parameters, strict=False)]
