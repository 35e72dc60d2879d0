"""Why a plan computes a stage: the fields in which it differs from the nearest stage that is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ulmfit_lab.config.paths import flatten
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.plan import Plan
from ulmfit_lab.pipeline.store import VERSIONS, Stage, StageResult, StageStore

GROUPS: Mapping[str, Mapping[str, str]] = {
    "vocabulary": {"": "vocabulary"},
    "vectors": {"vectors": "word_vectors"},
    "pretrained": {"fit": "pretraining", "corpus": "general"},
    "fine-tuned": {"fit": "fine_tuning", "corpus": "unlabelled"},
    "classifier": {"fit": "classifier"},
    "features": {"fit": "classifier"},
}
"""Kind of stage -> part of its key -> the group of config fields that the part holds; "": the key itself."""
SHOWN = 4
"""Differences that a line names."""


@dataclass(frozen=True)
class Difference:
    """A field that has another value in a stage to compute than in a stored one."""

    field: str
    stored: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.field} {self.stored} -> {self.wanted}"


def describe_missing(plan: Plan, store: StageStore) -> list[str]:
    """A line for each kind of stage to compute and each set of fields in which it differs from the nearest stored one.

    A difference that comes from an input, such as the vocabulary, is named by the input's field.
    """
    stored = {stage.fingerprint: stage for stage in store.finished()}
    found: dict[tuple[str, tuple[str, ...]], list[tuple[str, list[Difference]]]] = {}
    stages = {s.fingerprint: s for run in plan.todo for s in run.stage.ancestry() if s.fingerprint in plan.seconds_of}
    for stage in stages.values():
        nearest, differences = find_nearest(stage, stored)
        fields = tuple(each.field for each in differences)
        found.setdefault((stage.kind, fields if nearest else ("none",)), []).append((nearest, differences))
    return [format_reason(kind, members) for (kind, _), members in found.items()]


def find_nearest(stage: Stage, stored: Mapping[str, StageResult]) -> tuple[str, list[Difference]]:
    """Fingerprint of the stored stage of this kind with the fewest differences, and these; "" where none is stored."""
    candidates = (each for each in stored.values() if each.kind == stage.kind)
    compared = ((each.fingerprint, list(unique(differences_of(stage, each, stored)))) for each in candidates)
    return min(compared, key=lambda pair: len(pair[1]), default=("", []))


def differences_of(stage: Stage, other: StageResult, stored: Mapping[str, StageResult]) -> Iterator[Difference]:
    """The fields in which a stage and what it is made from differ from a stored one."""
    version = str(other.manifest["version"]), str(VERSIONS[stage.kind])
    if version[0] != version[1]:
        yield Difference("the lab's version of it", *version)
    wanted, had = key_fields(stage.kind, stage.key), key_fields(other.kind, other.manifest["key"])
    for field in dict.fromkeys([*had, *wanted]):
        values = [format_field(field, fields.get(field)) for fields in (had, wanted)]
        if values[0] != values[1]:
            yield Difference(field, *values)
    inputs = other.manifest["inputs"]
    for name in dict.fromkeys([*inputs, *stage.inputs]):
        upstream, fingerprint = stage.inputs.get(name), inputs.get(name, "")
        if upstream and upstream.fingerprint != fingerprint and (one := stored.get(fingerprint)):
            yield from differences_of(upstream, one, stored)
        elif (upstream.fingerprint if upstream else "") != fingerprint:
            shown = [each[:8] or "none" for each in (fingerprint, upstream.fingerprint if upstream else "")]
            yield Difference(f"its {name}", *shown)


def key_fields(kind: str, key: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted path of a config field, or a key's own name -> value."""
    groups = GROUPS.get(kind, {})
    found: dict[str, Any] = {}
    for name, value in key.items():
        if isinstance(value, Mapping):
            group = groups.get(name, name)
            found |= {f"{group}.{field}": each for field, each in value.items()}
        else:
            found[f"{groups['']}.{name}" if "" in groups else name] = value
    return found


def format_field(field: str, value: Any) -> str:
    """A value as it is shown; a field that a key leaves out has its default."""
    return str(DEFAULTS.get(field, "none") if value is None else value)[:SHOWN_CHARACTERS]


DEFAULTS: Mapping[str, Any] = flatten(RunConfig())
SHOWN_CHARACTERS = 24


def unique(differences: Iterable[Difference]) -> Iterator[Difference]:
    """Each difference once, in order."""
    yield from dict.fromkeys(differences)


def format_reason(kind: str, members: list[tuple[str, list[Difference]]]) -> str:
    """One line for stages of a kind that differ from what is stored in the same fields."""
    nearest, differences = members[0]
    count = f"new {kind}, {len(members)} stages" if len(members) > 1 else f"new {kind}"
    if not nearest:
        return f"{count}: none of this kind is stored"
    values = [Counter(str(member[1][place]) for member in members) for place in range(len(differences))]
    shown = [
        text if len(found) == 1 else f"{text} and {len(found) - 1} more values"
        for found in islice(values, SHOWN)
        for text in islice(found, 1)
    ]
    rest = f", and {len(differences) - SHOWN} more fields" if len(differences) > SHOWN else ""
    return f"{count}: as {nearest[:8]}, but {', '.join(shown)}{rest}"
