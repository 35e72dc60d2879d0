"""What a sweep's tasks do in the workers of a Ray cluster.

A cell's task keeps the cell's run. Every stage that is not there yet it hands to a task of its own, which asks for
what that stage needs: words are counted without a GPU, whatever the cell's network is trained on. While it waits for
one, its own CPUs are free (Ray gives back the CPUs of a task that waits for others).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from ulmfit_lab.config.schema import ComputeConfig
from ulmfit_lab.experiment.plan import PlannedRun
from ulmfit_lab.pipeline.devices import device_type
from ulmfit_lab.pipeline.store import Stage, StageResult, StageStore
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.optuna_study import Study, open_study
from ulmfit_lab.sweep.runner import CellObserver, CurveObserver, RunResult, SweepContext, attempt, sweep_name
from ulmfit_lab.tracking.tracker import Tracker, open_tracker
from ulmfit_lab.utils.errors import ConfigError, DataError
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.interrupts import allow_interrupts


@dataclass(frozen=True)
class CellTask:
    """A cell, and what a worker must know to run it."""

    planned: PlannedRun
    job: SweepContext
    uri: str
    """Of the tracking store."""
    mark: Path
    """A file that is there: who sees it, shares the home."""
    device: str
    """What the sweep was planned to compute on."""
    gpus: float | None
    """GPUs for each stage that computes on one."""

    @property
    def compute(self) -> ComputeConfig:
        """Where the cell's networks compute."""
        return self.planned.run_spec.config.compute


class WorkerDied(BaseException):
    """The worker that computed a stage is no more; no fault of the run, which is to be run again."""


def needs(compute: ComputeConfig, gpus: float | None) -> dict[str, float]:
    """Ray's resources for a network that computes so; raises ConfigError for a GPU by number: Ray gives them out."""
    if ":" in compute.device:
        raise ConfigError(f"compute.device = {compute.device!r}: Ray chooses the GPU on a cluster; use cuda.")
    return resources(compute, device_type(compute), gpus)


def stage_needs(stage: Stage, compute: ComputeConfig, gpus: float | None) -> dict[str, float]:
    """The same for a stage, of which only those that say so in their key compute where networks do.

    The key names the device that `auto` stood for when the sweep was planned; a cell's task, which has no GPU, does not
    see it.
    """
    planned: Mapping[str, Any] = stage.key.get("compute", {})
    return resources(compute, planned.get("device", "cpu"), gpus)


def resources(compute: ComputeConfig, device: str, gpus: float | None) -> dict[str, float]:
    """As many CPUs as threads, and a GPU or so many for what computes on one."""
    share = {"GPU": 1.0 if gpus is None else gpus} if device == "cuda" else {}
    return {"CPU": float(compute.threads), **share}


def submit(ray: Any, function: Any, name: str, wanted: Mapping[str, float], *arguments: Any) -> Any:
    """Hand a task to Ray, which is not to start it again by itself: its run has to be closed before."""
    how = {"num_cpus": wanted["CPU"], "num_gpus": wanted.get("GPU", 0), "max_retries": 0}
    return ray.remote(function).options(name=name, **how).remote(*arguments)


def run_in_worker(task: CellTask) -> RunResult | str:
    """Run a cell in a worker; what became of it, or why it is to be run again.

    Raises DataError where the worker does not share the home.
    """
    check_shared_home(task)
    job, cell = task.job, task.planned.run_spec
    tracker, study = tracker_of(job.home, task.uri), study_of(job.home, sweep_name(cell.experiment, cell.scale))

    def obtain(stage: Stage, store: StageStore, observer: CellObserver) -> StageResult:
        return obtain_by_tasks(stage, store, observer, task)

    try:
        with allow_interrupts():
            return attempt(task.planned, job, tracker, study, ProgressDisplay(Console(file=StringIO())), obtain)
    except WorkerDied as death:
        return str(death)


def obtain_by_tasks(stage: Stage, store: StageStore, observer: CellObserver, task: CellTask) -> StageResult:
    """A stage from the store, after tasks have computed what there is to compute.

    Raises what computing raised, and WorkerDied.
    """
    found = store.find(stage)
    if found is None:
        for upstream in stage.inputs.values():
            obtain_by_tasks(upstream, store, observer, task)
        computed = outcome(stage, observer.log.run_id, task)
        found = store.find(stage)
        if found is None:
            raise DataError(f"Stage {stage.kind} {stage.fingerprint} was computed and is not in {store.root}.")
        if computed:
            observer.finished(stage, found)
            return found
    observer.reused(stage, found)
    return found


def outcome(stage: Stage, run_id: str, task: CellTask) -> bool:
    """Have a task compute a stage; whether it did, and not another one meanwhile."""
    import ray
    import ray.exceptions

    wanted = stage_needs(stage, task.compute, task.gpus)
    ref = submit(ray, compute_in_worker, f"{stage.kind} of {task.planned.run_spec.label}", wanted, stage, run_id, task)
    try:
        return bool(ray.get(ref))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.TaskCancelledError as error:  # as this task is about to be
        raise KeyboardInterrupt from error
    except ray.exceptions.RayError as error:
        raise WorkerDied(f"{type(error).__name__}, while it computed {stage.kind} {stage.fingerprint}") from error


def compute_in_worker(stage: Stage, run_id: str, task: CellTask) -> bool:
    """Compute a stage in a worker, its curves going to a run as they come; whether it was not there already.

    Raises DataError where the worker does not share the home, or has another device than the sweep was planned for.
    """
    check_shared_home(task)
    if "compute" in stage.key and (here := device_type(task.compute)) != task.device:
        node = os.uname().nodename
        raise DataError(f"{node} computes on {here}, not on {task.device}; give --compute.device {task.device}.")
    log = tracker_of(task.job.home, task.uri).log_of(run_id)
    with allow_interrupts(), log.machine_load(go_on=True):
        try:
            return (
                not StageStore(task.job.home.stages)
                .get_or_compute(stage, CurveObserver(log, task.planned.stage))
                .reused
            )
        finally:
            log.flush()


def check_shared_home(task: CellTask) -> None:
    """Raise DataError in a worker that does not share the home."""
    if not task.mark.exists():
        home = task.job.home.root
        raise DataError(f"{os.uname().nodename} does not share the home {home}; mount it under this path.")


@cache
def tracker_of(home: Home, uri: str) -> Tracker:
    """The tracker, opened once in a worker's life."""
    return open_tracker(home, uri)


@cache
def study_of(home: Home, name: str) -> Study:
    """A study, opened once in a worker's life."""
    return open_study(home, name)
