"""Access to nested config dataclasses by dotted path, comparison and fingerprints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping
from functools import cache
from operator import attrgetter
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from ulmfit_lab.utils.errors import ConfigError, suggest

T = TypeVar("T")
BOOLS = {"True": True, "False": False}


class LeafField(NamedTuple):
    """A config field that is not a group of fields."""

    owner: type
    """Class that declares or inherits it."""
    name: str
    type: Any
    annotation: Any
    """Second argument of `Annotated`, or None."""


@cache
def leaf_fields(kind: type) -> Mapping[str, LeafField]:
    """Return dotted path -> declaration of all leaf fields of a config class."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found: dict[str, LeafField] = {}
    for f in dataclasses.fields(kind):
        hint = hints[f.name]
        if dataclasses.is_dataclass(hint):
            below = leaf_fields(typing.cast(type, hint))
            found |= {f"{f.name}.{path}": leaf for path, leaf in below.items()}
        elif typing.get_origin(hint) is Annotated:
            plain, annotation = typing.get_args(hint)
            found[f.name] = LeafField(kind, f.name, plain, annotation)
        else:
            found[f.name] = LeafField(kind, f.name, hint, None)
    return MappingProxyType(found)


def field_types(kind: type) -> Mapping[str, Any]:
    """Return dotted path -> type of all leaf fields of a config class."""
    return _field_types(kind)


@cache
def _field_types(kind: type) -> Mapping[str, Any]:
    return MappingProxyType({path: leaf.type for path, leaf in leaf_fields(kind).items()})


RENAMED_FIELDS: Mapping[str, str] = {
    "target.labels": "target.n_labels",
    "target.valid": "target.n_valid",
    "target.test": "target.n_test",
    "target.own_text": "target.lm_text",
    "vocabulary.unseen": "vocabulary.new_word_init",
    **{f"vectors.{name}": f"word_vectors.{name}" for name in (
        "algorithm", "window", "negative", "epochs", "min_count", "sample", "path")},
    **{f"{group}.keep": f"{group}.checkpoint" for group in ("pretraining", "fine_tuning", "classifier")},
    "classifier.start": "classifier.init",
    "until": "last_stage",
}  # fmt: skip
"""Dotted path of a field in earlier versions -> its path now; values kept their meaning."""


def rename_fields(values: Mapping[str, T], prefix: str = "") -> dict[str, T]:
    """Rename keys (`prefix` and a dotted path) of earlier versions.

    >>> rename_fields({"param/until": "classifier", "seed": "0"}, "param/")
    {'param/last_stage': 'classifier', 'seed': '0'}
    """
    renamed = {prefix + old: prefix + new for old, new in RENAMED_FIELDS.items()}
    return {renamed.get(key, key): value for key, value in values.items()}


def flatten(config: Any) -> dict[str, Any]:
    """Return dotted path -> value of all leaf fields, in the order of declaration."""
    return {path: attrgetter(path)(config) for path in field_types(type(config))}


def override(config: T, changes: Mapping[str, Any]) -> T:
    """Return a copy of the config with the fields at these dotted paths replaced.

    >>> from ulmfit_lab.config.schema import RunConfig
    >>> override(RunConfig(), {"lm.drop_mult": 0.5}).lm.drop_mult
    0.5

    Raises ConfigError for an unknown path and for an invalid value.
    """
    known = field_types(type(config))
    for path in changes:
        if path in RENAMED_FIELDS:
            raise ConfigError(f"{path!r} is not a config field; its name is now {RENAMED_FIELDS[path]!r}.")
        if path not in known:
            raise ConfigError(f"{path!r} is not a config field. {suggest(path, known)}")
    return _override(config, changes)


def _override(config: Any, changes: Mapping[str, Any]) -> Any:
    here: dict[str, Any] = {path: value for path, value in changes.items() if "." not in path}
    below: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        head, dot, rest = path.partition(".")
        if dot:
            below.setdefault(head, {})[rest] = value
    for name, nested in below.items():
        here[name] = _override(getattr(config, name), nested)
    return dataclasses.replace(config, **here)


def non_defaults(config: Any) -> dict[str, Any]:
    """Return dotted path -> value of the fields that differ from their default, which is the config in a stage's key.

    A new field therefore does not change existing fingerprints. Changing a default requires new versions of the stages
    that it affects; a test checks the defaults.
    """
    return {path: value for path, (value, _) in differences(config, type(config)()).items()}


def differences(config: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Return dotted path -> (value in config, value in other) of the fields in which two configs differ."""
    a, b = flatten(config), flatten(other)
    return {path: (a[path], b[path]) for path in a if a[path] != b[path]}


def parse_value(text: str, kind: Any) -> Any:
    """Parse a field's value from a run's param.

    >>> parse_value("None", int | None), parse_value("True", bool), parse_value("3", float)
    (None, True, 3.0)
    """
    if isinstance(kind, UnionType):
        plain = next(each for each in typing.get_args(kind) if each is not type(None))
        return None if text == "None" else parse_value(text, plain)
    if kind is bool:
        return BOOLS[text]
    return text if typing.get_origin(kind) is Literal else kind(text)


def fingerprint(key: Any) -> str:
    """Return 16 hex digits that identify a JSON-like value or a config."""
    plain = dataclasses.asdict(key) if dataclasses.is_dataclass(key) and not isinstance(key, type) else key
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def convert_ints_to_floats(group: T) -> T:
    """Convert integers in float fields to floats, and -0.0 to 0.0; anything but a dataclass is returned unchanged."""
    if not dataclasses.is_dataclass(group) or isinstance(group, type):
        return group
    values = {name: getattr(group, name) for name, kind in field_types(type(group)).items() if kind is float}
    floats = {name: float(value) + 0.0 for name, value in values.items()}
    return group if repr(floats) == repr(values) else dataclasses.replace(group, **floats)
