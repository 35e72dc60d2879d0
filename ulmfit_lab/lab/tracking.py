"""Every cell an MLflow run under its sweep's parent run. The only module that imports mlflow.

Runs are addressed by id through `MlflowClient`; the fluent API's active run is never used, since it is neither
safe across threads nor honest about interruptions.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import mlflow
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.tracking import MlflowClient

from ulmfit_lab.lab.home import Home
from ulmfit_lab.report.curves import draw_curves
from ulmfit_lab.training.loop import Point

FLUSH_POINTS, FLUSH_SECONDS = 900, 10.0
"""Metrics are written in batches (MLflow takes 1,000): one call costs 16 ms, a batch of 1,000 about 110 ms."""
PARAMS_A_BATCH = 100
PAGE = 1000


@dataclass(frozen=True)
class TrackedRun:
    """A cell's run as it is tracked."""

    run_id: str
    status: str
    name: str
    experiment: str
    scale: str
    variant: str
    level: str
    seed: int
    cell: str
    parent: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    start: int
    end: int | None


@dataclass
class RunLog:
    """Writes one run; as a context manager it ends the run: FINISHED, FAILED with the reason, or KILLED."""

    client: MlflowClient
    run_id: str
    buffer: list[Metric] = field(default_factory=list)
    curves: dict[str, list[Point]] = field(default_factory=dict)
    flushed: float = field(default_factory=time.monotonic)

    def log_points(self, prefix: str, points: Iterable[Point]) -> None:
        """Points of a curve; names become prefix/name. Written in batches, every few seconds at least."""
        now = round(time.time() * 1000)
        for point in points:
            self.curves.setdefault(prefix, []).append(point)
            self.buffer += [Metric(f"{prefix}/{name}", v, now, point.step) for name, v in point.values.items()]
        if len(self.buffer) >= FLUSH_POINTS or time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()

    def log_final(self, values: Mapping[str, float]) -> None:
        """Values that a run ends with."""
        now = round(time.time() * 1000)
        self.buffer += [Metric(name, value, now, 0) for name, value in values.items()]
        self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        while self.buffer:
            batch, self.buffer = self.buffer[:PAGE], self.buffer[PAGE:]
            self.client.log_batch(self.run_id, metrics=batch)
        self.flushed = time.monotonic()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags, in one call."""
        self.client.log_batch(self.run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def log_inputs(self, inputs: Iterable[tuple[str, str, str, str, Mapping[str, Any]]]) -> None:
        """Data sets (name, digest, source, context, profile)."""
        found = [
            DatasetInput(
                Dataset(name=name, digest=digest, source_type="local", source=source or name, profile=str(profile)),
                [InputTag("mlflow.data.context", context)],
            )
            for name, digest, source, context, profile in inputs
        ]
        self.client.log_inputs(self.run_id, found)

    def log_text(self, text: str, name: str) -> None:
        """A text artifact."""
        self.client.log_text(self.run_id, text, name)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file as artifact."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def log_figure(self) -> None:
        """The loss curves of all points logged so far, as a picture."""
        if self.curves:
            self.client.log_figure(self.run_id, draw_curves(self.curves), "losses.png")

    def finish(self, status: str, reason: str = "") -> None:
        """Write what is buffered and end the run."""
        self.flush()
        if reason:
            self.client.set_tag(self.run_id, "lab.reason", reason[:5000])
        self.client.set_terminated(self.run_id, status)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish("FINISHED")
        elif isinstance(error, Exception):
            self.log_text("".join(traceback.format_exception(error)), "traceback.txt")
            self.finish("FAILED", f"{type(error).__name__}: {error}")
        else:
            self.finish("KILLED", f"{type(error).__name__}: interrupted")


@dataclass(frozen=True)
class Tracker:
    """An MLflow store, seen as experiments, sweeps and cells."""

    client: MlflowClient
    artifacts: Path
    uri: str

    def experiment_id(self, experiment: str, scale: str, create: bool = True) -> str | None:
        """The MLflow experiment of an experiment at a scale."""
        name = f"{experiment}/{scale}"
        found = self.client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        if not create:
            return None
        with FileLock(self.artifacts.parent / "mlflow.lock"):  # two processes may both have found none
            found = self.client.get_experiment_by_name(name)
            made = found.experiment_id if found else self.client.create_experiment(name, self.artifacts.as_uri())
            return str(made)

    def open_sweep(
        self, experiment: str, scale: str, declaration: str, description: str, tags: Mapping[str, str]
    ) -> str:
        """The parent run of a sweep, found again by its declaration."""
        where = self.experiment_id(experiment, scale)
        wanted = f"tags.`lab.kind` = 'sweep' and tags.`lab.declaration` = '{declaration}'"
        found = self.client.search_runs([where], wanted, max_results=1)
        if found:
            return str(found[0].info.run_id)
        sweep = {
            "lab.kind": "sweep",
            "lab.declaration": declaration,
            "experiment": experiment,
            "scale": scale,
            "mlflow.note.content": description,
            **tags,
        }
        run = self.client.create_run(where, run_name=f"{experiment} ({scale})", tags=sweep)
        return str(run.info.run_id)

    def start_cell(self, parent: str, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> RunLog:
        """A running run for a cell."""
        where = self.client.get_run(parent).info.experiment_id
        every = {"lab.kind": "cell", "mlflow.parentRunId": parent, "mlflow.source.name": "ulmfit-lab", **tags}
        run = self.client.create_run(where, run_name=name, tags=every)
        log = RunLog(self.client, run.info.run_id)
        listed = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(listed), PARAMS_A_BATCH):
            self.client.log_batch(log.run_id, params=listed[start : start + PARAMS_A_BATCH])
        return log

    def runs(self, experiment: str, scale: str, status: str | None = None) -> list[TrackedRun]:
        """The cells' runs, oldest first."""
        where = self.experiment_id(experiment, scale, create=False)
        if where is None:
            return []
        wanted = "tags.`lab.kind` = 'cell'" + (f" and attributes.status = '{status}'" if status else "")
        found: list[TrackedRun] = []
        token = None
        while True:
            page = self.client.search_runs(
                [where], wanted, ViewType.ACTIVE_ONLY, PAGE, ["attributes.start_time ASC"], token
            )
            found += [tracked(run) for run in page]
            token = page.token
            if not token:
                return found

    def close_abandoned(self, experiment: str, scale: str, alive: Callable[[str], bool]) -> None:
        """Mark as KILLED the running runs of cells that no process is running."""
        for run in self.runs(experiment, scale, "RUNNING"):
            if not alive(run.cell):
                RunLog(self.client, run.run_id).finish("KILLED", "its process ended without closing the run")

    def summarise_sweep(
        self, parent: str, metrics: Mapping[str, float], description: str, artifacts: Sequence[Path], status: str
    ) -> None:
        """Put the comparison on the parent run: means, table, figures."""
        log = RunLog(self.client, parent)
        log.set_tags({"mlflow.note.content": description[:7900]})
        for path in artifacts:
            log.log_artifact(path)
        log.log_final({metric_name(name): value for name, value in metrics.items()})
        log.finish(status)


