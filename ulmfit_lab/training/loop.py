"""The loop that trains every model: language model and classifier, Adam and NT-ASGD, from any interruption."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ulmfit_lab.config import Fit
from ulmfit_lab.errors import DataError, TrainingError
from ulmfit_lab.models.checkpoint import load_resume_state, save_resume_state
from ulmfit_lab.training.optimizers import Average, make_optimizer, should_average
from ulmfit_lab.training.schedules import layer_rates, lr_factor, trainable_groups
from ulmfit_lab.training.steps import Step, autocast

logger = logging.getLogger(__name__)

POINTS_PER_EPOCH = 40
"""Points of a curve within an epoch; each is the mean since the one before."""
CHECKPOINT_SECONDS = 30.0
"""Time between two resume states; what an interruption can cost at most."""


@dataclass(frozen=True)
class Point:
    """Values at a step of a curve."""

    step: int
    epoch: float
    values: dict[str, float]


@dataclass(frozen=True)
class Progress:
    """How far training is."""

    done_steps: int
    total_steps: int
    epoch: int
    loss: float
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class FitResult:
    """What training came to: validation metrics of each epoch, of the best one, and of the last."""

    history: list[dict[str, float]]
    best: dict[str, float]
    final: dict[str, float]
    steps: int
    tokens: int
    seconds: float
    stopped: str


@dataclass
class Position:
    """Where the loop is; with the model's and the optimiser's state all that a resume needs."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    carry: Any = None
    history: list[dict[str, float]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    pending: list[float] = field(default_factory=list)


def fit(
    model: Any,
    batches: Any,
    step: Step,
    evaluate: Callable[[nn.Module], dict[str, float]],
    config: Fit,
    *,
    seed: int,
    resume: Path | None = None,
    record: Callable[[Point], None] = lambda point: None,
    progress: Callable[[Progress], None] = lambda progress: None,
    device: torch.device,
    precision: str = "float32",
) -> FitResult:
    """Train a model in place, by a recipe.

    model     has layer_groups(), bottom to top; its weights are the caller's to seed
    batches   has count(epoch) and epoch(epoch, start), whose batches have n_tokens, lr_scale and to(device)
    step      one forward pass (see `steps`); what it carries is reset at every epoch's start
    evaluate  validation metrics, with "loss" among them, after every epoch
    resume    file of the resume state: training goes on from it if it is there, and ends with the weights of an
              uninterrupted run, bit for bit on the CPU

    Raises TrainingError when the loss is not finite.
    """
    groups = model.layer_groups()
    optimizer, average = make_optimizer(groups, config), Average(list(model.parameters()))
    rates = layer_rates(config.lr, config.layer_lr_decay, len(groups))
    counts = [batches.count(epoch) for epoch in range(config.epochs)]
    total = sum(counts)
    best: dict[str, Any] = {}
    torch.manual_seed(seed)
    at = restore(resume, model, optimizer, average, best, device)
    for values in at.points:
        record(Point(**values))
    began, saved = time.monotonic() - at.seconds, time.monotonic()
    fresh_tokens, fresh_began = 0, time.monotonic()
    stopped = "all epochs done"
    model.train()

    def note(values: dict[str, float]) -> None:
        point = Point(at.step, at.epoch + at.batch / counts[at.epoch], values)
        at.points.append(vars(point))
        record(point)

    for at.epoch in range(at.epoch, config.epochs):
        freeze(groups, trainable_groups(config.unfreeze, at.epoch, len(groups)))
        every = max(counts[at.epoch] // POINTS_PER_EPOCH, 1)
        for batch in batches.epoch(at.epoch, at.batch):
            batch = batch.to(device)
            factor = lr_factor(config.schedule, at.step, total) * batch.lr_scale
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.zero_grad(set_to_none=True)
            with autocast(device, precision):
                loss, at.carry, stats = step(model, batch, at.carry)
            if not math.isfinite(float(loss.detach())):
                raise TrainingError(not_finite(at, rates[-1] * factor))
            loss.backward()
            if config.clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            average.update()
            at.batch, at.step, at.tokens = at.batch + 1, at.step + 1, at.tokens + batch.n_tokens
            at.pending.append(stats["loss"])
            if at.batch % every == 0:
                note({"loss": sum(at.pending) / len(at.pending), "lr": rates[-1] * factor})
                at.pending.clear()
            now = time.monotonic()
            at.seconds, fresh_tokens = now - began, fresh_tokens + batch.n_tokens
            if resume and now - saved > CHECKPOINT_SECONDS:
                save(resume, model, optimizer, average, best, at)
                saved = now
            pace = at.seconds / at.step
            rate = fresh_tokens / max(now - fresh_began, 1e-9)
            progress(Progress(at.step, total, at.epoch, stats["loss"], rate, pace * (total - at.step)))
        average.swap()
        metrics = evaluate(model)
        at.history.append(metrics)
        note({f"valid_{name}": value for name, value in metrics.items()})
        if not best or metrics["loss"] < best["metrics"]["loss"]:
            weights = copy.deepcopy(model.state_dict()) if config.keep == "best" else {}
            best.update(metrics=metrics, epoch=at.epoch, weights=weights)
        average.swap()
        if config.optimizer == "nt-asgd" and not average.started and should_average([h["loss"] for h in at.history]):
            average.start()
        at.batch, at.carry = 0, None
        at.seconds = time.monotonic() - began
        if config.patience and at.epoch - best["epoch"] >= config.patience:
            stopped = f"no better validation loss in {config.patience} epochs"
            break
        if resume:
            at.epoch += 1
            save(resume, model, optimizer, average, best, at)
            at.epoch -= 1
    freeze(groups, frozenset(range(len(groups))))
    average.swap()
    final = at.history[-1] if at.history else evaluate(model)
    if config.keep == "best" and best:
        model.load_state_dict(best["weights"])
    return FitResult(
        at.history, best.get("metrics", final), final, at.step, at.tokens, time.monotonic() - began, stopped
    )


def freeze(groups: list[list[nn.Parameter]], trainable: frozenset[int]) -> None:
    """Let only these groups learn; no gradient is computed for the others."""
    for number, group in enumerate(groups):
        for parameter in group:
            parameter.requires_grad_(number in trainable)


def not_finite(at: Position, lr: float) -> str:
    """Why training ended, where, and what to do."""
    return (
        f"The loss is not finite at step {at.step} (epoch {at.epoch}, batch {at.batch}) with learning rate {lr:.3g}; "
        "lower the learning rate, or clip gradients harder."
    )


def save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average, best: dict[str, Any], at: Position
) -> None:
    """Write all that training needs to go on from here."""
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    save_resume_state(
        path,
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average.state(),
            "best": best,
            "position": vars(at),
            "random": random,
        },
    )


def restore(
    path: Path | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average,
    best: dict[str, Any],
    device: torch.device,
) -> Position:
    """Put model, optimiser and random state back as they were; a fresh position where there is nothing to go on from."""
    if path is None or not path.exists():
        return Position()
    try:
        state = load_resume_state(path)
    except DataError as error:
        logger.warning("%s; training starts again", error)
        return Position()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    average.restore(state["average"])
    best.update(state["best"])
    torch.set_rng_state(state["random"]["cpu"])
    if "cuda" in state["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random"]["cuda"])
    return Position(**on_device(state["position"], device))


def on_device(position: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A stored position with its carried hidden state on the device."""
    carry = position["carry"]
    moved = None if carry is None else [(h.to(device), c.to(device)) for h, c in carry]
    return {**position, "carry": moved}
