"""What training reports while it runs: points of its curves, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass


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
