"""A run as the lab sees it, wherever it is kept."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ulmfit_lab.config.paths import rename_fields

LOGGED_ONCE = ("final/", "best/", "cost/")
"""How the names of metrics begin that a run logs once, at its end."""
IMPORTED = "lab.imported"
"""Tag of a run that was made elsewhere: its id there."""
LOOKS = "lab.looks"
"""Tag of a run that was made by a plan of looks: the numbers of seeds at which comparisons are looked at."""
DIGITS = 8
"""Digits of a text's digest that are shown."""
ALSO = "lab.also"
"""Tag of a run that stands for several cells: the names of the others, as JSON."""
Name = tuple[str, str, int]
"""Variant, level and seed of a cell."""
DIVERGED = "lab.diverged"
"""Tag of a finished run of which a language model ended worse than guessing all words alike: how, and what to do."""
LoggedMetric = tuple[int, float, int]
"""Step, value, and when (ms since 1970)."""


@dataclass(frozen=True)
class TrackedRun:
    """A cell's run as it is tracked."""

    run_id: str
    status: str
    name: str
    experiment: str
    scale: str
    variant: str
    level: str
    seed: int
    fingerprint: str
    parent: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    inputs: tuple[tuple[str, str, str, str], ...]
    """Name, digest (its first characters), source and context of every data set."""
    start: int
    """Milliseconds since 1970, as `end`."""
    end: int | None

    @property
    def origin(self) -> str:
        """The id under which it was made: for an imported run, its id where it ran."""
        return self.tags.get(IMPORTED, self.run_id)

    @property
    def diverged(self) -> str:
        """How its training diverged and what to do; empty where it did not."""
        return self.tags.get(DIVERGED, "")

    @property
    def data(self) -> str:
        """The labelled texts that it was trained on, or else its corpus: their name, and their digest where known."""
        read = {context: f"{name} {digest[:DIGITS]}" for name, digest, _, context in reversed(self.inputs)}
        named = Path(self.params.get("target.path", "")).name or self.params.get("target.name", "")
        return read.get("training") or read.get("language model") or named

    @property
    def names(self) -> tuple[Name, ...]:
        """Every cell that it stands for, the one whose name it bears first."""
        return ((self.variant, self.level, self.seed), *decode_other_names(self.tags.get(ALSO, "")))

    def named(self, variant: str, level: str, seed: int) -> TrackedRun:
        """The same run under the name of a cell that it stands for."""
        place = f"{variant} @ {level}" if level else variant
        return replace(self, variant=variant, level=level, seed=seed, name=f"{place}, seed {seed}")

    def declared_runs(self) -> list[TrackedRun]:
        """The run once for every cell that it stands for, under its name."""
        return [self, *(self.named(*name) for name in self.names[1:])]


@dataclass(frozen=True)
class MeanRun:
    """A variant at a level over its seeds, as a run under a sweep's parent."""

    name: str
    variant: str
    level: str
    metrics: Mapping[str, float]
    verdict: str
    """Of its comparison with the baseline, in words."""
    curves: Mapping[str, Sequence[tuple[int, float]]]
    """Metric -> step and value."""


def encode_other_names(names: Iterable[Name]) -> str:
    """Names as a tag holds them."""
    return json.dumps(list(names), ensure_ascii=False)


def decode_other_names(text: str) -> list[Name]:
    """The names that a tag holds; none where it is absent or is no such tag."""
    try:
        return [(str(variant), str(level), int(seed)) for variant, level, seed in json.loads(text or "[]")]
    except (ValueError, TypeError):
        return []


def make_tracked_run(
    run_id: str,
    name: str,
    status: str,
    start: int,
    end: int | None,
    *,
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    inputs: Iterable[tuple[str, str, str, str]],
) -> TrackedRun:
    """A run from what a store holds of it; its tags name its experiment, scale, variant, level and seed."""
    named = {name: tags.get(name, "") for name in ("experiment", "scale", "variant", "level")}
    return TrackedRun(
        run_id=run_id,
        status=status,
        name=name,
        **named,
        seed=int(tags.get("seed", -1)),
        fingerprint=tags.get("lab.cell", ""),
        parent=tags.get("mlflow.parentRunId", ""),
        params=rename_fields(params),
        metrics={name: restore_infinity(value) for name, value in metrics.items()},
        tags=dict(tags),
        inputs=tuple(inputs),
        start=start,
        end=end,
    )


def as_tracked_run(run: Any) -> TrackedRun:
    """MLflow's run as ours."""
    info, data, inputs = run.info, run.data, map(data_set, run.inputs.dataset_inputs)
    facts = {"params": data.params, "metrics": data.metrics, "tags": data.tags, "inputs": inputs}
    return make_tracked_run(info.run_id, info.run_name, info.status, info.start_time, info.end_time, **facts)


def restore_infinity(value: float) -> float:
    """A value as it was logged: MLflow's databases hold the largest float in place of an infinite one."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def data_set(found: Any) -> tuple[str, str, str, str]:
    """Name, digest, source and context of a run's data set."""
    context = {tag.key: tag.value for tag in found.tags}.get("mlflow.data.context", "")
    return found.dataset.name, found.dataset.digest, found.dataset.source, context
