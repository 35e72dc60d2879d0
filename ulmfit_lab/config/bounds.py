"""Checks of a run's config: types, bounds and combinations of fields."""

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
    """Inclusive bounds of a number: `Annotated[float, Bounds(0, 1)]`."""

    low: float
    high: float


def field_bounds(kind: type) -> Mapping[str, Bounds]:
    """Return dotted path -> bounds of all fields of a config class that have bounds."""
    return {path: leaf.annotation for path, leaf in leaf_fields(kind).items() if isinstance(leaf.annotation, Bounds)}


FEWEST_WORDS = 5
"""Minimum of `target.max_length`: a document begins with up to four markers, as `xxbos xxfld 1 xxup`."""
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
DROPOUTS = ("input_dropout", "output_dropout", "weight_dropout", "embedding_dropout", "hidden_dropout")


def check_config(config: Any) -> None:
    """Raise ConfigError, with the field's path, for values of a wrong type or out of bounds.

    A dropout times its multiplier, doubled if a schedule doubles it, must be below 1.
    """
    kind: type = type(config)
    values = flatten(config)
    for path, leaf in leaf_fields(kind).items():
        value = values[path]
        _check_type(path, value, leaf.type)
        low, high = leaf.annotation or (-math.inf, math.inf)
        if isinstance(value, (int, float)) and not low <= value <= high:
            raise ConfigError(f"{path} = {value} is out of bounds; it must be between {low:g} and {high:g}.")
    if 0 < config.target.max_length < FEWEST_WORDS:
        raise ConfigError(
            f"target.max_length = {config.target.max_length} can leave nothing but the markers at a document's "
            f"beginning; use 0 (not cut) or at least {FEWEST_WORDS}."
        )
    if not DEVICE.fullmatch(config.compute.device):
        raise ConfigError(f"compute.device = {config.compute.device!r} is not a device; use auto, cpu, cuda or cuda:N.")
    for group, owner in (("lm", "lm"), ("lm", "pretraining"), ("lm", "fine_tuning"), ("classifier", "classifier")):
        multiplier = values[f"{owner}.drop_mult"]
        for name in DROPOUTS if multiplier is not None else ():
            rate = values[f"{group}.{name}"]
            if not 0 <= rate < 1 or rate * multiplier >= 1:
                raise ConfigError(
                    f"{group}.{name} = {rate} times {owner}.drop_mult = {multiplier} must be at least 0 and below 1."
                )
    if values["classifier.unfreeze"] == "last" and values["classifier.dropout_schedule"] != "constant":
        raise ConfigError(
            "classifier.dropout_schedule needs a trained encoder, but classifier.unfreeze = 'last' freezes it; "
            "set classifier.dropout_schedule to constant."
        )
    if values["classifier.model"] == "transformer" and values["classifier.dropout_schedule"] != "constant":
        raise ConfigError(
            "classifier.dropout_schedule is not implemented for classifier.model = 'transformer'; set it to constant."
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
                f"{group}.{name} = {rate} times {owner}.drop_mult = {multiplier} must be below 0.5, since "
                f"{fit}.dropout_schedule = {schedule!r} doubles it; lower it."
            )


def _check_type(path: str, value: Any, kind: Any) -> None:
    if isinstance(value, int) and value.bit_length() > 1000:  # Python cannot format one of 4,300 digits
        raise ConfigError(f"{path} is an integer of {value.bit_length()} bits, too large for any field.")
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
        raise ConfigError(f"{path} = {value!r} contains NUL or an unpaired surrogate; remove it.")
    if not isinstance(value, allowed):
        raise ConfigError(f"{path} = {value!r} must be a {_name(kind)}, not a {type(value).__name__}.")


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
