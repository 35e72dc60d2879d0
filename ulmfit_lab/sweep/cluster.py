"""Run a sweep as tasks of a Ray cluster (an optional dependency); the tasks themselves are in `ray_tasks`.

Ray schedules the tasks and detects dead workers and nodes; the tasks use the same file locks as local processes.

All nodes need the same code, the same data and the same home, mounted under the same path on a file system whose locks
(flock) work across machines and are released when a machine dies.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from ulmfit_lab.config.schema import ComputeConfig
from ulmfit_lab.experiment.plan import PlannedRun
from ulmfit_lab.pipeline.devices import device_type
from ulmfit_lab.pipeline.store import Stage, StageStore
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.optuna_study import open_study
from ulmfit_lab.sweep.ray_tasks import CellTask, needs, run_in_worker, submit
from ulmfit_lab.sweep.runner import RunResult, SweepContext, close_abandoned, sweep_name
from ulmfit_lab.tracking.tracker import Tracker
from ulmfit_lab.utils.errors import ConfigError, first_line
from ulmfit_lab.utils.home import Home, redact

DEATHS = 3
"""Number of worker deaths after which a run counts as failed."""
LOOK_SECONDS = 5.0
"""Interval at which nodes are counted again while no run ends."""
GRACE_SECONDS = 30.0
"""Time that interrupted tasks have to end their runs."""


@dataclass(frozen=True)
class RayCluster:
    """A connected Ray cluster; its `run` is an engine for `sweep`."""

    ray: Any
    gpus: float | None
    """GPUs for each stage that computes on one."""
    tracker: Tracker
    display: ProgressDisplay
    most: int | None = None
    """Maximum number of concurrent runs (default: as many as fit)."""
    running: dict[Any, PlannedRun] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    """Fingerprints of stages known to be finished."""

    def room(self, compute: ComputeConfig) -> int:
        """Number of runs with this config that fit on the cluster, ignoring other users of the nodes."""
        wanted = needs(compute, self.gpus)
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        room = int(sum(min(node.get(name, 0) // amount for name, amount in wanted.items()) for node in nodes))
        return room if self.most is None else min(room, self.most)

    def check(self, compute: ComputeConfig) -> int:
        """Return `room`; raises ConfigError if it is 0, or if several machines would share a SQLite store."""
        hosts = {node["NodeManagerAddress"] for node in self.ray.nodes() if node["Alive"]}
        if len(hosts) > 1 and self.tracker.uri.startswith("sqlite"):
            raise ConfigError(f"{len(hosts)} machines cannot share a SQLite file; give a --tracking-uri for all.")
        room = self.room(compute)
        if not room:
            wanted = " and ".join(f"{amount:g} {name}" for name, amount in needs(compute, self.gpus).items())
            raise ConfigError(f"No node has {wanted} for a run; change --compute.threads or --gpus-per-run.")
        return room

    def run(self, todo: Iterator[PlannedRun], job: SweepContext) -> Iterator[RunResult]:
        """Execute all runs, no more at once than fit; a run whose worker dies is retried."""
        deaths: Counter[str] = Counter()
        waiting, store = list(todo), StageStore(job.home.stages)
        with shared_mark(job.home) as mark:
            while True:
                for planned in self.next_ones(waiting, store):
                    compute = planned.run_spec.config.compute
                    task = CellTask(planned, job, self.tracker.uri, mark, device_type(compute), self.gpus)
                    cpus = {"CPU": float(compute.threads)}  # GPUs are requested by its stages
                    self.running[submit(self.ray, run_in_worker, planned.run_spec.label, cpus, task)] = planned
                if not self.running:
                    return
                ended, _ = self.ray.wait(list(self.running), timeout=LOOK_SECONDS)
                for ref in ended:
                    planned = self.running.pop(ref)
                    found = self.result(ref, planned)
                    if isinstance(found, RunResult):
                        yield found
                        continue
                    deaths[planned.stage.fingerprint] += 1
                    self.close_dead_run(planned, job)
                    if deaths[planned.stage.fingerprint] < DEATHS:
                        self.display.say(f"{planned.run_spec.label}: its worker died ({found}); retrying.")
                        waiting.insert(0, planned)
                    else:
                        yield RunResult(planned.run_spec.label, failure=f"{found}: its worker died {DEATHS} times")

    def next_ones(self, waiting: list[PlannedRun], store: StageStore) -> Iterator[PlannedRun]:
        """Remove from `waiting` the runs to start now, and yield them.

        A run that needs a stage that is being computed is not started, since it would hold CPUs while it waits. At
        least one run is started, even if other sweeps compute all its stages.
        """
        making = {each for planned in self.running.values() for each in self.missing_inputs(planned.stage, store)}
        room = cache(self.room)
        for planned in list(waiting):
            if self.running and len(self.running) >= room(planned.run_spec.config.compute):
                return
            missing_inputs = self.missing_inputs(planned.stage, store)
            if missing_inputs & making or (self.running and store.busy(planned.stage)):
                continue
            waiting.remove(planned)
            making |= missing_inputs
            yield planned

    def missing_inputs(self, stage: Stage, store: StageStore) -> set[str]:
        """Fingerprints of the inputs of a stage, direct or indirect, that have to be computed first."""
        found: set[str] = set()
        for each in stage.inputs.values():
            if each.fingerprint in self.stored:
                continue
            if store.find(each):
                self.stored.add(each.fingerprint)
            else:
                found |= {each.fingerprint, *self.missing_inputs(each, store)}
        return found

    def result(self, ref: Any, planned: PlannedRun) -> RunResult | str:
        """The result of a run, or the reason why it must be retried."""
        errors = self.ray.exceptions
        try:
            found: RunResult | str = self.ray.get(ref)
            return found
        except errors.RayTaskError as error:
            return RunResult(planned.run_spec.label, failure=f"{type(error.cause).__name__}: {error.cause}")
        except errors.RayError as error:
            return type(error).__name__

    def close_dead_run(self, planned: PlannedRun, job: SweepContext) -> None:
        """Close the run and the trial of a dead worker."""
        name, scale = job.experiment.name, planned.run_spec.scale
        close_abandoned(job.experiment, scale, job.home, self.tracker, open_study(job.home, sweep_name(name, scale)))

    def leave(self) -> None:
        """Cancel the running tasks and wait until they have ended their runs."""
        for ref in self.running:
            self.ray.cancel(ref)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=GRACE_SECONDS)


@contextmanager
def connect(
    address: str, gpus: float | None, tracker: Tracker, display: ProgressDisplay, most: int | None = None
) -> Iterator[RayCluster]:
    """Connect to a cluster by address or as "auto", or start one on this machine with "local".

    gpus: GPUs for each stage that uses one; most: maximum number of concurrent runs (default: as many as fit)

    Raises ConfigError if Ray is not installed, no cluster answers, or Ray cannot allocate this number of GPUs.
    """
    if gpus is not None and not (0 < gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
        raise ConfigError(f"--gpus-per-run {gpus:g} must be a fraction of one GPU or a whole number.")
    with is_connected(address) as ray:
        cluster = RayCluster(ray, gpus, tracker, display, most)
        try:
            yield cluster
        finally:
            with suppress(ray.exceptions.RayError):
                cluster.leave()


@contextmanager
def is_connected(address: str) -> Iterator[Any]:
    """The ray module, connected to a cluster; raises ConfigError if it is not installed or no cluster answers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray starts
    try:
        import ray
        import ray.exceptions  # noqa: F401 - used as an attribute of ray
        from setproctitle import getproctitle, setproctitle
    except ImportError as error:
        raise ConfigError("A sweep on a cluster needs Ray: pip install ulmfit_lab[cluster]") from error
    setproctitle(redact(getproctitle()))  # Ray keeps the command line, and a tracking URI may hold a password
    try:
        wait_for_answer(address)
        ray.init(address, log_to_driver=False, logging_level="ERROR", include_dashboard=None)
    except (OSError, ValueError, RuntimeError) as error:
        why = first_line(error)
        hint = 'start one ("ray start --head"), or use --cluster local'
        raise ConfigError(f"Cannot connect to a Ray cluster at {address!r} ({why}); {hint}.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def wait_for_answer(address: str) -> None:
    """Raise OSError if nothing listens at host:port; Ray itself would take minutes to fail."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def shared_mark(home: Home) -> Iterator[Path]:
    """A file in the home that exists while a sweep runs: workers that see it share the home."""
    home.locks.mkdir(parents=True, exist_ok=True)
    mark = home.locks / f"{uuid4().hex}.shared"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