def metric_name(name: str) -> str:
    """A name with nothing in it that MLflow refuses."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def tracked(run: Run) -> TrackedRun:
    """MLflow's run as ours."""
    tags = run.data.tags
    return TrackedRun(
        run_id=run.info.run_id,
        status=run.info.status,
        name=run.info.run_name,
        experiment=tags.get("experiment", ""),
        scale=tags.get("scale", ""),
        variant=tags.get("variant", ""),
        level=tags.get("level", ""),
        seed=int(tags.get("seed", -1)),
        cell=tags.get("lab.cell", ""),
        parent=tags.get("mlflow.parentRunId", ""),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=dict(tags),
        start=run.info.start_time,
        end=run.info.end_time,
    )


def open_tracker(home: Home, tracking_uri: str | None = None) -> Tracker:
    """The tracker on a store, which is made and migrated by one process at a time."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = tracking_uri or home.tracking_uri
    home.artifacts.mkdir(parents=True, exist_ok=True)
    with FileLock(home.root / "mlflow.lock"):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # the first use migrates, which several at once do not survive
        if uri.startswith("sqlite:///"):
            write_ahead(Path(uri.removeprefix("sqlite:///")))
    return Tracker(client, home.artifacts, uri)


def write_ahead(database: Path) -> None:
    """SQLite's write-ahead log: readers and one writer at once, and shorter waits between writers."""
    connection = sqlite3.connect(database)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def redact(uri: str) -> str:
    """A URI without its password."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))


def serve(home: Home, tracking_uri: str | None, host: str, port: int) -> int:
    """MLflow's web UI over the store, in the foreground; on loopback unless another address was asked for."""
    open_tracker(home, tracking_uri)
    uri = tracking_uri or home.tracking_uri
    if host not in ("127.0.0.1", "localhost", "::1"):
        print(f"warning: {host} can be reached from other machines, and MLflow asks for no password", file=sys.stderr)
    print(f"MLflow on http://{host}:{port} over {redact(uri)}; Ctrl-C ends it.")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    return subprocess.run(command, check=False).returncode


__all__ = ["RunLog", "TrackedRun", "Tracker", "mlflow", "open_tracker", "redact", "serve"]
