"""Metrics of finished runs; metrics that were added after a run ended are computed from its stored predictions."""

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
    """Compute the metrics that a finished run lacks; empty if the store does not have its last stage."""
    wanted = [prefix + metric.name for metric in prediction_metrics() for prefix in ("final/", "final/valid_")]
    if run.status != "FINISHED" or "final/error" not in run.metrics or run.metrics.keys() >= set(wanted):
        return {}
    folders = [store.root / kind / run.fingerprint for kind in KINDS if run.fingerprint]
    stored = next((each for each in (read_stage(folder, reused=True) for folder in folders) if each), None)
    found = load_prediction_metrics(stored.folder) if stored else {}
    return {f"final/{name}": value for name, value in found.items() if f"final/{name}" not in run.metrics}


def add_new_metrics(run: TrackedRun, store: StageStore) -> TrackedRun:
    """Return a run with the metrics that it lacked."""
    new = new_metrics(run, store)
    return replace(run, metrics=run.metrics | new) if new else run


def keep_metrics(runs: Iterable[TrackedRun], store: StageStore, tracker: Tracker) -> list[TrackedRun]:
    """Return runs with the metrics that they lacked, and log these."""
    found = []
    for run in runs:
        new = new_metrics(run, store)
        if new:
            tracker.log_of(run.run_id).log_final(new)
        found.append(replace(run, metrics=run.metrics | new))
    return found


def measured_value(run: TrackedRun, measure: RunMetric) -> float:
    """Return a metric of a finished run in the unit of reports; raise IncompleteError if it has no finite value."""
    if not math.isfinite(run.metrics.get(measure.name, math.nan)):
        raise IncompleteError(
            f"Run {run.origin} ({run.name}) has no finite {measure.name} and no stored stage to compute it from; run "
            f"ulmfit-lab reproduce {run.origin} --keep-stages"
        )
    return run.metrics[measure.name] * measure.scale


def check_measurable(experiment: str, variant: str, config: RunConfig, measure: RunMetric) -> None:
    """Raise ConfigError if runs of this config cannot have the metric; called before training."""
    if measure.name.startswith("final/holdout_") and not (config.target.holdout and config.last_stage == "classifier"):
        raise ConfigError(f"{experiment}: {variant!r} has no holdout, and so no {measure.name}; set target.holdout.")
    last = CLASSIFIER if config.last_stage == "classifier" else LANGUAGE_MODEL
    if measure.name.startswith("final/lm_"):
        has_model = config.classifier.model == "awd-lstm" and config.classifier.init in ("pretrained", "fine-tuned")
        if last == CLASSIFIER and not has_model:
            raise ConfigError(f"{experiment}: {variant!r} has no language model, and so no {measure.name}.")
    elif last not in measure.metric.models:
        raise ConfigError(
            f"{experiment}: {variant!r} ends at a {last}, which has no {measure.name}; use 'final/valid_loss'."
        )
