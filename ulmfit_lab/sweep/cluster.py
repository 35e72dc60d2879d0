"""Run a sweep's cells as tasks of a Ray cluster, which is an optional extra; what the tasks do is in `ray_tasks`.

Ray only places the tasks, and tells when a worker or a node died: what they do is what any process of the lab does,
and they keep out of each other's way by the same locks.

All nodes need the same code, the same data, and the lab's home as a shared folder: under the same path everywhere, on
a file system whose locks (flock) hold across machines, and fall when the machine that held them is gone.
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
"""Times that a cell's worker may die before the cell counts as failed."""
LOOK_SECONDS = 5.0
"""How often the cluster is looked at for nodes that came or went while no cell ends."""
GRACE_SECONDS = 30.0
"""What cells that are interrupted have to end their runs."""


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster that this process has joined; its `run` is an engine for `sweep`."""

    ray: Any
    gpus: float | None
    """GPUs for each stage that computes on one."""
    tracker: Tracker
    display: ProgressDisplay
    most: int | None = None
    """How many cells may run at once, where not as many as there is room for."""
    running: dict[Any, PlannedRun] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    """Fingerprints of stages that were found finished: they are looked for once."""

    def room(self, compute: ComputeConfig) -> int:
        """How many cells that compute so may run at once, as if nobody else used the nodes."""
        wanted = needs(compute, self.gpus)
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        room = int(sum(min(node.get(name, 0) // amount for name, amount in wanted.items()) for node in nodes))
        return room if self.most is None else min(room, self.most)

    def check(self, compute: ComputeConfig) -> int:
        """The room for cells that compute so; raises ConfigError where there is none, or no store that all can use."""
        hosts = {node["NodeManagerAddress"] for node in self.ray.nodes() if node["Alive"]}
        if len(hosts) > 1 and self.tracker.uri.startswith("sqlite"):
            raise ConfigError(
                f"{len(hosts)} machines cannot share MLflow's SQLite file; give a --tracking-uri for all."
            )
        room = self.room(compute)
        if not room:
            wanted = " and ".join(f"{amount:g} {name}" for name, amount in needs(compute, self.gpus).items())
            raise ConfigError(f"No node has {wanted} for a run; change --compute.threads or --gpus-per-run.")
        return room

    def run(self, todo: Iterator[PlannedRun], job: SweepContext) -> Iterator[RunResult]:
        """Run every cell, and again where its worker died; no more at once than there is room for."""
        deaths: Counter[str] = Counter()
        waiting, store = list(todo), StageStore(job.home.stages)
        with shared_mark(job.home) as mark:
            while True:
                for planned in self.next_ones(waiting, store):
                    compute = planned.run_spec.config.compute
                    task = CellTask(planned, job, self.tracker.uri, mark, device_type(compute), self.gpus)
                    cpus = {"CPU": float(compute.threads)}  # a GPU is for its stages, one after the other
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
                        self.display.say(f"{planned.run_spec.label}: its worker died ({found}); it is run again.")
                        waiting.insert(0, planned)
                    else:
                        yield RunResult(planned.run_spec.label, failure=f"{found}: its worker died {DEATHS} times")

    def next_ones(self, waiting: list[PlannedRun], store: StageStore) -> Iterator[PlannedRun]:
        """Take the cells to begin now out of those that wait.

        A cell that needs a stage which a running one is still to make waits on: begun now, it would have that stage's
        CPUs held, only to wait for its lock. At least one cell runs, even where other sweeps make all the stages.
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
        """Fingerprints of the stages below a cell's last one that have to be computed first."""
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
        """What became of a cell, or why it is to be run again."""
        errors = self.ray.exceptions
        try:
            found: RunResult | str = self.ray.get(ref)
            return found
        except errors.RayTaskError as error:
            return RunResult(planned.run_spec.label, failure=f"{type(error.cause).__name__}: {error.cause}")
        except errors.RayError as error:
            return type(error).__name__

    def close_dead_run(self, planned: PlannedRun, job: SweepContext) -> None:
        """End the run and the trial that a dead worker left behind."""
        name, scale = job.experiment.name, planned.run_spec.scale
        close_abandoned(name, scale, job.home, self.tracker, open_study(job.home, sweep_name(name, scale)))

    def leave(self) -> None:
        """Interrupt the cells that still run, and let them end their runs."""
        for ref in self.running:
            self.ray.cancel(ref)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=GRACE_SECONDS)


@contextmanager
def connect(
    address: str, gpus: float | None, tracker: Tracker, display: ProgressDisplay, most: int | None = None
) -> Iterator[RayCluster]:
    """A running cluster, by its address or as "auto", or "local" for a new one on this machine.

    most: how many cells may run at once, where not as many as there is room for

    Raises ConfigError where Ray is not installed or no cluster answers, and for GPUs that Ray cannot share out.
    """
    if gpus is not None and not (0 < gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
        raise ConfigError(f"--gpus-per-run {gpus:g} must be a share of one GPU, or a whole number of them.")
    with is_connected(address) as ray:
        cluster = RayCluster(ray, gpus, tracker, display, most)
        try:
            yield cluster
        finally:
            with suppress(ray.exceptions.RayError):
                cluster.leave()


@contextmanager
def is_connected(address: str) -> Iterator[Any]:
    """Ray itself, in touch with a cluster; raises ConfigError where it is not installed or no cluster answers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is started
    try:
        import ray
        import ray.exceptions  # noqa: F401 - an attribute of ray from here on
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
        raise ConfigError(f"No Ray cluster can be joined at {address!r} ({why}); {hint}.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def wait_for_answer(address: str) -> None:
    """Raise OSError where nothing listens at host:port; Ray itself would take minutes to say so."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def shared_mark(home: Home) -> Iterator[Path]:
    """A file in the home that is there while a sweep runs: who sees it, shares the home."""
    home.locks.mkdir(parents=True, exist_ok=True)
    mark = home.locks / f"{uuid4().hex}.shared"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
