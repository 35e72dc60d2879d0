"""Tasks of a sweep in the workers of a Ray cluster.

One task tracks a run. It submits each missing stage as a task of its own, which requests only the resources of that
stage: text processing requests no GPU. Ray frees the CPUs of a task that waits for others.
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
    """A run, and what a worker needs to execute it."""

    planned: PlannedRun
    job: SweepContext
    uri: str
    """Address of the tracking store."""
    mark: Path
    """File in the home that exists during the sweep (see `shared_mark`)."""
    device: str
    """Device type for which the sweep was planned."""
    gpus: float | None
    """GPUs for each stage that computes on one."""

    @property
    def compute(self) -> ComputeConfig:
        """Compute config of the run."""
        return self.planned.run_spec.config.compute


class WorkerDied(BaseException):
    """The worker that computed a stage died; the run is retried."""


def needs(compute: ComputeConfig, gpus: float | None) -> dict[str, float]:
    """Ray resources of a network; raises ConfigError for a numbered GPU, since Ray assigns GPUs."""
    if ":" in compute.device:
        raise ConfigError(f"compute.device = {compute.device!r}: Ray chooses the GPU on a cluster; use cuda.")
    return resources(compute, device_type(compute), gpus)


def stage_needs(stage: Stage, compute: ComputeConfig, gpus: float | None) -> dict[str, float]:
    """Ray resources of a stage.

    The device is taken from the stage's key, in which `auto` was resolved when the sweep was planned: the task of the
    run has no GPU. A stage without a device in its key uses the CPU.
    """
    planned: Mapping[str, Any] = stage.key.get("compute", {})
    return resources(compute, planned.get("device", "cpu"), gpus)


def resources(compute: ComputeConfig, device: str, gpus: float | None) -> dict[str, float]:
    """One CPU per thread, and `gpus` (default 1) on CUDA."""
    share = {"GPU": 1.0 if gpus is None else gpus} if device == "cuda" else {}
    return {"CPU": float(compute.threads), **share}


def submit(ray: Any, function: Any, name: str, wanted: Mapping[str, float], *arguments: Any) -> Any:
    """Submit a task, without retries by Ray: the run has to be closed before a retry."""
    how = {"num_cpus": wanted["CPU"], "num_gpus": wanted.get("GPU", 0), "max_retries": 0}
    return ray.remote(function).options(name=name, **how).remote(*arguments)


def run_in_worker(task: CellTask) -> RunResult | str:
    """Execute a run in a worker; returns its result, or the reason why it must be retried.

    Raises DataError if the worker does not share the home.
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
    """Return a stage from the store, after tasks have computed what is missing.

    Raises the exception of a failed task, or WorkerDied.
    """
    found = store.find(stage)
    if found is None:
        for upstream in stage.inputs.values():
            obtain_by_tasks(upstream, store, observer, task)
        computed = outcome(stage, observer.log.run_id, task)
        found = store.find(stage)
        if found is None:
            raise DataError(f"Stage {stage.kind} {stage.fingerprint} was computed but is not in {store.root}.")
        if computed:
            observer.finished(stage, found)
            return found
    observer.reused(stage, found)
    return found


def outcome(stage: Stage, run_id: str, task: CellTask) -> bool:
    """Compute a stage in a task; returns False if another process computed it in the meantime."""
    import ray
    import ray.exceptions

    wanted = stage_needs(stage, task.compute, task.gpus)
    ref = submit(ray, compute_in_worker, f"{stage.kind} of {task.planned.run_spec.label}", wanted, stage, run_id, task)
    try:
        return bool(ray.get(ref))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.TaskCancelledError as error:  # this task is about to be cancelled too
        raise KeyboardInterrupt from error
    except ray.exceptions.RayError as error:
        raise WorkerDied(f"{type(error).__name__}, while it computed {stage.kind} {stage.fingerprint}") from error


def compute_in_worker(stage: Stage, run_id: str, task: CellTask) -> bool:
    """Compute a stage in a worker and log its curves into a run; returns False if the stage existed.

    Raises DataError if the worker does not share the home, or has another device than planned.
    """
    check_shared_home(task)
    if "compute" in stage.key and (here := device_type(task.compute)) != task.device:
        node = os.uname().nodename
        raise DataError(f"{node} computes on {here}, not on {task.device}; give --compute.device {task.device}.")
    log = tracker_of(task.job.home, task.uri).log_of(run_id)
    with allow_interrupts(), log.machine_load(go_on=True):
        try:
            observer = CurveObserver(log, task.planned.stage)
            return not StageStore(task.job.home.stages).get_or_compute(stage, observer).reused
        finally:
            log.flush()


def check_shared_home(task: CellTask) -> None:
    """Raise DataError if this worker does not share the home."""
    if not task.mark.exists():
        home = task.job.home.root
        raise DataError(f"{os.uname().nodename} does not share the home {home}; mount it under this path.")


@cache
def tracker_of(home: Home, uri: str) -> Tracker:
    """The tracker, opened once per worker."""
    return open_tracker(home, uri)


@cache
def study_of(home: Home, name: str) -> Study:
    """A study, opened once per worker."""
    return open_study(home, name)
