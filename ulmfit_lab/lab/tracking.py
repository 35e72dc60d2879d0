"""Every cell an MLflow run under its sweep's parent run. The only module that imports mlflow.

Runs are addressed by id through `MlflowClient`; the fluent API's active run is never used, since it is neither
safe across threads nor honest about interruptions.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import make_url

from ulmfit_lab.errors import LabError
from ulmfit_lab.lab.home import Home, redact
from ulmfit_lab.lab.interrupts import shielded
from ulmfit_lab.lab.provenance import source_tags

if TYPE_CHECKING:  # the command line's quick commands have no use for torch
    from ulmfit_lab.training.loop import Point

BATCH, FLUSH_SECONDS = 1000, 10.0
"""Most metrics MLflow takes in a call: one alone costs 16 ms, 1,000 together about 110 ms."""
PARAMS_A_BATCH = 100
PAGE = 1000
LONGEST_TAG, LONGEST_DIGEST = 7900, 36  # characters; MLflow refuses tags of more than 8,000
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes the UI open on the runs; without it, it opens on the traces of language model agents."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Client(MlflowClient):  # type: ignore[misc]
    """MLflow's client, whose calls are not interrupted half-way."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return shielded(found) if not name.startswith("_") and inspect.ismethod(found) else found


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
    """Writes one run; as a context manager it ends the run: FINISHED, FAILED with the reason, or KILLED.

    As a context manager it also logs the machine's load (`system/...`), every `system_seconds` from a thread.
    """

    client: MlflowClient
    run_id: str
    system_seconds: float = 10.0
    buffer: list[Metric] = field(default_factory=list)
    flushed: float = field(default_factory=time.monotonic)
    monitor: SystemMetricsMonitor | None = None

    def log_points(self, prefix: str, points: Iterable[Point]) -> None:
        """Points of a curve; names become prefix/name. Written in batches, every few seconds at least."""
        now = round(time.time() * 1000)
        for point in points:
            self.buffer += [Metric(f"{prefix}/{name}", v, now, point.step) for name, v in point.values.items()]
        if len(self.buffer) >= BATCH or time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()

    def log_final(self, values: Mapping[str, float]) -> None:
        """Values that a run ends with."""
        now = round(time.time() * 1000)
        self.buffer += [Metric(name, value, now, 0) for name, value in values.items()]
        self.flush()

    def flush(self) -> None:
        """Write what is buffered; what could not be written stays buffered."""
        while self.buffer:
            self.client.log_batch(self.run_id, metrics=self.buffer[:BATCH])
            del self.buffer[:BATCH]
        self.flushed = time.monotonic()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags, in one call."""
        listed = [RunTag(name, str(value)[:LONGEST_TAG]) for name, value in tags.items()]
        self.client.log_batch(self.run_id, tags=listed)

    def log_inputs(self, inputs: Iterable[tuple[str, str, str, str, Mapping[str, Any]]]) -> None:
        """Data sets: name, content digest (its first 36 characters are kept), source, context and profile."""
        found = [
            DatasetInput(
                Dataset(name, digest[:LONGEST_DIGEST], "local", source or name, profile=json.dumps(dict(profile))),
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

    def finish(self, status: str, reason: str = "") -> None:
        """Write what is buffered and end the run."""
        if self.monitor:
            self.monitor.finish()  # type: ignore[no-untyped-call]
        try:
            self.flush()
            if reason:
                self.set_tags({"lab.reason": reason})
        finally:
            self.client.set_terminated(self.run_id, status)

    def __enter__(self) -> RunLog:
        uri = self.client.tracking_uri
        self.monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            self.run_id, self.system_seconds, tracking_uri=uri
        )
        self.monitor.start()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish("FINISHED")
        elif isinstance(error, Exception):
            try:
                self.log_text("".join(traceback.format_exception(error)), "traceback.txt")
            finally:
                self.finish("FAILED", f"{type(error).__name__}: {error}")
        else:
            self.finish("KILLED", f"{type(error).__name__}: interrupted")


@dataclass(frozen=True)
class Tracker:
    """An MLflow store, seen as experiments, sweeps and cells."""

    client: MlflowClient
    artifacts: Path
    uri: str

    def find_experiment(self, experiment: str, scale: str) -> str | None:
        """The id of the MLflow experiment of an experiment at a scale, if there is one."""
        found = self.client.get_experiment_by_name(title(experiment, scale))
        if found and found.lifecycle_stage == "deleted":
            cure = f"mlflow experiments restore --experiment-id {found.experiment_id}"
            raise LabError(f"{found.name} was deleted in MLflow; restore it ({cure}) or empty the bin (mlflow gc).")
        return str(found.experiment_id) if found else None

    def make_experiment(self, experiment: str, scale: str, description: str) -> str:
        """The same, made if need be."""
        # A server keeps artifacts where it can serve them from; a database's go beside it.
        place = None if self.uri.startswith("http") else self.artifacts.as_uri()
        with self.lock():
            found = self.find_experiment(experiment, scale)
            tags = {**KIND, "mlflow.note.content": description}
            return found or str(self.client.create_experiment(title(experiment, scale), place, tags))

    def lock(self) -> FileLock:
        """Held while something is looked up and made if it is not there."""
        return FileLock(self.artifacts.parent / "mlflow.lock")

    def open_sweep(
        self, experiment: str, scale: str, declaration: str, description: str, tags: Mapping[str, str]
    ) -> str:
        """The parent run of a sweep, running; found again by its declaration."""
        where = self.make_experiment(experiment, scale, description)
        wanted = f"tags.`lab.kind` = 'sweep' and tags.`lab.declaration` = '{declaration}'"
        own = {"lab.kind": "sweep", "lab.declaration": declaration, "experiment": experiment, "scale": scale}
        with self.lock():
            found = self.client.search_runs([where], wanted, max_results=1)
            if found:
                self.client.update_run(found[0].info.run_id, status="RUNNING")
                return str(found[0].info.run_id)
            every = {**tags, **own, **source_tags(tags), "mlflow.note.content": cut(description)}
            run = self.client.create_run(where, run_name=f"{experiment} ({scale})", tags=every)
            return str(run.info.run_id)

    def start_cell(self, parent: str, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> RunLog:
        """A running run for a cell; tags name its experiment, scale, variant, level, seed and `lab.cell`."""
        where = self.client.get_run(parent).info.experiment_id
        note = {"mlflow.note.content": describe_cell(tags)}
        own = {"lab.kind": "cell", "mlflow.parentRunId": parent, **source_tags(tags)}
        run = self.client.create_run(where, run_name=name, tags={**note, **tags, **own})
        listed = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(listed), PARAMS_A_BATCH):
            self.client.log_batch(run.info.run_id, params=listed[start : start + PARAMS_A_BATCH])
        return RunLog(self.client, run.info.run_id)

    def runs(self, experiment: str, scale: str, status: str | None = None, cell: str | None = None) -> list[TrackedRun]:
        """The cells' runs, oldest first; only those of a status, or of one cell, if asked for."""
        where = self.find_experiment(experiment, scale)
        if where is None:
            return []
        wanted = "tags.`lab.kind` = 'cell'" + (f" and attributes.status = '{status}'" if status else "")
        wanted += f" and tags.`lab.cell` = '{cell}'" if cell else ""
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
            # A cell that was alive when it was listed may have ended its run since.
            if not alive(run.cell) and self.client.get_run(run.run_id).info.status == "RUNNING":
                RunLog(self.client, run.run_id).finish("KILLED", "its process ended without closing the run")

    def finish_sweep(self, parent: str, status: str, reason: str = "") -> None:
        """End the parent run of a sweep that is not summarised, such as one with failed cells."""
        RunLog(self.client, parent).finish(status, reason)

    def summarise_sweep(
        self, parent: str, metrics: Mapping[str, float], description: str, artifacts: Sequence[Path], status: str
    ) -> None:
        """Put the comparison on the parent run: means, table, figures."""
        log = RunLog(self.client, parent)
        log.set_tags({"mlflow.note.content": cut(description)})
        for path in artifacts:
            log.log_artifact(path)
        log.log_final(dict(zip(metric_names(metrics), metrics.values(), strict=True)))
        log.finish(status)


