"""The space that a search looks through: a range or a list of choices for each searched field of the config."""

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
    """All numbers from low to high, both included; whole numbers only where both ends are ints.

    log: drawn evenly over the logarithm, as suits learning rates.

    Raises ConfigError where the ends are no numbers, out of order, or not above 0 on a logarithmic range.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (is_number(self.low) and is_number(self.high) and self.low < self.high):
            raise ConfigError(f"{self} must go from a number to a greater one.")
        if self.log and self.low <= 0:
            raise ConfigError(f"{self} is logarithmic, so it must begin above 0.")

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int if self.whole else (int, float)) and self.low <= value <= self.high


Space = Mapping[str, Range | Sequence[Any]]
"""Field -> what it may be."""


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_space(space: Space, config: RunConfig) -> None:
    """Refuse a space that does not say what it holds, or of which some point would be refused as a config.

    Raises ConfigError, naming the field.
    """
    kinds = field_types(type(config))
    for path, values in space.items():
        if isinstance(values, Range):
            if values.whole and kinds.get(path) is float:
                ends = f"Range({float(values.low)}, {float(values.high)})"
                raise ConfigError(
                    f"{path} is no whole number, and two whole ends leave those between out; write {ends}."
                )
        elif (
            isinstance(values, str)
            or not isinstance(values, Sequence)
            or len(set(map(repr, values))) < max(2, len(values))
        ):
            raise ConfigError(f"{path} is searched over {values!r}; give a Range, or a list of two choices or more.")
    for point in extremes(space):
        override(config, point)


def are_choices(values: object) -> bool:
    """Whether this is a list of two choices or more, each once."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        return False
    return len(values) > 1 and len(set(map(repr, values))) == len(values)


def extremes(space: Space) -> Iterator[dict[str, Any]]:
    """Points that are configs only if all points are.

    Beside bounds of its own for each field, the config holds only one rule: a dropout times its multiplier stays below
    1. So the highest numbers together, and each choice once, stand for all.
    """
    lowest = {path: edge_of(values, min) for path, values in space.items()}
    yield lowest
    yield {path: edge_of(values, max) for path, values in space.items()}
    for path, values in space.items():
        if not isinstance(values, Range):
            yield from (lowest | {path: choice} for choice in values)


def edge_of(values: Range | Sequence[Any], which: Any) -> Any:
    """The lowest or highest (which: min or max) of a field's values; the first of choices that are no numbers."""
    if isinstance(values, Range):
        return which(values.low, values.high)
    return which(values) if all(map(is_number, values)) else values[0]


def is_outside(space: Space, point: Mapping[str, Any]) -> list[str]:
    """The fields of a point that lie outside of the space."""
    return [path for path, values in space.items() if point[path] not in values]


def point_differing_everywhere(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """Another point of the space, which differs from this one in every field."""
    ends = {p: (v.low, v.high) if isinstance(v, Range) else tuple(v) for p, v in space.items()}
    return {path: next(value for value in found if value != point[path]) for path, found in ends.items()}


def count_points(space: Space) -> float:
    """Number of its points; endless with a range."""
    return math.prod(math.inf if isinstance(values, Range) else len(values) for values in space.values())


def list_points(space: Space) -> list[dict[str, Any]]:
    """All points of a space of lists."""
    lists = [list(values) for values in space.values() if not isinstance(values, Range)]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*lists)]


def format_space(space: Space) -> dict[str, Any]:
    """The space as JSON can hold it."""
    return {path: vars(values) if isinstance(values, Range) else list(values) for path, values in space.items()}
