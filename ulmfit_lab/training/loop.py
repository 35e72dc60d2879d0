"""Training loop of language models and classifiers, with Adam or NT-ASGD and resume states."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ulmfit_lab.config.schema import TrainingConfig
from ulmfit_lab.models.awd_lstm import map_tensors
from ulmfit_lab.models.checkpoint import load_resume_state, save_resume_state
from ulmfit_lab.training.optimizers import WeightAverage, make_optimizer, set_rates, should_average
from ulmfit_lab.training.progress import Point, Progress
from ulmfit_lab.training.schedules import cycle_epochs, dropout_factor, layer_rates, lr_factor, trainable_groups
from ulmfit_lab.training.steps import Step, autocast
from ulmfit_lab.utils.errors import DataError, TrainingError
from ulmfit_lab.utils.memory import MemoryBound

logger = logging.getLogger(__name__)

POINTS_PER_EPOCH, POINTS = 40, 50
"""Maximum number of points of a curve, per epoch and in total; each is a mean since the one before."""
CHECKPOINT_SECONDS = 30.0
"""Seconds between two resume states."""


@dataclass(frozen=True)
class FitResult:
    """Validation metrics of each epoch, of the best and of the last, and totals."""

    history: list[dict[str, float]]
    best: dict[str, float]
    final: dict[str, float]
    steps: int
    tokens: int
    seconds: float
    stopped: str
    averaging_began: int | None = None
    """Step at which NT-ASGD began to average, or None."""


@dataclass
class Position:
    """Position of the loop: epochs, batches of this epoch and steps done, and values accumulated so far."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    carry: Any = None
    history: list[dict[str, float]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: Any = 0.0
    """Sum of the losses since the last point, a float64 tensor on the device, which avoids synchronization."""
    summed: int = 0
    """Steps since the last point."""

    def advance(self, loss: Tensor, tokens: int, seconds: float) -> None:
        """Count a step; loss () is on the device."""
        self.batch, self.step, self.tokens, self.seconds = self.batch + 1, self.step + 1, self.tokens + tokens, seconds
        self.loss_sum, self.summed = self.loss_sum + loss.double(), self.summed + 1

    def read_mean_loss(self) -> float:
        """Return the mean loss since the last point and reset it."""
        mean = float(self.loss_sum) / self.summed
        self.loss_sum, self.summed = 0.0, 0
        return mean


@dataclass
class Training:
    """Everything that training changes: with the random state, the content of a resume state."""

    model: Any
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    at: Position = field(default_factory=Position)
    best: dict[str, Any] = field(default_factory=dict)
    """Metrics, epoch and, if they are kept, weights of the best epoch so far."""


def fit(
    model: Any,
    batches: Any,
    step: Step,
    evaluate: Callable[[nn.Module], dict[str, float]],
    config: TrainingConfig,
    *,
    seed: int,
    resume: Path | None = None,
    record: Callable[[Point], None] = lambda point: None,
    progress: Callable[[Progress], None] = lambda progress: None,
    device: torch.device,
    precision: str = "float32",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> FitResult:
    """Train a model in place.

    model     has layer_groups(), bottom to top, and, for a dropout schedule, an encoder with scale_dropouts(), whose
              rates are restored at the end; the caller seeds its weights
    batches   has count(epoch) and epoch(epoch, start), whose batches have n_tokens, lr_scale and to(device)
    step      forward pass (see `steps`); its carried state is reset at the start of each epoch
    evaluate  returns validation metrics, including "loss"; called after each epoch
    resume    file of the resume state, written every checkpoint_seconds and after each epoch. If it exists, training
              continues from it; on the CPU the weights are bit-identical to those of an uninterrupted run

    Raises TrainingError for a loss that is not finite. To avoid synchronization, devices other than the CPU check
    only the mean loss of each point.
    """
    groups = model.layer_groups()
    rates = layer_rates(config.lr, config.layer_lr_decay, len(groups))
    counts = [batches.count(epoch) for epoch in range(config.epochs)]
    torch.manual_seed(seed)
    training = Training(model, make_optimizer(groups, config), WeightAverage(list(model.parameters())))
    restore(resume, training, device)
    at, optimizer, average = training.at, training.optimizer, training.average
    every = math.ceil(sum(counts) / min(POINTS, POINTS_PER_EPOCH * max(config.epochs, 1)))
    every_loss, seen = reads_every_loss(device), math.nan
    for point in at.points:
        record(Point(**point))
    resumed, began, saved = (at.tokens, at.seconds), time.monotonic() - at.seconds, at.seconds
    memory = MemoryBound()
    model.train()
    while not (stopped := reason_to_stop(config, at.epoch, training.best)):
        count = counts[at.epoch]
        first, total = cycle_steps(config, counts, at.epoch, len(groups))
        freeze(groups, trainable_groups(config.unfreeze, at.epoch, len(groups)))
        for batch in batches.epoch(at.epoch, at.batch):
            n_tokens, batch = batch.n_tokens, batch.to(device)
            factor = lr_factor(config.schedule, at.step - first, total) * batch.lr_scale
            set_rates(optimizer, [rate * factor for rate in rates])
            if config.dropout_schedule != "constant":
                model.encoder.scale_dropouts(dropout_factor(config.dropout_schedule, at.step, sum(counts)))
            optimizer.zero_grad(set_to_none=True)
            with autocast(device, precision):
                loss, at.carry, reported = step(model, batch, at.carry)
            if every_loss:
                seen = float(reported)
                check_finite(float(loss.detach()), at, rates[-1] * factor)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            average.update()
            at.advance(reported, n_tokens, time.monotonic() - began)
            if at.step % every == 0:
                steps, mean = at.summed, at.read_mean_loss()
                seen = seen if every_loss else mean
                check_finite(mean, at, rates[-1] * factor, f"mean loss of the last {steps} steps")
                note(at, count, record, {"loss": mean, "lr": rates[-1] * factor})
            if resume and at.seconds - saved >= checkpoint_seconds:
                save(resume, training, device)
                saved = at.seconds
            memory.hold()
            progress(progress_at(at, sum(counts), seen, resumed))
        metrics = finish_epoch(training, evaluate, config)
        note(at, count, record, {f"valid_{name}": value for name, value in metrics.items()})
        at.epoch, at.batch, at.carry, at.seconds = at.epoch + 1, 0, None, time.monotonic() - began
        if resume:
            save(resume, training, device)
            saved = at.seconds
    freeze(groups, frozenset(range(len(groups))))
    if config.dropout_schedule != "constant":
        model.encoder.scale_dropouts(1.0)
    average.swap()
    final = at.history[-1] if at.history else evaluate(model)
    if training.best.get("weights"):
        model.load_state_dict(training.best["weights"])
    best = training.best.get("metrics", final)
    return FitResult(at.history, best, final, at.step, at.tokens, time.monotonic() - began, stopped, average.began)


def reason_to_stop(config: TrainingConfig, done: int, best: Mapping[str, Any]) -> str:
    """Return why training ends after this many epochs, or an empty string."""
    if config.patience and best and done - 1 - best["epoch"] >= config.patience:
        measure = "accuracy" if config.checkpoint == "best-accuracy" else "loss"
        return f"no better validation {measure} in {config.patience} epochs"
    return "all epochs done" if done >= config.epochs else ""


def reads_every_loss(device: torch.device) -> bool:
    """Return whether the loss of every step is checked, which would synchronize devices other than the CPU."""
    return device.type == "cpu"


def cycle_steps(config: TrainingConfig, counts: Sequence[int], epoch: int, n_groups: int) -> tuple[int, int]:
    """Return the first step and the number of steps of this epoch's schedule cycle."""
    if not config.restart_schedule:
        return 0, sum(counts)
    epochs = cycle_epochs(config.unfreeze, epoch, n_groups, len(counts))
    return sum(counts[: epochs.start]), sum(counts[epochs.start : epochs.stop])


def freeze(groups: list[list[nn.Parameter]], trainable: frozenset[int]) -> None:
    """Train these groups only; no gradient is computed for the others."""
    for number, group in enumerate(groups):
        for parameter in group:
            parameter.requires_grad_(number in trainable)


def finish_epoch(
    training: Training, evaluate: Callable[[nn.Module], dict[str, float]], config: TrainingConfig
) -> dict[str, float]:
    """Validate (averaged weights, if any), store the best epoch, and start averaging if NT-ASGD triggers."""
    at, average, best = training.at, training.average, training.best
    average.swap()
    metrics = evaluate(training.model)
    check_finite(metrics["loss"], at, training.optimizer.param_groups[-1]["lr"], "validation loss")
    at.history.append(metrics)
    if not best or is_better(metrics, best["metrics"], config):
        weights = {} if config.checkpoint == "last" else copy.deepcopy(training.model.state_dict())
        best.update(metrics=metrics, epoch=at.epoch, weights=weights)
    average.swap()
    losses = [epoch["loss"] for epoch in at.history]
    if config.optimizer == "nt-asgd" and not average.started and should_average(losses, config.non_monotone):
        average.start(at.step)
    return metrics


def is_better(metrics: Mapping[str, float], best: Mapping[str, float], config: TrainingConfig) -> bool:
    """Return whether an epoch is better than the best so far, by loss or, if configured, by accuracy."""
    if config.checkpoint == "best-accuracy":
        return metrics["accuracy"] > best["accuracy"]
    return metrics["loss"] < best["loss"]


def check_finite(loss: float, at: Position, lr: float, name: str = "loss") -> None:
    """Raise TrainingError for a loss that is not finite."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"The {name} is {loss} at step {at.step} (epoch {at.epoch}, batch {at.batch}) with learning rate {lr:.3g}; "
            "lower lr, or lower clip to clip gradients harder."
        )


def note(at: Position, count: int, record: Callable[[Point], None], values: dict[str, float]) -> None:
    """Record a point of the curves and keep it for a resumed run; count is the number of batches of the epoch."""
    point = Point(at.step, at.epoch + at.batch / count, values)
    at.points.append({"step": point.step, "epoch": point.epoch, "values": values})
    record(point)


def progress_at(at: Position, total: int, loss: float, resumed: tuple[int, float]) -> Progress:
    """Return the progress; speed is measured since (tokens, seconds) at the start of this process."""
    rate = (at.tokens - resumed[0]) / max(at.seconds - resumed[1], 1e-9)
    return Progress(at.step, total, at.epoch, loss, rate, at.seconds / at.step * (total - at.step))


def save(path: Path, training: Training, device: torch.device) -> None:
    """Write a resume state."""
    random = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(device)
    state = {
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "average": training.average.state(),
        "best": training.best,
        "position": vars(training.at),
        "random": random,
    }
    save_resume_state(path, state)


def restore(path: Path | None, training: Training, device: torch.device) -> None:
    """Restore training and random state, if there is a complete resume state."""
    if path is None or not path.exists():
        return
    try:
        state = load_resume_state(path)
    except DataError as error:
        logger.warning("%s; training starts from the beginning", error)
        return
    try:
        training.model.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.average.restore(state["average"])
        training.best = state["best"]
        training.at = Position(**on_device(state["position"], device))
        torch.set_rng_state(state["random"]["cpu"])
        if "cuda" in state["random"] and device.type == "cuda":
            torch.cuda.set_rng_state(state["random"]["cuda"], device)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is a resume state of another training ({reason}); remove it.") from error


def on_device(position: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a stored position with its tensors on the device."""
    return {name: map_tensors(lambda tensor: tensor.to(device), value) for name, value in position.items()}