def title(experiment: str, scale: str) -> str:
    """Name of the MLflow experiment; without a slash, which the UI takes for a folder."""
    return f"{experiment} ({scale})"


def describe_cell(tags: Mapping[str, str]) -> str:
    """A run's description, in a sentence."""
    level = f" at level {tags['level']}" if tags.get("level") else ""
    whole = f"`{tags.get('experiment', '')}`, scale {tags.get('scale', '')}"
    return f"Variant **{tags.get('variant', '')}**{level}, seed {tags.get('seed', '')}, of {whole}."


def cut(text: str) -> str:
    """As many whole lines of a description as MLflow takes."""
    if len(text) <= LONGEST_TAG:
        return text
    return text[: LONGEST_TAG - 40].rpartition("\n")[0] + "\n\n(cut; the whole is among the files)"


def metric_names(names: Iterable[str]) -> list[str]:
    """A name that MLflow takes for each name, no two the same, and the same ones every time."""
    taken: list[str] = []
    for name in names:
        parts = re.sub(r"[^\w\-. :/]", "_", name).split("/")
        plain = "/".join(part for part in parts if part not in ("", ".", "..")).lstrip(".")[:240] or "_"
        while plain in taken:
            plain += "_"
        taken.append(plain)
    return taken


def tracked(run: Run) -> TrackedRun:
    """MLflow's run as ours."""
    tags = run.data.tags
    named = {name: tags.get(name, "") for name in ("experiment", "scale", "variant", "level")}
    return TrackedRun(
        run_id=run.info.run_id,
        status=run.info.status,
        name=run.info.run_name,
        **named,
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
    """The tracker on a store, which is made and migrated by one process at a time.

    Raises LabError where the store cannot be opened.
    """
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = tracking_uri or home.tracking_uri
    home.artifacts.mkdir(parents=True, exist_ok=True)
    with FileLock(home.root / "mlflow.lock"):
        try:
            client = Client(tracking_uri=uri)
            client.search_experiments(max_results=1)  # the first use migrates, which several at once do not survive
        except MlflowException as error:
            why = str(error).partition("\n")[0]
            raise LabError(f"The MLflow store {redact(uri)} cannot be opened: {redact(why)}") from error
        if uri.startswith("sqlite"):
            write_ahead(make_url(uri).database)
    return Tracker(client, home.artifacts, uri)


def write_ahead(database: str | None) -> None:
    """SQLite's write-ahead log: readers and one writer at once, and shorter waits between writers."""
    connection = sqlite3.connect(database or ":memory:")
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def server_command(home: Home, uri: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of MLflow's server; the store's URI may hold a password, which arguments show."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    stores = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DEFAULT_ARTIFACT_ROOT": home.artifacts.as_uri()}
    return command, {**os.environ, **stores}


def serve(home: Home, tracking_uri: str | None, host: str, port: int) -> int:
    """MLflow's web UI over the store, in the foreground; on loopback unless another address was asked for."""
    uri = open_tracker(home, tracking_uri).uri
    if host not in LOOPBACK:
        print(f"warning: {host} can be reached from other machines, and MLflow asks for no password", file=sys.stderr)
    print(f"MLflow on http://{host}:{port} over {redact(uri)}; Ctrl-C ends it.", flush=True)
    command, environment = server_command(home, uri, host, port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else a kill would leave the server behind
    with subprocess.Popen(command, env=environment) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            return 0
