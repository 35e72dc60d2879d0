"""What a run's config may hold: types, bounds, and what must fit together."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ulmfit_lab.config.paths import flatten, leaf_fields
from ulmfit_lab.utils.errors import ConfigError, suggest


class Bounds(NamedTuple):
    """Smallest and largest value of a number, both allowed: `Annotated[float, Bounds(0, 1)]`."""

    low: float
    high: float


def field_bounds(kind: type) -> Mapping[str, Bounds]:
    """Dotted path -> smallest and largest value of every field of a config class that has them."""
    return {path: leaf.annotation for path, leaf in leaf_fields(kind).items() if isinstance(leaf.annotation, Bounds)}


DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
DROPOUTS = ("input_dropout", "output_dropout", "weight_dropout", "embedding_dropout", "hidden_dropout")


def check_config(config: Any) -> None:
    """Refuse values of a run's config that are of a wrong type or out of bounds, naming the field's path.

    Raises ConfigError. A dropout times its multiplier, or twice that where a schedule doubles it, must stay below 1.
    """
    kind: type = type(config)
    values = flatten(config)
    for path, leaf in leaf_fields(kind).items():
        value = values[path]
        _check_type(path, value, leaf.type)
        low, high = leaf.annotation or (-math.inf, math.inf)
        if isinstance(value, (int, float)) and not low <= value <= high:
            raise ConfigError(f"{path} = {value} is out of bounds; it must lie between {low:g} and {high:g}.")
    if not DEVICE.fullmatch(config.compute.device):
        raise ConfigError(f"compute.device = {config.compute.device!r} is not a device; use auto, cpu, cuda or cuda:N.")
    for group, owner in (("lm", "lm"), ("lm", "pretraining"), ("lm", "fine_tuning"), ("classifier", "classifier")):
        multiplier = values[f"{owner}.drop_mult"]
        for name in DROPOUTS if multiplier is not None else ():
            rate = values[f"{group}.{name}"]
            if not 0 <= rate < 1 or rate * multiplier >= 1:
                raise ConfigError(
                    f"{group}.{name} = {rate} times {owner}.drop_mult = {multiplier} must lie between 0 and 1."
                )
    if values["classifier.unfreeze"] == "last" and values["classifier.dropout_schedule"] != "constant":
        raise ConfigError(
            "classifier.dropout_schedule changes the encoder's dropouts, and with classifier.unfreeze = 'last' it has "
            "none; set the schedule to constant."
        )
    for fit, group in (("pretraining", "lm"), ("fine_tuning", "lm"), ("classifier", "classifier")):
        _check_doubled(values, fit, group)


def _check_doubled(values: Mapping[str, Any], fit: str, group: str) -> None:
    """Refuse a dropout that a fit's schedule would raise to 1; the classifier's output_dropout, its head's, is kept."""
    schedule, own = values[f"{fit}.dropout_schedule"], values[f"{fit}.drop_mult"]
    if schedule == "constant":
        return
    multiplier, owner = (values[f"{group}.drop_mult"], group) if own is None else (own, fit)
    for name in DROPOUTS:
        rate = values[f"{group}.{name}"]
        in_head = group == "classifier" and name == "output_dropout"
        if not in_head and 2 * rate * multiplier >= 1:
            raise ConfigError(
                f"{group}.{name} = {rate} times {owner}.drop_mult = {multiplier} is doubled by "
                f"{fit}.dropout_schedule = {schedule!r} and must then stay below 1; lower it."
            )


def _check_type(path: str, value: Any, kind: Any) -> None:
    if isinstance(value, int) and value.bit_length() > 1000:  # Python refuses to write one of 4,300 digits
        raise ConfigError(f"{path} is a whole number of {value.bit_length()} bits, more than any field takes.")
    if typing.get_origin(kind) is Literal:
        options = typing.get_args(kind)
        if value not in options:
            raise ConfigError(f"{path} = {value!r} is not an option. {suggest(str(value), map(str, options))}")
        return
    allowed = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if bool not in allowed and isinstance(value, bool):
        raise ConfigError(f"{path} = {value!r} must be a {_name(kind)}, not a bool.")
    if float in allowed and isinstance(value, int):
        return
    if isinstance(value, str) and any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(f"{path} = {value!r} holds what is no character of a text; type it anew.")
    if not isinstance(value, allowed):
        raise ConfigError(f"{path} = {value!r} must be a {_name(kind)}, not a {type(value).__name__}.")


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
