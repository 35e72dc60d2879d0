"""Tracking of runs in MLflow, each under its sweep's parent run. The only module that imports mlflow.

Runs are addressed by id through `MlflowClient`; the fluent API's active run is not thread-safe.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # `retry` retries, and can be interrupted
# connections that each worker keeps open; a database has few
os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "1")

from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from ulmfit_lab.tracking.moved_home import old_places, repoint
from ulmfit_lab.tracking.names import (
    KIND,
    LONGEST_TAG,
    NOTE,
    REPRODUCTIONS,
    deleted_experiment,
    describe_cell,
    format_title,
    metric_names,
    truncate,
)
from ulmfit_lab.tracking.records import (
    IMPORTED,
    LOGGED_ONCE,
    LoggedMetric,
    MeanRun,
    TrackedRun,
    as_tracked_run,
    restore_infinity,
)
from ulmfit_lab.tracking.views import VERDICT_PAGE, page_of, pages_of, view_tags
from ulmfit_lab.utils.errors import LabError, first_line
from ulmfit_lab.utils.home import Home, redact, sqlite_uri, write_ahead
from ulmfit_lab.utils.interrupts import shield_from_interrupts
from ulmfit_lab.utils.provenance import source_tags, version_of
from ulmfit_lab.utils.retry import is_connection_error, retry

if TYPE_CHECKING:  # imports torch, which is slow
    from ulmfit_lab.training.progress import Point

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
BATCH, FLUSH_SECONDS, SYSTEM_SECONDS = 900, 10.0, 10.0
"""Metrics per call (MLflow's limit, with tags, is 1,000); 1 takes 16 ms, 1,000 take 110 ms."""
PARAMS_A_BATCH, PAGE = 100, 1000
PARENT = "tags.`mlflow.parentRunId`"
LONGEST_DIGEST = 36  # characters

REFUSALS = {
    "UNAUTHENTICATED": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "PERMISSION_DENIED": "grant access to this user (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD)",
    "password": "put user and password into the address, or set PGUSER and PGPASSWORD",
    "readonly database": "set ULMFIT_LAB_HOME to a writable folder",
}
"""Error code or text of a store -> what to do."""


class Client(MlflowClient):  # type: ignore[misc]
    """MLflow's client; calls are shielded from interrupts and retried while the store is unavailable.

    Raises LabError if the store denies access.
    """

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not inspect.ismethod(found):
            return found
        return permitted(retry(shield_from_interrupts(found)))


def permitted(call: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function to raise LabError with a hint if the store denies access."""

    @wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except (MlflowException, SQLAlchemyError) as error:
            if hint := suggest_fix(error):
                raise LabError(f"The MLflow store denies access: {redact(first_line(error))}; {hint}.") from error
            raise

    return wrapper


def suggest_fix(error: MlflowException | SQLAlchemyError) -> str:
    """What to do if a store denies access; empty for other errors."""
    text = f"{getattr(error, 'error_code', '')} {error}"
    return next((hint for words, hint in REFUSALS.items() if words in text), "")


@dataclass
class RunLog:
    """Logs one run; as a context manager it ends the run as FINISHED, FAILED with the reason, or KILLED."""

    client: MlflowClient
    run_id: str
    buffer: list[Metric] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    flushed: float = field(default_factory=time.monotonic)
    away: bool = False
    name: str = ""
    about: str = ""
    page: str = ""
    """Path of its page in the UI."""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log params; they cannot be changed afterwards."""
        listed = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(listed), PARAMS_A_BATCH):
            self.client.log_batch(self.run_id, params=listed[start : start + PARAMS_A_BATCH])

    def log_points(self, prefix: str, points: Iterable[Point]) -> None:
        """Log points of a curve as `prefix/name`, in batches at least every `FLUSH_SECONDS`.

        While the store is unavailable, points are buffered.
        """
        now = round(time.time() * 1000)
        for point in points:
            self.buffer += [Metric(f"{prefix}/{name}", v, now, point.step) for name, v in point.values.items()]
        if time.monotonic() - self.flushed > FLUSH_SECONDS or (len(self.buffer) >= BATCH and not self.away):
            try:
                self._write(shield_from_interrupts(partial(MlflowClient.log_batch, self.client)))
            except Exception as error:
                if not is_connection_error(error):
                    raise
                self.away, self.flushed = True, time.monotonic()

    def log_final(self, values: Mapping[str, float]) -> None:
        """Log final metrics and flush."""
        now = round(time.time() * 1000)
        self.buffer += [Metric(name, value, now, 0) for name, value in values.items()]
        self.flush()

    def flush(self) -> None:
        """Write buffered metrics and tags; on failure they stay buffered."""
        self._write(self.client.log_batch)

    def _write(self, log_batch: Callable[..., object]) -> None:
        while self.buffer or self.tags:
            tags = [RunTag(name, value) for name, value in self.tags.items()]
            log_batch(self.run_id, metrics=self.buffer[:BATCH], tags=tags)
            del self.buffer[:BATCH]
            self.tags.clear()
        self.away, self.flushed = False, time.monotonic()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; they are buffered and written with the next metrics."""
        self.tags.update({name: str(value)[:LONGEST_TAG] for name, value in tags.items()})

    def log_inputs(self, inputs: Iterable[tuple[str, str, str, str, Mapping[str, Any]]]) -> None:
        """Log data sets: name, digest (truncated to 36 characters), source, context and profile."""
        found = [
            DatasetInput(
                Dataset(name, digest[:LONGEST_DIGEST], "local", source or name, profile=json.dumps(dict(profile))),
                [InputTag("mlflow.data.context", context)],
            )
            for name, digest, source, context, profile in inputs
        ]
        # MLflow fails if another process adds a data set at the same time; after each failure one more exists
        for _ in found:
            with suppress(MlflowException):
                self.client.log_inputs(self.run_id, found)
                return
        self.client.log_inputs(self.run_id, found)

    def log_text(self, text: str, name: str) -> None:
        """Log a text artifact."""
        self.client.log_text(self.run_id, text, name)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file as artifact."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def finish(self, status: str, reason: str = "", end: int | None = None) -> None:
        """Flush and end the run; end: time in milliseconds (default: now)."""
        try:
            if reason:
                self.set_tags({"lab.reason": reason})
            self.flush()
        finally:
            self.client.set_terminated(self.run_id, status, end)

    @contextmanager
    def machine_load(self, every: float = SYSTEM_SECONDS, *, go_on: bool = False) -> Iterator[None]:
        """Log system metrics (`system/...`) from a thread, every `every` seconds.

        go_on: continue the step count of an earlier process
        """
        monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            self.run_id, every, resume_logging=go_on, tracking_uri=self.client.tracking_uri
        )
        monitor.start()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            monitor.finish()  # type: ignore[no-untyped-call]

    def __enter__(self) -> RunLog:
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
    """Experiments, sweeps and runs in an MLflow store."""

    client: MlflowClient
    artifacts: Path
    uri: str

    def find_experiment(self, experiment: str, scale: str) -> str | None:
        """Id of the MLflow experiment of an experiment at a scale, if it exists; raises LabError if it was deleted."""
        found = self.client.get_experiment_by_name(format_title(experiment, scale))
        if found and found.lifecycle_stage == "deleted":
            raise deleted_experiment(found.name, found.experiment_id, self.uri)
        return str(found.experiment_id) if found else None

    def make_experiment(self, experiment: str, scale: str, description: str) -> str:
        """The same, created if it does not exist."""
        # a server chooses its own artifact location
        place = None if self.uri.startswith("http") else self.artifacts.as_uri()
        with self.lock():
            found = self.find_experiment(experiment, scale)
            tags = {**KIND, NOTE: description}
            return found or str(self.client.create_experiment(format_title(experiment, scale), place, tags))

    def pages(self) -> dict[str, dict[str, str]]:
        """Experiment -> name -> path of its pages in the UI."""
        found = [each for each in self.client.search_experiments() if KIND.items() <= each.tags.items()]
        return {str(each.name): pages_of(str(each.experiment_id), each.tags) for each in found}

    def lock(self) -> FileLock:
        """Lock for creating what does not exist."""
        return FileLock(self.artifacts.parent / "mlflow.lock")

    def open_sweep(
        self, experiment: str, scale: str, declaration: str, description: str, tags: Mapping[str, str]
    ) -> str:
        """Find the parent run of a sweep by its declaration, or create it; set it RUNNING and return its id."""
        where = self.make_experiment(experiment, scale, description)
        wanted = f"tags.`lab.kind` = 'sweep' and tags.`lab.declaration` = '{declaration}'"
        own = {"lab.kind": "sweep", "lab.declaration": declaration, "experiment": experiment, "scale": scale}
        with self.lock():
            found = self.client.search_runs([where], wanted, max_results=1)
            if found:
                self.client.update_run(found[0].info.run_id, status="RUNNING")
                return str(found[0].info.run_id)
            every = {**tags, **own, **source_tags(tags), NOTE: truncate(description)}
            run = self.client.create_run(where, run_name=f"{experiment} ({scale})", tags=every)
            return str(run.info.run_id)

    def is_finished(self, run_id: str) -> bool:
        """Whether a run, such as the parent run of a sweep, is FINISHED."""
        return bool(self.client.get_run(run_id).info.status == "FINISHED")

    def start_cell(self, parent: str, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> RunLog:
        """Start a run; tags hold experiment, scale, variant, level, seed and fingerprint (`lab.cell`)."""
        own = {"lab.kind": "cell", "mlflow.parentRunId": parent}
        return self._start(self.client.get_run(parent).info.experiment_id, name, params, {**tags, **own})

    def rename(self, run: TrackedRun, name: str, tags: Mapping[str, str]) -> None:
        """Change the name and tags of a run, and its description accordingly."""
        new = {key: value for key, value in tags.items() if run.tags.get(key, "") != value}
        if new:
            about = run.tags.get(NOTE, "").replace(describe_cell(run.tags), describe_cell({**run.tags, **tags}), 1)
            self.client.update_run(run.run_id, name=name)
            log = self.log_of(run.run_id)
            log.set_tags(new | {NOTE: about})
            log.flush()

    def log_of(self, run_id: str) -> RunLog:
        """Log into a run that another process starts and ends."""
        return RunLog(self.client, run_id)

    def start_reproduction(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> RunLog:
        """Start a reproduction of a run, in a separate experiment."""
        where = self.make_experiment(REPRODUCTIONS, "", "Reproductions of tracked runs")
        return self._start(where, name, params, {**tags, "lab.kind": "reproduction"})

    def _start(self, where: str, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> RunLog:
        about = describe_cell(tags)
        run = self.client.create_run(where, run_name=name, tags={NOTE: about, **tags, **source_tags(tags)})
        run_id = str(run.info.run_id)
        log = RunLog(self.client, run_id, name=name, about=about, page=page_of(where, run_id))
        log.log_params(params)
        return log

    def runs(self, experiment: str, scale: str, status: str | None = None, cell: str | None = None) -> list[TrackedRun]:
        """Runs of a sweep, oldest first; `cell`: only those with this fingerprint."""
        where = self.find_experiment(experiment, scale)
        wanted = "tags.`lab.kind` = 'cell'" + (f" and attributes.status = '{status}'" if status else "")
        wanted += f" and tags.`lab.cell` = '{cell}'" if cell else ""
        return self._search([where], wanted) if where else []

    def has_runs(self, experiment: str, scale: str) -> bool:
        """Whether a run of the sweep is tracked."""
        where, wanted = self.find_experiment(experiment, scale), "tags.`lab.kind` = 'cell'"
        return bool(where and self.client.search_runs([where], wanted, ViewType.ACTIVE_ONLY, max_results=1))

    def find_runs(self, prefix: str) -> list[TrackedRun]:
        """Runs of all experiments whose id, or original id if imported, has this prefix."""
        everywhere = [str(each.experiment_id) for each in self.client.search_experiments()]
        ids = ("attributes.run_id", f"tags.`{IMPORTED}`")
        found = [self._search(everywhere, f"tags.`lab.kind` = 'cell' and {name} LIKE '{prefix}%'") for name in ids]
        return list({run.run_id: run for run in (*found[0], *found[1])}.values())

    def _search(self, where: Sequence[str], wanted: str) -> list[TrackedRun]:
        found: list[TrackedRun] = []
        token = None
        while True:
            page = self.client.search_runs(
                list(where), wanted, ViewType.ACTIVE_ONLY, PAGE, ["attributes.start_time ASC"], token
            )
            found += [as_tracked_run(run) for run in page]
            token = page.token
            if not token:
                return found

    def declaration_of(self, parent: str) -> str:
        """Declaration of a sweep's parent run."""
        return str(self.client.get_run(parent).data.tags["lab.declaration"])

    def histories(self, run: TrackedRun) -> dict[str, list[LoggedMetric]]:
        """Metric -> its history, for metrics that are logged more than once."""
        names = [name for name in run.metrics if not name.startswith(LOGGED_ONCE)]
        found = {name: self.client.get_metric_history(run.run_id, name) for name in names}
        return {name: [(m.step, restore_infinity(m.value), m.timestamp) for m in found[name]] for name in names}

    def import_run(
        self,
        parent: str,
        run: TrackedRun,
        histories: Mapping[str, Sequence[LoggedMetric]],
        texts: Mapping[str, str],
    ) -> None:
        """Import a run under a parent run; it becomes FINISHED after all data is written.

        texts: artifacts by name

        Raises LabError if MLflow rejects its data.
        """
        where = self.client.get_run(parent).info.experiment_id
        own = {"lab.kind": "cell", "mlflow.parentRunId": parent, IMPORTED: run.origin}
        tags = {NOTE: describe_cell(run.tags), **run.tags, **own}
        once = {name: [(0, value, run.end or run.start)] for name, value in run.metrics.items()}
        points = [(name, *point) for name, listed in {**once, **histories}.items() for point in listed]
        run_id = ""
        try:
            short = {name: value[:LONGEST_TAG] for name, value in tags.items()}
            run_id = self.client.create_run(where, run.start, short, run.name).info.run_id
            log = RunLog(self.client, run_id)
            log.log_params(run.params)
            log.log_inputs((*data, {}) for data in run.inputs)
            log.buffer += [Metric(name, value, when, step) for name, step, value, when in points]
            log.flush()
            for name, text in texts.items():
                log.log_text(text, name)
            self.client.set_terminated(run_id, run.status, run.end)
        except BaseException as error:
            if run_id:
                self.client.set_terminated(run_id, "KILLED")
            if isinstance(error, MlflowException):
                why = first_line(error)
                raise LabError(f"Run {run.origin} cannot be imported; MLflow says: {why}") from error
            raise

    def log_model(
        self, run_id: str, folder: Path, loader: str, inputs: Sequence[str], outputs: Mapping[str, str], name: str = ""
    ) -> str:
        """Log a model of texts as artifact of a run, and register it if it has a name; returns its URI.

        loader: module that loads the folder; inputs: text columns; outputs: column -> MLflow's type

        Raises LabError if MLflow rejects it.
        """
        with warnings.catch_warnings(action="ignore"):  # slow to import
            from mlflow.models import ModelSignature
            from mlflow.pyfunc import save_model
            from mlflow.types import ColSpec, Schema
        columns = Schema([ColSpec(kind, column) for column, kind in outputs.items()])
        signature = ModelSignature(Schema([ColSpec("string", column) for column in inputs]), columns)
        known: dict[str, Any] = {"signature": signature, "input_example": example_rows(inputs)}
        known["pip_requirements"] = [f"ulmfit-lab=={version_of('ulmfit-lab')}".removesuffix("==")]
        try:
            if name and not self.client.search_registered_models(f"name = '{name}'"):
                self.client.create_registered_model(name)
            with tempfile.TemporaryDirectory(prefix="ulmfit-lab-") as place:
                save_model(f"{place}/model", loader, str(folder), **known)
                self.client.log_artifacts(run_id, f"{place}/model", "model")
            if not name:
                return f"runs:/{run_id}/model"
            source = f"{self.client.get_run(run_id).info.artifact_uri}/model"
            return f"models:/{name}/{self.client.create_model_version(name, source, run_id).version}"
        except MlflowException as error:
            why = first_line(error)
            raise LabError(f"The model of run {run_id} cannot be logged; MLflow says: {why}") from error

    def close_abandoned(self, experiment: str, scale: str, alive: Callable[[str], bool]) -> None:
        """Mark as KILLED the running runs that are not alive."""
        for run in self.runs(experiment, scale, "RUNNING"):
            # it may have ended since it was listed
            if not alive(run.fingerprint) and self.client.get_run(run.run_id).info.status == "RUNNING":
                RunLog(self.client, run.run_id).finish("KILLED", "its process ended without closing the run")

    def finish_sweep(self, parent: str, status: str, reason: str = "") -> None:
        """End the parent run of a sweep without a summary."""
        RunLog(self.client, parent).finish(status, reason)

    def log_means(self, parent: str, means: Iterable[MeanRun]) -> None:
        """Put runs of means under a sweep's parent run, in place of those of an earlier report."""
        where = str(self.client.get_run(parent).info.experiment_id)
        for old in self.client.search_runs([where], f"tags.`lab.kind` = 'mean' and {PARENT} = '{parent}'"):
            self.client.delete_run(old.info.run_id)
        now = round(time.time() * 1000)
        for mean in means:
            tags = {"lab.kind": "mean", "mlflow.parentRunId": parent, "variant": mean.variant, "level": mean.level}
            tags |= {"verdict": mean.verdict}
            run = self.client.create_run(where, run_name=mean.name, tags=tags)
            log = RunLog(self.client, str(run.info.run_id), name=mean.name)
            log.buffer += [Metric(name, value, now, 0) for name, value in mean.metrics.items()]
            log.buffer += [
                Metric(name, value, now, step) for name, points in mean.curves.items() for step, value in points
            ]
            log.finish("FINISHED")

    def show(self, parent: str, measure: str, about: str) -> None:
        """Set the default view of a sweep's experiment, and link to the comparison."""
        where = str(self.client.get_run(parent).info.experiment_id)
        for name, value in view_tags(measure, about, where, parent).items():
            self.client.set_experiment_tag(where, name, value)

    def summarise_sweep(
        self,
        parent: str,
        metrics: Mapping[str, float],
        description: str,
        artifacts: Sequence[Path],
        status: str,
        end: int | None = None,
        page: str = "",
    ) -> None:
        """Log means, tables and figures to the parent run, and end it.

        end: time in milliseconds, that of the last run, so that a later report does not change the sweep's duration
        page: HTML that shows all of it
        """
        log = RunLog(self.client, parent)
        log.set_tags({NOTE: truncate(description)})
        for path in artifacts:
            log.log_artifact(path)
        if page:
            log.log_text(page, VERDICT_PAGE)
        log.log_final(dict(zip(metric_names(metrics), metrics.values(), strict=True)))
        log.finish(status, end=end)


def open_tracker(home: Home, tracking_uri: str | None = None, *, moved: bool = True) -> Tracker:
    """Open a tracking store; it is created and migrated by one process at a time.

    moved: update artifact locations if the home was moved

    Raises LabError if the store cannot be opened.
    """
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = tracking_uri or home.tracking_uri
    if home.unwritable:
        return open_to_read(home, uri)
    home.artifacts.mkdir(parents=True, exist_ok=True)
    with FileLock(home.root / "mlflow.lock"):
        initialize_store(uri)  # migrations must not run concurrently
        if uri.startswith("sqlite"):
            write_ahead(make_url(uri).database)
        if uri == home.own_uri and moved and (places := old_places(home)):
            repoint(home)
            logger.warning("This home was moved: its artifacts are now in %s, not in %s.", home.artifacts, places[0])
    return Tracker(Client(tracking_uri=uri), home.artifacts, uri)


def example_rows(inputs: Sequence[str]) -> list[dict[str, str]]:
    """Two example rows for a model's signature.

    >>> example_rows(["text"])
    [{'text': 'A text.'}, {'text': 'Another.'}]
    """
    return [dict.fromkeys(inputs, text) for text in ("A text.", "Another.")]


def open_to_read(home: Home, uri: str) -> Tracker:
    """Open a read-only home; its SQLite store is neither locked nor migrated."""
    if uri == home.own_uri:
        if not home.runs_database.is_file():
            hint = "set ULMFIT_LAB_HOME to another folder"
            raise LabError(f"{home.root} has no runs, and {home.unwritable} is not writable; {hint}.")
        uri = sqlite_uri(home.runs_database, read_only=True)
    initialize_store(uri)
    return Tracker(Client(tracking_uri=uri), home.artifacts, uri)


def initialize_store(uri: str) -> None:
    """Create or migrate a store; raises LabError if it cannot be opened."""
    try:
        # fail fast: MLflow retries a wrong database address for minutes
        if uri.startswith("postgresql"):
            check_connection(uri)
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        why = f"{redact(first_line(error))}; {suggest_fix(error) or 'see ulmfit-lab doctor'}"
        raise LabError(f"The MLflow store {redact(uri)} cannot be opened: {why}") from error
    except ImportError as error:
        hint = "pip install 'ulmfit_lab[cluster]', and let the address begin with postgresql+psycopg://"
        raise LabError(f"The MLflow store {redact(uri)} cannot be opened ({error}); {hint}") from error


def check_connection(uri: str) -> None:
    """Raise SQLAlchemyError if a database does not answer, ImportError if its driver is not installed."""
    engine = create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()
