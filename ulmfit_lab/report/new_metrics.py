"""What finished runs measured: metrics that the table has got since a run ended are worked out from what it stored."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.pipeline.labelled_data import load_prediction_metrics
from ulmfit_lab.pipeline.store import StageStore, read_stage
from ulmfit_lab.tracking.predictions import KINDS
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.training.metrics import CLASSIFIER, LANGUAGE_MODEL, RunMetric, prediction_metrics
from ulmfit_lab.utils.errors import ConfigError, IncompleteError

if TYPE_CHECKING:
    from ulmfit_lab.tracking.tracker import Tracker


def new_metrics(run: TrackedRun, store: StageStore) -> dict[str, float]:
    """The metrics of a finished run's predictions that it has not got, where the store has its last stage."""
    wanted = [prefix + metric.name for metric in prediction_metrics() for prefix in ("final/", "final/valid_")]
    if run.status != "FINISHED" or "final/error" not in run.metrics or run.metrics.keys() >= set(wanted):
        return {}
    folders = [store.root / kind / run.fingerprint for kind in KINDS if run.fingerprint]
    stored = next((each for each in (read_stage(folder, reused=True) for folder in folders) if each), None)
    found = load_prediction_metrics(stored.folder) if stored else {}
    return {f"final/{name}": value for name, value in found.items() if f"final/{name}" not in run.metrics}


def add_new_metrics(run: TrackedRun, store: StageStore) -> TrackedRun:
    """A run with all metrics of its predictions."""
    new = new_metrics(run, store)
    return replace(run, metrics=run.metrics | new) if new else run


def keep_metrics(runs: Iterable[TrackedRun], store: StageStore, tracker: Tracker) -> list[TrackedRun]:
    """The same for runs, their new metrics logged."""
    found = []
    for run in runs:
        new = new_metrics(run, store)
        if new:
            tracker.log_of(run.run_id).log_final(new)
        found.append(replace(run, metrics=run.metrics | new))
    return found


def measured_value(run: TrackedRun, measure: RunMetric) -> float:
    """What a finished run measured, in the unit that reports show; raises IncompleteError where it did not."""
    if not math.isfinite(run.metrics.get(measure.name, math.nan)):
        raise IncompleteError(
            f"Run {run.origin} ({run.name}) has no finite {measure.name}, nor a stage here to work it out; make it "
            f"again: ulmfit-lab reproduce {run.origin} --keep-stages"
        )
    return run.metrics[measure.name] * measure.scale


def check_measurable(experiment: str, variant: str, config: RunConfig, measure: RunMetric) -> None:
    """Raise ConfigError where a run of this config cannot have a measure, before anything is trained."""
    if measure.name.startswith("final/holdout_") and not (config.target.holdout and config.last_stage == "classifier"):
        raise ConfigError(f"{experiment}: {variant!r} has no holdout, and so no {measure.name}; set target.holdout.")
    last = CLASSIFIER if config.last_stage == "classifier" else LANGUAGE_MODEL
    if measure.name.startswith("final/lm_"):
        read = config.classifier.model == "awd-lstm" and config.classifier.init in ("pretrained", "fine-tuned")
        if last == CLASSIFIER and not read:
            raise ConfigError(f"{experiment}: {variant!r} has no language model, and so no {measure.name}.")
    elif last not in measure.metric.models:
        hint = "final/valid_loss"
        raise ConfigError(f"{experiment}: {variant!r} ends at a {last}, which has no {measure.name}; measure {hint!r}.")
