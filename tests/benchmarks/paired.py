"""Timing in turns: A B A B, so that what the machine does besides meets both sides alike."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ratio:
    """Median, lowest and highest of the ratios of pairs, and how many pairs there were."""

    median: float
    low: float
    high: float
    pairs: int


def in_turns(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each side measures in each round, the sides one after the other within a round."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(rounds):
        logger.info("  round %d of %d: %s", number + 1, rounds, ", ".join(sides))
        for name, turn in sides.items():
            found[name].append(turn())
    return found


def ratio(ours: Sequence[float], others: Sequence[float]) -> Ratio:
    """Of each round ours divided by the other; the median of these is not the ratio of the medians.

    >>> ratio([4, 9, 2], [2, 3, 4])
    Ratio(median=2.0, low=0.5, high=3.0, pairs=3)

    Raises ValueError where there are not as many of one as of the other.
    """
    ratios = [mine / other for mine, other in zip(ours, others, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios))
