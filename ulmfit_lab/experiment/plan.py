"""Plan of a sweep with predicted cost.

The time of a stage is predicted from the throughput of similar finished stages, or else from a few timed steps.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit_lab.analysis.interim import SequentialState
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.tokenizer import check_language
from ulmfit_lab.experiment.declaration import Changes, Experiment, RunSpec, run_specs
from ulmfit_lab.pipeline import devices
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import MANIFEST_NAME, Stage, StageStore
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.utils.errors import ConfigError
from ulmfit_lab.utils.files import json_text

UNMEASURED: Mapping[str, float] = {"tokens": 200_000.0, "vocabulary": 1e7, "vectors": 150_000.0, "encoded": 3_000.0}
"""Default tokens per second of stages without training."""

TRAINED = ("pretrained", "fine-tuned", "classifier", "features")


@dataclass(frozen=True)
class PlannedRun:
    """A declared run, its last stage, and whether it is finished."""

    run_spec: RunSpec
    stage: Stage
    is_done: bool
    equal_specs: tuple[RunSpec, ...] = ()
    """All declared runs with its fingerprint, including itself (default: only itself)."""

    @property
    def run_specs(self) -> tuple[RunSpec, ...]:
        """The declared runs with its fingerprint; the tracked run has the name of the first."""
        return self.equal_specs or (self.run_spec,)


@dataclass(frozen=True)
class Plan:
    """Runs of a sweep, and the predicted cost of the missing ones."""

    planned: tuple[PlannedRun, ...]
    seconds_of: Mapping[str, float]
    """Fingerprint -> predicted seconds of each missing stage."""
    reused: Mapping[str, float]
    """Fingerprint -> original seconds of each finished stage that is reused."""
    looks: SequentialState | None = None
    """State of the interim analyses, if there are any."""
    finished: tuple[TrackedRun, ...] = ()
    """Finished runs in the tracking store."""

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Planned runs with distinct fingerprints."""
        return tuple({c.stage.fingerprint: c for c in reversed(self.planned)}.values())[::-1]

    @cached_property
    def todo(self) -> tuple[PlannedRun, ...]:
        """Runs that are not finished."""
        return tuple(c for c in self.runs if not c.is_done)

    @property
    def seconds(self) -> float:
        """Predicted total time in seconds."""
        return sum(self.seconds_of.values())

    def kinds(self) -> dict[str, tuple[int, float]]:
        """Kind -> number of stages to compute and their predicted seconds."""
        found: dict[str, tuple[int, float]] = {}
        stages = {s.fingerprint: s for c in self.todo for s in c.stage.ancestry() if s.fingerprint in self.seconds_of}
        for stage in stages.values():
            count, seconds = found.get(stage.kind, (0, 0.0))
            found[stage.kind] = count + 1, seconds + self.seconds_of[stage.fingerprint]
        return found


def plan_runs(
    experiment: Experiment,
    scale: str,
    overrides: Changes | None,
    data: Path | None,
    done: Collection[str],
    imported: Path,
) -> list[PlannedRun]:
    """All declared runs; those whose fingerprint is in `done` are finished.

    Raises ConfigError if different seeds of a variant have the same fingerprint.
    """
    found = [
        (cell, final_stage(cell.config, cell.seed, data, imported)) for cell in run_specs(experiment, scale, overrides)
    ]
    same: dict[str, list[RunSpec]] = {}
    for cell, stage in found:
        same.setdefault(stage.fingerprint, []).append(cell)
    for shared in same.values():
        check_seeds_distinct(shared)
    return [PlannedRun(cell, stage, stage.fingerprint in done, tuple(same[stage.fingerprint])) for cell, stage in found]


def check_seeds_distinct(cells: Sequence[RunSpec]) -> None:
    """Raise ConfigError if two seeds of a variant are the same run, since they are not independent."""
    first: dict[str, RunSpec] = {}
    for cell in cells:
        other = first.setdefault(cell.group, cell)
        if other.seed != cell.seed:
            raise ConfigError(
                f"{cell.experiment}: seeds {other.seed} and {cell.seed} of {cell.group!r} are the same run, since "
                "nothing depends on the seed; use one seed, or set pretraining.seed and fine_tuning.seed to None."
            )


