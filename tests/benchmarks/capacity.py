"""How many runs a second a tracking store and a cluster's dispatcher take, and what that means for many workers.

    PYTHONPATH=tests python -m benchmarks.capacity --tracking-uri postgresql+psycopg://USER@HOST/DATABASE

Processes make runs that compute nothing, and write to the store what a run of the small scale writes: a trial, params,
tags, curves, a file, final metrics. So many workers as compute for `s` seconds a run ask for workers / s runs a second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ulmfit_lab.config.paths import flatten
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.sweep.cluster import is_connected
from ulmfit_lab.sweep.optuna_study import open_study
from ulmfit_lab.tracking.tracker import open_tracker
from ulmfit_lab.training.loop import POINTS
from ulmfit_lab.training.progress import Point
from ulmfit_lab.utils.errors import ConfigError
from ulmfit_lab.utils.home import Home, open_home

CURVES = 7
"""Values of a point: losses, rates, validation metrics of one stage and another."""
TRIALS = "capacity-tiny"
FACTS = {"variant": "none", "level": "", "seed": 0}


@dataclass(frozen=True)
class Rate:
    """Runs a second that something takes, with so many runs under way."""

    name: str
    running: int
    runs: float

    def shortest(self, workers: int) -> float:
        """Seconds that a run has to take so that these workers do not saturate it.

        >>> Rate("a store", 0, runs=20.0).shortest(1000)
        50.0
        """
        return workers / self.runs

    def __str__(self) -> str:
        at = f" with {self.running:,} running" if self.running else ""
        return f"{self.name}{at}: {self.runs:.3g} runs/s"


def store_rate(home: Home, uri: str, *, processes: int, runs: int, running: int) -> Rate:
    """Runs a second that processes get into a store at once, in whose study so many trials are running."""
    tracker, study = open_tracker(home, uri), open_study(home, TRIALS)
    parent = tracker.open_sweep("capacity", "tiny", uuid4().hex, "How many runs does the store take?", {})
    for _ in range(running - len(study.running())):
        study.begin(uuid4().hex, FACTS)
    context = multiprocessing.get_context("spawn")
    ready, go = context.Semaphore(0), context.Event()
    arguments = (home, uri, parent, runs, ready, go)
    workers = [context.Process(target=make_runs, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    began = time.perf_counter()
    go.set()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise ConfigError("A process of the measurement failed; what it said is above.")
    return Rate(f"store, {processes} processes", running, processes * runs / (time.perf_counter() - began))


def make_runs(home: Home, uri: str, parent: str, runs: int, ready: Any, go: Any) -> None:
    """Make runs that compute nothing."""
    tracker, study = open_tracker(home, uri), open_study(home, TRIALS)
    params, picture = flatten(RunConfig()), home.root / f"{uuid4().hex}.png"
    picture.write_bytes(bytes(50_000))
    curve = [Point(step, 0.0, {f"value{number}": 1.0 for number in range(CURVES)}) for step in range(POINTS)]
    ready.release()
    go.wait()
    for _ in range(runs):
        cell = uuid4().hex
        tracker.runs("capacity", "tiny", "FINISHED", cell)
        trial = study.begin(cell, FACTS)
        with tracker.start_cell(parent, "run", params, {"lab.cell": cell, "experiment": "capacity"}) as log:
            for third in range(3):  # points are written every ten seconds
                log.log_points("classifier", curve[third::3])
                log.flush()
            log.log_artifact(picture)
            log.log_final({f"final/{number}": 0.5 for number in range(15)})
        study.end(trial, 0.5, "COMPLETE")


def nothing() -> None:
    """An empty task."""


def dispatch_rate(tasks: int) -> Rate:
    """Empty tasks a second that a Ray cluster of this machine runs, told one by one as a sweep tells them."""
    with is_connected("local") as ray:
        empty = ray.remote(nothing).options(num_cpus=1)
        ray.get([empty.remote() for _ in range(16)])  # workers are started
        began = time.perf_counter()
        waiting = [empty.remote() for _ in range(tasks)]
        while waiting:
            ended, waiting = ray.wait(waiting, timeout=5)
            ray.get(ended)
        return Rate("Ray, one task at a time", tasks, tasks / (time.perf_counter() - began))


def main() -> None:
    """Measure, and say what follows for so many workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracking-uri", metavar="URI", help="an empty database (default: a SQLite file)")
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="that log at once (default: 4)")
    parser.add_argument("--runs", type=int, default=25, metavar="N", help="of each process (default: 25)")
    parser.add_argument("--workers", type=int, default=1000, metavar="N", help="to work it out for (default: 1000)")
    parser.add_argument("--tasks", type=int, default=1000, metavar="N", help="of Ray; 0: leave Ray out (default: 1000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = open_home(str(Path(folder)), given.tracking_uri)
        uri = given.tracking_uri or f"sqlite:///{folder}/mlflow.db"
        for running in (0, given.workers):
            tell(store_rate(home, uri, processes=given.processes, runs=given.runs, running=running), given.workers)
    if given.tasks:
        tell(dispatch_rate(given.tasks), given.workers)


def tell(rate: Rate, workers: int) -> None:
    """A line on a rate, and on what follows."""
    print(f"{rate}; {workers:,} workers saturate it with runs of {rate.shortest(workers):.3g} s", flush=True)


if __name__ == "__main__":
    main()
