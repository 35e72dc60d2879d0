"""Why a plan computes a stage: the fields in which it differs from the nearest stage that is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
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
    compared = Comparison({stage.fingerprint: stage for stage in store.finished()})
    found: dict[tuple[str, tuple[str, ...]], list[tuple[str, tuple[Difference, ...]]]] = {}
    stages = {s.fingerprint: s for run in plan.todo for s in run.stage.ancestry() if s.fingerprint in plan.seconds_of}
    for stage in stages.values():
        nearest, differences = compared.nearest(stage)
        fields = tuple(each.field for each in differences)
        found.setdefault((stage.kind, fields if nearest else ("none",)), []).append((nearest, differences))
    return [format_reason(kind, members) for (kind, _), members in found.items()]


@dataclass(frozen=True)
class Comparison:
    """Compares stages to compute with the stored ones; pairs that are inputs of many pairs are compared once."""

    stored: Mapping[str, StageResult]
    """Fingerprint -> stage."""
    fields: dict[str, Fields] = field(default_factory=dict)
    """Fingerprint -> fields of a stage's key, as far as they were read."""
    known: dict[tuple[str, str], tuple[Difference, ...]] = field(default_factory=dict)
    """Fingerprints of a stage and a stored one -> their differences, as far as they were compared."""

    def nearest(self, stage: Stage) -> tuple[str, tuple[Difference, ...]]:
        """Fingerprint of the stored stage of this kind with the fewest differences, and these; "" if none is stored."""
        wanted = self._fields(stage.fingerprint, stage.kind, stage.key)
        candidates = [each for each in self.stored.values() if each.kind == stage.kind]
        own = [len(wanted.differing(self._stored_fields(each))) for each in candidates]
        best: tuple[int, int] | None = None
        for place in sorted(range(len(candidates)), key=own.__getitem__):
            if best and own[place] > best[0]:  # its inputs can only add differences
                break
            found = len(self.differences(stage, candidates[place])), place
            best = min(best or found, found)
        return (candidates[best[1]].fingerprint, self.differences(stage, candidates[best[1]])) if best else ("", ())

    def differences(self, stage: Stage, other: StageResult) -> tuple[Difference, ...]:
        """The fields in which a stage and what it is made from differ from a stored one, each once."""
        pair = stage.fingerprint, other.fingerprint
        if pair not in self.known:
            self.known[pair] = tuple(dict.fromkeys(self._compare(stage, other)))
        return self.known[pair]

    def _compare(self, stage: Stage, other: StageResult) -> Iterator[Difference]:
        version = str(other.manifest["version"]), str(VERSIONS[stage.kind])
        if version[0] != version[1]:
            yield Difference("the lab's version of it", *version)
        yield from self._fields(stage.fingerprint, stage.kind, stage.key).differences(self._stored_fields(other))
        inputs = other.manifest["inputs"]
        for name in dict.fromkeys([*inputs, *stage.inputs]):
            upstream, fingerprint = stage.inputs.get(name), inputs.get(name, "")
            if upstream and upstream.fingerprint != fingerprint and (one := self.stored.get(fingerprint)):
                yield from self.differences(upstream, one)
            elif (upstream.fingerprint if upstream else "") != fingerprint:
                shown = [each[:8] or "none" for each in (fingerprint, upstream.fingerprint if upstream else "")]
                yield Difference(f"its {name}", *shown)

    def _stored_fields(self, stored: StageResult) -> Fields:
        return self._fields(stored.fingerprint, stored.kind, stored.manifest["key"])

    def _fields(self, fingerprint: str, kind: str, key: Mapping[str, Any]) -> Fields:
        if fingerprint not in self.fields:
            shown = {name: format_field(name, value) for name, value in key_fields(kind, key).items()}
            self.fields[fingerprint] = Fields(shown, {(n, v) for n, v in shown.items() if v != format_field(n, None)})
        return self.fields[fingerprint]


@dataclass(frozen=True)
class Fields:
    """The fields of a stage's key."""

    shown: Mapping[str, str]
    """Name -> value as it is shown."""
    not_default: Set[tuple[str, str]]
    """The names and values that are not defaults, which a key may leave out."""

    def differing(self, other: Fields) -> set[str]:
        """The names of the fields in which two keys differ."""
        return {name for name, _ in self.not_default ^ other.not_default}

    def differences(self, stored: Fields) -> Iterator[Difference]:
        """The fields in which a key differs from a stored one."""
        differing = self.differing(stored)
        for name in dict.fromkeys([*stored.shown, *self.shown]) if differing else ():
            if name in differing:
                default = format_field(name, None)
                yield Difference(name, stored.shown.get(name, default), self.shown.get(name, default))


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


def format_reason(kind: str, members: list[tuple[str, tuple[Difference, ...]]]) -> str:
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
