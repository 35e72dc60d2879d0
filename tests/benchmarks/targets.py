"""What the library promises of its speed and size: all targets in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound that a measured value must keep."""

    bound: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


TARGETS: Mapping[str, Target] = {
    "training": Target(2.0),
    "training, float32": Target(1.2),
    "training, default": Target(1.5),
    "validation loss": Target(0.0, at_least=False),
    "share of the peak": Target(0.4),
    "classifier": Target(1.7),
    "classifier, default": Target(1.5),
    "memory": Target(0.6, at_least=False),
    "inference": Target(2.0),
    "inference, default": Target(1.0),
    "tokenizing": Target(0.9),
    "opening": Target(50.0, at_least=False),
    "loading": Target(20e6),
    "grid": Target(3.0),
    "workers": Target(1.6),
    "tracking": Target(0.01, at_least=False),
    "commands": Target(1000.0, at_least=False),
}
"""In the unit of the row's value: ratios and shares, but nats a token, milliseconds and tokens/s where rows say so.

"default" is float32 on a processor where bfloat16 is slower or cannot be computed.
"""
