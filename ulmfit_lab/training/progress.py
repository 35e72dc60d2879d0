"""What training reports: points of its curves, and progress."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """Values of a curve at a step."""

    step: int
    epoch: float
    values: dict[str, float]


@dataclass(frozen=True)
class Progress:
    """Progress of training."""

    done_steps: int
    total_steps: int
    epoch: int
    loss: float
    """nan if it is not measured."""
    tokens_per_second: float
    seconds_left: float
