"""Search space: a range or a list of choices for each searched field."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ulmfit_lab.config.paths import field_types, override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.utils.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """All numbers from low to high, inclusive; integers if both are ints.

    log: sample uniformly over the logarithm

    Raises ConfigError if low or high is not a finite number, low >= high, or low <= 0 with `log`.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (is_number(self.low) and is_number(self.high) and self.low < self.high):
            raise ConfigError(f"{self} must have finite numbers low < high.")
        if self.log and self.low <= 0:
            raise ConfigError(f"{self} is logarithmic; low must be positive.")

    @property
    def whole(self) -> bool:
        """Whether it holds integers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int if self.whole else (int, float)) and self.low <= value <= self.high


EDGE, STEP = 0.05, 4.0
"""A value is at an edge within this share of a range; a range is widened to this many times its size there."""


def at_edge(values: Range | Mapping[str, Any] | Sequence[Any], value: Any) -> str:
    """Edge of a range, or of a list of at least three numbers, that a value is at: "lower", "upper" or ""."""
    if isinstance(values, Range):
        values = vars(values)
    if isinstance(values, Mapping):
        scale = math.log if values["log"] else float
        low, high, place = (scale(each) for each in (values["low"], values["high"], value))
        share = (place - low) / (high - low)
        return "lower" if share < EDGE else "upper" if share > 1 - EDGE else ""
    if len(values) < 3 or not all(map(is_number, values)):
        return ""
    return "lower" if value == min(values) else "upper" if value == max(values) else ""


def widen(values: Range, edge: str, widest: Range) -> Range:
    """The range with its edge moved by a factor of `STEP`, or by that many widths, up to an edge of `widest`.

    >>> widen(Range(0.001, 0.01, log=True), "upper", Range(0.0001, 0.03, log=True))
    Range(low=0.001, high=0.03, log=True)
    """
    step = (STEP - 1) * (values.high - values.low)
    low = values.low / STEP if values.log else values.low - step
    high = values.high * STEP if values.log else values.high + step
    whole = int if values.whole else float
    if edge == "lower":
        return Range(min(max(whole(low), widest.low), values.low), values.high, values.log)
    return Range(values.low, max(min(whole(high), widest.high), values.high), values.log)


Space = Mapping[str, Range | Sequence[Any]]
"""Field -> values."""


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_space(space: Space, config: RunConfig) -> None:
    """Raise ConfigError for an invalid space, or one with an invalid config."""
    kinds = field_types(type(config))
    for path, values in space.items():
        if isinstance(values, Range):
            if values.whole and kinds.get(path) is float:
                ends = f"Range({float(values.low)}, {float(values.high)})"
                raise ConfigError(f"{path} is a float, but the range holds only integers; write {ends}.")
        elif not are_choices(values):
            raise ConfigError(f"{path} is searched over {values!r}; give a Range, or a list of at least two choices.")
    for point in extremes(space):
        override(config, point)


def are_choices(values: object) -> bool:
    """Whether a value is a list of at least two different choices."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        return False
    return len(values) > 1 and len(set(map(repr, values))) == len(values)


def extremes(space: Space) -> Iterator[dict[str, Any]]:
    """Points that are valid configs only if all points are.

    Besides bounds of fields, the only constraint is that a dropout times its multiplier is below 1. So the lowest
    values, the highest values and each choice suffice.
    """
    lowest = {path: edge_of(values, min) for path, values in space.items()}
    yield lowest
    yield {path: edge_of(values, max) for path, values in space.items()}
    for path, values in space.items():
        if not isinstance(values, Range):
            yield from (lowest | {path: choice} for choice in values)


def edge_of(values: Range | Sequence[Any], which: Any) -> Any:
    """The smallest or largest (which: min or max) value; the first choice if they are not numbers."""
    if isinstance(values, Range):
        return which(values.low, values.high)
    return which(values) if all(map(is_number, values)) else values[0]


def is_outside(space: Space, point: Mapping[str, Any]) -> list[str]:
    """Fields of a point that are outside of the space."""
    return [path for path, values in space.items() if point[path] not in values]


def point_differing_everywhere(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """A point of the space that differs from this one in every field."""
    ends = {p: (v.low, v.high) if isinstance(v, Range) else tuple(v) for p, v in space.items()}
    return {path: next(value for value in found if value != point[path]) for path, found in ends.items()}


def count_points(space: Space) -> float:
    """Number of points; infinite with a range."""
    return math.prod(math.inf if isinstance(values, Range) else len(values) for values in space.values())


def list_points(space: Space) -> list[dict[str, Any]]:
    """All points of a space of lists."""
    lists = [list(values) for values in space.values() if not isinstance(values, Range)]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*lists)]


def format_space(space: Space) -> dict[str, Any]:
    """The space as JSON."""
    return {path: vars(values) if isinstance(values, Range) else list(values) for path, values in space.items()}
