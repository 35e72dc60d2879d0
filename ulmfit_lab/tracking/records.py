"""Tracked runs as dataclasses."""

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
"""Prefixes of metrics that are logged once, at the end of a run."""
IMPORTED = "lab.imported"
"""Tag of an imported run: its original id."""
LOOKS = "lab.looks"
"""Tag of a run of a sweep with interim analyses: their numbers of seeds."""
REGISTERED = "lab.registered"
"""Tag of a run: the first declaration of its experiment, as JSON (see `experiment.registration`)."""
DIGITS = 8
"""Number of digits of a data digest that are shown."""
ALSO = "lab.also"
"""Tag of a run that stands for several declared runs: the names of the others, as JSON."""
Name = tuple[str, str, int]
"""Variant, level and seed."""
DIVERGED = "lab.diverged"
"""Tag of a finished run whose language model is worse than a uniform distribution over words: reason and advice."""
LoggedMetric = tuple[int, float, int]
"""Step, value, and time in ms since 1970."""


@dataclass(frozen=True)
class TrackedRun:
    """A tracked run."""

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
    """Name, digest, source and context of each data set."""
    start: int
    """Start time in ms since 1970, as `end`."""
    end: int | None

    @property
    def origin(self) -> str:
        """Its id, or the original id of an imported run."""
        return self.tags.get(IMPORTED, self.run_id)

    @property
    def diverged(self) -> str:
        """How its training diverged, and advice; empty if it did not."""
        return self.tags.get(DIVERGED, "")

    @property
    def data(self) -> str:
        """Name, and digest if known, of its labelled training data, or else of its corpus."""
        read = {context: f"{name} {digest[:DIGITS]}" for name, digest, _, context in reversed(self.inputs)}
        named = Path(self.params.get("target.path", "")).name or self.params.get("target.name", "")
        return read.get("training") or read.get("language model") or named

    @property
    def names(self) -> tuple[Name, ...]:
        """Names of all declared runs that it stands for, its own first."""
        return ((self.variant, self.level, self.seed), *decode_other_names(self.tags.get(ALSO, "")))

    def named(self, variant: str, level: str, seed: int) -> TrackedRun:
        """The same run under another name."""
        place = f"{variant} @ {level}" if level else variant
        return replace(self, variant=variant, level=level, seed=seed, name=f"{place}, seed {seed}")

    def declared_runs(self) -> list[TrackedRun]:
        """The run once for each of its `names`."""
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
    """Encode names as a tag."""
    return json.dumps(list(names), ensure_ascii=False)


def decode_other_names(text: str) -> list[Name]:
    """Decode names from a tag; empty if it is missing or invalid."""
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
    """Convert the largest float, which MLflow's databases store for infinity, back to infinity."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def data_set(found: Any) -> tuple[str, str, str, str]:
    """Name, digest, source and context of a run's data set."""
    context = {tag.key: tag.value for tag in found.tags}.get("mlflow.data.context", "")
    return found.dataset.name, found.dataset.digest, found.dataset.source, context