def make_plan(planned: Iterable[PlannedRun], store: StageStore, rates: Throughput) -> Plan:
    """Predict the cost of the missing runs; shared stages count once.

    Raises DataError if a language is not installed, ConfigError if this machine does not support the precision.
    """
    planned = tuple(planned)
    seconds: dict[str, float] = {}
    reused: dict[str, float] = {}
    languages: set[str] = set()
    for compute in {each.run_spec.config.compute for each in planned if not each.is_done}:
        devices.check_precision(compute)
    for each in planned:
        if each.is_done:
            continue
        missing = {stage.fingerprint: stage.kind for stage in store.missing(each.stage)}
        if "tokens" in missing.values():
            languages.add(each.run_spec.config.language)
        for stage in each.stage.ancestry():
            if stage.fingerprint in missing and stage.fingerprint not in seconds:
                seconds[stage.fingerprint] = rates.seconds(stage, each.run_spec.config)
            elif stage.fingerprint not in missing and (stored := store.find(stage)):
                reused[stage.fingerprint] = stored.seconds
    for language in languages:
        check_language(language)
    return Plan(planned, seconds, reused)


class Throughput:
    """Throughput of stages on this machine."""

    def __init__(self, store: StageStore) -> None:
        self._cache = store.root.parent / "rates.json"
        self._measured = tracked_throughput(store)
        self._timed = measure_throughput(self._cache)

    def seconds(self, stage: Stage, config: RunConfig) -> float:
        """Predicted seconds of a stage."""
        return stage.tokens / self.of(stage, config)

    def of(self, stage: Stage, config: RunConfig) -> float:
        """Tokens per second of a stage: of similar stages, else of a few timed steps, else a default."""
        like = self._measured.get(similarity(stage.kind, stage.key))
        if like:
            return like
        if stage.kind not in TRAINED or "model" in stage.key:
            return UNMEASURED.get(stage.kind, 20_000.0)
        faster = stage.kind in ("classifier", "features")  # they have no output layer
        return self._language_model(config) * (2.0 if faster else 1.0)

    def _language_model(self, config: RunConfig) -> float:
        """Tokens per second of the language model, timed once per model size and compute config."""
        size = config.lm.emb_size, config.lm.hidden_size, config.lm.n_layers, config.vocabulary.max_size
        key = "-".join(map(str, (*size, *vars(config.compute).values())))
        if key not in self._timed:
            self._timed[key] = time_language_model(config)
            with suppress(PermissionError):  # read-only home
                self._cache.parent.mkdir(parents=True, exist_ok=True)
                self._cache.write_text(json_text(self._timed), encoding="utf-8")
        return self._timed[key]


def measure_throughput(path: Path) -> dict[str, float]:
    """Read cached throughputs; empty if the file is missing or invalid."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(rate) for name, rate in found.items() if rate > 0}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def similarity(kind: str, key: Mapping[str, Any]) -> str:
    """Key of stages with similar throughput."""
    lm = key.get("lm", {})
    size = [lm.get(name) for name in ("emb_size", "hidden_size", "n_layers")]
    model = key.get("model") or key.get("fit", {}).get("features")
    return json.dumps([kind, model, size, key.get("compute")], sort_keys=True)


def tracked_throughput(store: StageStore) -> dict[str, float]:
    """Similarity key -> median tokens per second of finished stages."""
    found: dict[str, list[float]] = {}
    for path in store.root.glob(f"*/*/{MANIFEST_NAME}"):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            rate = manifest["tokens"] / manifest["seconds"]
            found.setdefault(similarity(manifest["kind"], manifest["key"]), []).append(rate)
        except (OSError, ValueError, KeyError, ZeroDivisionError, TypeError, AttributeError, RecursionError):
            continue
    return {like: statistics.median(rates) for like, rates in found.items() if max(rates) > 0}


def time_language_model(config: RunConfig, steps: int = 3) -> float:
    """Tokens per second of a few training steps of the language model, without optimizer."""
    import torch

    from ulmfit_lab.data.stream_batches import StreamBatches
    from ulmfit_lab.pipeline.build_models import new_language_model
    from ulmfit_lab.training.steps import autocast, language_model_step

    recipe = config.pretraining
    device = devices.configure_torch(config.compute)
    state = torch.get_rng_state()
    model = new_language_model(config, config.vocabulary.max_size).to(device)
    n_ids = recipe.batch_size * (recipe.bptt * (steps + 1) + 1)
    ids = np.random.default_rng(0).integers(0, config.vocabulary.max_size, n_ids)
    batches = StreamBatches(ids, batch_size=recipe.batch_size, bptt=recipe.bptt, stochastic=False, seed=0)
    step, carry, times = language_model_step(recipe, config.compute.precision), None, []
    for batch in batches.epoch(0):
        began = time.perf_counter()
        with autocast(device, config.compute.precision):
            loss, carry, _ = step(model, batch.to(device), carry)
        loss.backward()
        times.append(time.perf_counter() - began)
    torch.set_rng_state(state)
    return recipe.batch_size * recipe.bptt / statistics.median(times[1:])
