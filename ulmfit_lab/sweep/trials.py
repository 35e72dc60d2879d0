"""Trials of a search; each seed of a trial is a tracked run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ulmfit_lab.analysis.tuning_table import COMPLETE, DIVERGED, PRUNED
from ulmfit_lab.config.paths import fingerprint, override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.declaration import Experiment, RunSpec, with_language_model
from ulmfit_lab.experiment.plan import PlannedRun
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import Stage
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.optuna_study import FAILED, Search, Trial
from ulmfit_lab.sweep.runner import SweepContext, cell_lock, track_run
from ulmfit_lab.tracking.tracker import Tracker
from ulmfit_lab.utils.errors import LabError, TrainingError
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.locks import hold_lock
from ulmfit_lab.utils.provenance import provenance

TUNING = "-tuning"
"""Suffix of an experiment's name, under which the runs of its search are tracked."""


@dataclass(frozen=True)
class TrialCell(RunSpec):
    """The run of a trial with one seed."""

    trial: int

    @property
    def label(self) -> str:
        """Display name."""
        return f"{self.variant}, trial {self.trial}, seed {self.seed}"

    @property
    def tags(self) -> dict[str, str]:
        """MLflow tags that identify the run."""
        return super().tags | {"trial": str(self.trial)}


@dataclass(frozen=True)
class SearchedVariant:
    """A variant whose hyperparameters are searched."""

    variant: str
    level: Any
    config: RunConfig
    """Config with the current hyperparameters."""
    identity: str
    """Fingerprint of everything that determines its trials, except the first trial's hyperparameters."""
    search: Search
    trials: int
    """Number of its trials: the budget, or all points of its space if there are fewer."""

    @property
    def done(self) -> bool:
        """Whether all its trials are finished."""
        return self.search.done(self.trials)

    @property
    def counted(self) -> list[Trial]:
        """Its finished trials, by number."""
        return self.search.counted()[: self.trials]


@dataclass(frozen=True)
class Tuning:
    """Configuration of a search."""

    experiment: Experiment
    scale: str
    data: Path | None
    home: Home
    tracker: Tracker
    variants: Sequence[SearchedVariant]

    @property
    def name(self) -> str:
        """Name under which its runs are tracked."""
        return self.experiment.name + TUNING

    @property
    def left(self) -> list[SearchedVariant]:
        """Variants with trials to make."""
        return [each for each in self.variants if not each.done]

    def lock(self, what: str) -> Path:
        """Lock file of a variant's search, or of one run."""
        return cell_lock(self.home, self.name, self.scale, what)

    def stage(self, each: SearchedVariant, values: Mapping[str, Any], seed: int) -> Stage:
        """Last stage of a variant's run with these hyperparameters."""
        return final_stage(self.config(each, values, seed), seed, self.data, self.home.imported)

    def config(self, each: SearchedVariant, values: Mapping[str, Any], seed: int) -> RunConfig:
        """Config of a variant's run with these hyperparameters."""
        return with_language_model(self.experiment, override(each.config, values), seed)

    @cached_property
    def parent(self) -> str:
        """Id of the parent run of the search."""
        declared = fingerprint([self.experiment.search.metric, *(each.identity for each in self.variants)])
        about = f"Search of recipes for {self.experiment.name}: {self.experiment.question}"
        return self.tracker.open_sweep(self.name, self.scale, declared, about, provenance())


class CellFailed(LabError):
    """A run failed for another reason than diverged training."""


def search_variants(tuning: Tuning, display: ProgressDisplay, failures: list[tuple[str, str]]) -> list[str]:
    """Search all variants; returns the names of those that other processes are searching."""
    waiting = tuning.left
    while waiting:
        others = [each for each in waiting if not search_variant(tuning, each, display, failures)]
        if len(others) == len(waiting):
            break
        waiting = others
    return [each.variant for each in waiting if not each.done]


def search_variant(
    tuning: Tuning, each: SearchedVariant, display: ProgressDisplay, failures: list[tuple[str, str]]
) -> bool:
    """Run the remaining trials of a variant until one fails; returns False if another process is searching it."""
    try:
        with hold_lock(tuning.lock(each.identity)):
            while trial := each.search.next(each.trials):
                try:
                    run_trial(tuning, each, trial, display)
                except CellFailed as error:
                    each.search.end(trial.number, FAILED)
                    failures.append((f"{each.variant}, trial {trial.number}", str(error)))
                    break
        return True
    except Timeout:
        return False


def run_trial(tuning: Tuning, each: SearchedVariant, trial: Trial, display: ProgressDisplay) -> None:
    """Run the remaining seeds of a trial, until it is pruned or diverges, and close it."""
    seeds = [seed for seed in tuning.experiment.search.seeds if seed not in trial.seeds]
    state = COMPLETE
    for place, seed in enumerate(seeds):
        if each.search.should_prune(trial.number):
            state = PRUNED
            display.passed(len(seeds) - place)
            break
        value = measured(tuning, each, trial, seed, display)
        if not math.isfinite(value):
            state = DIVERGED
            display.passed(len(seeds) - place - 1)
            break
        each.search.report(trial.number, seed, value)
    each.search.end(trial.number, state)
    display.say(format_trial(each, each.search.trials()[trial.number]))


def format_trial(each: SearchedVariant, trial: Trial) -> str:
    """A finished trial as one line."""
    best = (min if each.search.lower_is_better else max)(
        (t.mean for t in each.search.counted() if t.state == COMPLETE), default=math.nan
    )
    values = ", ".join(f"{path} {value}" for path, value in trial.values.items())
    shown = f"{trial.mean:.4f} ({trial.state}), best {best:.4f}"
    return f"{each.variant}, trial {trial.number}: {shown}; {values}"


def measured(tuning: Tuning, each: SearchedVariant, trial: Trial, seed: int, display: ProgressDisplay) -> float:
    """Metric of a trial with one seed, from its finished run or a new one; nan if training diverges.

    Raises CellFailed for any other failure.
    """
    measure = tuning.experiment.search.metric
    config = tuning.config(each, trial.values, seed)
    cell = TrialCell(tuning.name, tuning.scale, each.variant, each.level, seed, config, trial.number)
    stage = tuning.stage(each, trial.values, seed)
    with FileLock(tuning.lock(stage.fingerprint)):
        for run in tuning.tracker.runs(cell.experiment, cell.scale, "FINISHED", stage.fingerprint):
            if cell.tags.items() <= run.tags.items() and measure in run.metrics:
                display.passed(1)
                return run.metrics[measure]
        display.cell(cell)
        planned = PlannedRun(cell, stage, is_done=False)
        asked = replace(tuning.experiment, metric=measure)
        result = track_run(planned, SweepContext(asked, tuning.parent, tuning.home), tuning.tracker, display)
    display.cell_done(result.name, result.failure, result.metric)
    if result.failure.startswith(f"{TrainingError.__name__}:"):
        return math.nan
    if result.failure or result.metric is None:
        raise CellFailed(result.failure or f"The run has no metric {measure}.")
    return result.metric
