"""What a sweep will do and cost, before anything is spent.

A stage's time is predicted from the rate at which stages like it were computed here; where there were none, a
few steps of the model are timed first.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Collection, Iterable, Mapping
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
from ulmfit_lab.experiment.run_names import check_seeds_distinct
from ulmfit_lab.pipeline import devices
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import MANIFEST_NAME, Stage, StageStore
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.utils.files import json_text

UNMEASURED: Mapping[str, float] = {
    "tokens": 200_000.0,
    "vocabulary": 1e7,
    "vectors": 150_000.0,
    "encoded": 3_000.0,
}
"""Tokens per second of the stages that no model is trained in, until one of them has been measured here."""

TRAINED = ("pretrained", "fine-tuned", "classifier", "features")


@dataclass(frozen=True)
class PlannedRun:
    """A cell, the stage that holds its numbers, and whether a finished run of it is tracked."""

    run_spec: RunSpec
    stage: Stage
    is_done: bool
    equal_specs: tuple[RunSpec, ...] = ()
    """All declared cells that have its fingerprint, itself among them, in their order; none given: itself alone."""

    @property
    def run_specs(self) -> tuple[RunSpec, ...]:
        """The declared cells that its run stands for; the run bears the name of the first."""
        return self.equal_specs or (self.run_spec,)


@dataclass(frozen=True)
class Plan:
    """Cells of a sweep, and what computing the missing ones takes."""

    planned: tuple[PlannedRun, ...]
    seconds_of: Mapping[str, float]
    """Fingerprint -> predicted seconds of every stage still to compute."""
    reused: Mapping[str, float]
    """Fingerprint -> seconds once spent on every finished stage that a missing cell reuses."""
    looks: SequentialState | None = None
    """How far comparisons are decided, where seeds are added only as long as they are not."""
    finished: tuple[TrackedRun, ...] = ()
    """The finished runs that are tracked."""

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """The cells, but of those that are one run the first alone."""
        return tuple({c.stage.fingerprint: c for c in reversed(self.planned)}.values())[::-1]

    @cached_property
    def todo(self) -> tuple[PlannedRun, ...]:
        """The runs that are not finished."""
        return tuple(c for c in self.runs if not c.is_done)

    @property
    def seconds(self) -> float:
        """Predicted time of the whole sweep."""
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
    """Every declared cell with its stage, and whether its fingerprint is among the finished ones.

    Raises ConfigError where seeds of one variant have one fingerprint.
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


def make_plan(planned: Iterable[PlannedRun], store: StageStore, rates: Throughput) -> Plan:
    """Predict the cost of the cells that are not done; a stage that several of them need counts once.

    Raises DataError where texts are to be read in a language for which something is not installed, and ConfigError
    for a precision that this machine cannot train in.
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
                seconds[stage.fingerprint] = stage.tokens / rates.of(stage, each.run_spec.config)
            elif stage.fingerprint not in missing and (stored := store.find(stage)):
                reused[stage.fingerprint] = stored.seconds
    for language in languages:
        check_language(language)
    return Plan(planned, seconds, reused)


class Throughput:
    """Tokens per second of each kind of stage, measured on this machine."""

    def __init__(self, store: StageStore) -> None:
        self._cache = store.root.parent / "rates.json"
        self._measured = tracked_throughput(store)
        self._timed = measure_throughput(self._cache)

    def of(self, stage: Stage, config: RunConfig) -> float:
        """Tokens per second of a stage: of those like it, else of a few timed steps, else a rule of thumb."""
        like = self._measured.get(similarity(stage.kind, stage.key))
        if like:
            return like
        if stage.kind not in TRAINED or "model" in stage.key:
            return UNMEASURED.get(stage.kind, 20_000.0)
        return self._language_model(config) * (2.0 if stage.kind in ("classifier", "features") else 1.0)

    def _language_model(self, config: RunConfig) -> float:
        """Timed once per size of model; a classifier's steps, which have no output layer, take about half as long."""
        size = config.lm.emb_size, config.lm.hidden_size, config.lm.n_layers, config.vocabulary.max_size
        key = "-".join(map(str, (*size, *vars(config.compute).values())))
        if key not in self._timed:
            self._timed[key] = time_language_model(config)
            with suppress(PermissionError):  # in a home that may only be read it is timed every time
                self._cache.parent.mkdir(parents=True, exist_ok=True)
                self._cache.write_text(json_text(self._timed), encoding="utf-8")
        return self._timed[key]


def measure_throughput(path: Path) -> dict[str, float]:
    """Rates that were timed before; none where the file is absent or torn, since timing again costs a few seconds."""
    try:
        return {
            str(name): float(rate) for name, rate in json.loads(path.read_text(encoding="utf-8")).items() if rate > 0
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def similarity(kind: str, key: Mapping[str, Any]) -> str:
    """What two stages must share for one's rate to predict the other's."""
    lm = key.get("lm", {})
    size = [lm.get(name) for name in ("emb_size", "hidden_size", "n_layers")]
    model = key.get("model") or key.get("fit", {}).get("features")
    return json.dumps([kind, model, size, key.get("compute")], sort_keys=True)


def tracked_throughput(store: StageStore) -> dict[str, float]:
    """Median tokens per second of the finished stages that are alike."""
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
    """Tokens per second of a few training steps of the config's language model, without its optimiser."""
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
