"""Run the cells of an experiment that have no finished run, each once, whatever happened before.

The list of cells is ours; MLflow holds their runs and Optuna a study of them. A cell is done when a FINISHED run
with its fingerprint is tracked. Two processes may sweep at once: a lock per cell keeps them out of each other's way,
and it falls with the process that held it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from ulmfit_lab.analysis.interim import replay_looks
from ulmfit_lab.config.paths import flatten
from ulmfit_lab.experiment.confounds import check_confounds
from ulmfit_lab.experiment.declaration import Changes, Experiment, RunSpec, declaration
from ulmfit_lab.experiment.plan import TRAINED, Plan, PlannedRun, Throughput, make_plan, plan_runs
from ulmfit_lab.experiment.precision import resolve_precision
from ulmfit_lab.experiment.replication import direction_of
from ulmfit_lab.experiment.report_inputs import check_looks_unchanged, looks_tag, make_report_spec
from ulmfit_lab.experiment.run_names import name_runs, run_tags
from ulmfit_lab.pipeline.labelled_data import load_prediction_metrics
from ulmfit_lab.pipeline.store import VERSIONS, Observer, Stage, StageResult, StageStore
from ulmfit_lab.report.new_metrics import add_new_metrics, check_measurable, keep_metrics, measured_value
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.tracking.lineage import add_origins, read_origin, save_origin
from ulmfit_lab.tracking.names import NOTE
from ulmfit_lab.tracking.records import DIVERGED
from ulmfit_lab.tracking.sqlite_reader import RunReader
from ulmfit_lab.training.metrics import find_metric
from ulmfit_lab.training.progress import Point, Progress
from ulmfit_lab.utils.errors import ConfigError, DataError, TrainingError, suggest
from ulmfit_lab.utils.files import parse_number
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.interrupts import allow_interrupts
from ulmfit_lab.utils.locks import hold_lock, is_locked
from ulmfit_lab.utils.provenance import provenance

if TYPE_CHECKING:  # a command that only reads does without MLflow and Optuna
    from ulmfit_lab.sweep.optuna_study import Study
    from ulmfit_lab.tracking.tracker import RunLog, Tracker

PREFIX = {"pretrained": "pretraining", "fine-tuned": "fine_tuning", "classifier": "classifier"}
"""Stage kind -> what its metrics are called in a run."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep did."""

    plan: Plan
    finished: int
    failures: tuple[tuple[str, str], ...]
    """Name and reason of every cell that failed."""
    in_other_processes: int
    """Cells that another process was running."""
    parent: str
    computed_seconds: float
    reused_seconds: float
    diverged: tuple[tuple[str, str], ...] = ()
    """Name and reason of every finished run of the plan whose training diverged, whoever made it."""


class CurveObserver(Observer):
    """Passes the curves of a cell's stages on to its run."""

    def __init__(self, log: RunLog, last: Stage) -> None:
        self.log, self.last = log, last

    def point(self, stage: Stage, point: Point) -> None:
        """Log the point as it comes."""
        self.log.log_points(PREFIX[stage.kind] + direction_of(stage, self.last), [point])


class CellObserver(CurveObserver):
    """Passes what happens to a cell's stages on to its run and to the display."""

    def __init__(self, log: RunLog, display: ProgressDisplay, last: Stage) -> None:
        super().__init__(log, last)
        self.display = display
        self.computed: dict[str, StageResult] = {}

    def started(self, stage: Stage) -> None:
        """Show the stage."""
        self.display.stage(stage)

    def progress(self, stage: Stage, progress: Progress) -> None:
        """Show how far it is."""
        self.display.progress(progress)

    def finished(self, stage: Stage, stored: StageResult) -> None:
        """Remember what was computed, not reused, and by which run."""
        self.computed[stage.fingerprint] = stored
        save_origin(stored.folder, self.log.name, self.log.page, self.log.client.tracking_uri)


def plan_sweep(
    experiment: Experiment, scale: str, overrides: Changes | None, home: Home, data: Path | None, reader: RunReader
) -> Plan:
    """What `sweep` would do now; where there are looks, up to the next one.

    Raises ConfigError where variants differ in what they do not declare, and where runs were made by other looks.
    """
    experiment, overrides = resolve_precision(
        experiment, scale, overrides, lambda: reader.runs(experiment.name, scale), home
    )
    check_confounds(experiment, scale, overrides)
    store = StageStore(home.stages)
    runs = reader.runs(experiment.name, scale, status="FINISHED")
    finished = {run.fingerprint: run for run in (add_new_metrics(run, store) for run in runs)}
    planned = plan_runs(experiment, scale, overrides, data, finished, home.imported)
    measure = find_metric(experiment.metric)
    for each in planned:
        check_measurable(experiment.name, each.run_spec.variant, each.run_spec.config, measure)
    if experiment.design.looks:
        check_looks_unchanged((finished[each.stage.fingerprint] for each in planned if each.is_done), experiment)
        found = {describe_run(each.run_spec): finished[each.stage.fingerprint] for each in planned if each.is_done}
        scaled = {cell: measured_value(run, measure) for cell, run in found.items()}
        looks = replay_looks(scaled, make_report_spec(experiment, scale, overrides))
        planned = [each for each in planned if describe_run(each.run_spec) in looks.needed]
        return replace(make_plan(planned, store, Throughput(store)), looks=looks, finished=tuple(runs))
    return replace(make_plan(planned, store, Throughput(store)), finished=tuple(runs))


def describe_run(cell: RunSpec) -> tuple[str, str, int]:
    """A cell as a report knows it."""
    return cell.variant, cell.level_name, cell.seed


def sweep(
    experiment: Experiment,
    scale: str,
    *,
    overrides: Changes | None = None,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    display: ProgressDisplay,
    retries: int = 0,
    before: Callable[[Plan], None] = lambda plan: None,
    engine: Engine | None = None,
) -> SweepResult:
    """Run every missing cell, here or by an engine; a cell that fails is recorded and the sweep goes on.

    Ctrl-C and SIGTERM mark the running cell KILLED; its stages' progress is kept, and the next sweep goes on from it.
    """
    if retries < 0:
        raise ConfigError(f"--retries {retries} must be 0 or more.")
    experiment, overrides = resolve_precision(
        experiment, scale, overrides, lambda: tracker.runs(experiment.name, scale), home
    )
    plan = plan_sweep(experiment, scale, overrides, home, data, tracker)
    keep_metrics(plan.finished, StageStore(home.stages), tracker)
    study = open_study_of(experiment, scale, home) if plan.todo else None
    parent = tracker.open_sweep(
        experiment.name, scale, declaration(experiment, scale, overrides), experiment.question, provenance()
    )
    close_abandoned(experiment.name, scale, home, tracker, study)
    name_runs(plan.finished, plan.planned, tracker)
    display.plan(plan)
    before(plan)
    results: list[RunResult] = []
    job, todo = SweepContext(experiment, parent, home, retries), unblocked_first(plan.todo, StageStore(home.stages))
    stages = {each.run_spec.label: each.stage.ancestry() for each in plan.todo}
    # an engine tells of all its workers, but only of what they have finished
    shown = display.running(plan, hears=display.workers if engine else 1)
    with allow_interrupts(), mark_killed_on_interrupt(tracker, parent), shown:
        here = (attempt(planned, job, tracker, study, display) for planned in todo if study)
        for result in engine(todo, job) if engine else here:
            results.append(result)
            if result.ran:
                display.done(stages[result.name])
            display.cell_done(result.name, result.failure, result.metric)
    failures = [r for r in results if r.failure]
    if failures:
        tracker.finish_sweep(parent, "FAILED", f"{len(failures)} of its runs failed")
    elif all(r.ran for r in results):
        tracker.finish_sweep(parent, "FINISHED")
    return SweepResult(
        plan,
        sum(r.ran and not r.failure for r in results),
        tuple((r.name, r.failure) for r in results if r.failure),
        sum(not r.ran for r in results),
        parent,
        sum(r.computed_seconds for r in results),
        sum(r.reused_seconds for r in results),
        diverged_runs(plan, experiment.name, scale, tracker),
    )


def open_study_of(experiment: Experiment, scale: str, home: Home) -> Study:
    """The Optuna study that records the runs of an experiment at a scale as trials."""
    from ulmfit_lab.sweep.optuna_study import open_study  # imports Optuna, which a finished sweep does without

    lower = find_metric(experiment.metric).lower_is_better
    return open_study(home, sweep_name(experiment.name, scale), lower_is_better=lower)


def diverged_runs(plan: Plan, experiment: str, scale: str, tracker: Tracker) -> tuple[tuple[str, str], ...]:
    """Name and reason of the finished runs of a plan whose training diverged."""
    planned = {each.stage.fingerprint for each in plan.planned}
    runs = tracker.runs(experiment, scale, "FINISHED")
    return tuple((run.name, run.diverged) for run in runs if run.fingerprint in planned and run.diverged)


def unblocked_first(todo: Iterable[PlannedRun], store: StageStore) -> Iterator[PlannedRun]:
    """The cells in order, but those that wait for a stage another process is computing later."""
    waiting = list(todo)
    while waiting:
        planned = next((each for each in waiting if not store.busy(each.stage)), waiting[0])
        waiting.remove(planned)
        yield planned


@dataclass(frozen=True)
class RunResult:
    """What became of a cell."""

    name: str
    ran: bool = True
    failure: str = ""
    metric: float | None = None
    computed_seconds: float = 0.0
    reused_seconds: float = 0.0


@dataclass(frozen=True)
class SweepContext:
    """What a process must know of a sweep to run one of its cells, beside the tracking store."""

    experiment: Experiment
    parent: str
    home: Home
    retries: int = 0


Engine = Callable[[Iterator[PlannedRun], SweepContext], Iterator[RunResult]]
"""Runs cells somewhere else and yields what became of each, in the order in which they end."""


Obtain = Callable[[Stage, StageStore, CellObserver], StageResult]
"""Gets a cell's last stage from the store, where it has it computed first if it must be, and tells the observer."""


def compute_locally(stage: Stage, store: StageStore, observer: CellObserver) -> StageResult:
    """What is to be computed, this process computes."""
    with observer.log.machine_load():
        return store.get_or_compute(stage, observer)


def attempt(
    planned: PlannedRun,
    job: SweepContext,
    tracker: Tracker,
    study: Study,
    display: ProgressDisplay,
    obtain: Obtain = compute_locally,
) -> RunResult:
    """Run a cell; where it fails, as many times more as the job's retries."""
    for _ in range(job.retries + 1):
        result = run_spec(planned, job, tracker, study, display, obtain)
        if not result.failure:
            break
    return result


def run_spec(
    planned: PlannedRun, job: SweepContext, tracker: Tracker, study: Study, display: ProgressDisplay, obtain: Obtain
) -> RunResult:
    """Run a cell unless another process does, or has since the sweep was planned."""
    cell, stage, home = planned.run_spec, planned.stage, job.home
    try:
        with hold_lock(cell_lock(home, cell.experiment, cell.scale, stage.fingerprint)):
            if tracker.runs(cell.experiment, cell.scale, "FINISHED", stage.fingerprint):
                return RunResult(cell.label, ran=False)
            display.cell(cell)
            facts = {"variant": cell.variant, "level": cell.level, "seed": cell.seed}
            trial = study.begin(stage.fingerprint, facts)
            try:
                result = track_run(planned, job, tracker, display, obtain)
            except BaseException:
                study.end(trial, None, "FAIL")
                raise
            study.end(trial, result.metric, "FAIL" if result.failure else "COMPLETE")
            return result
    except Timeout:
        return RunResult(cell.label, ran=False)


def track_run(
    planned: PlannedRun, job: SweepContext, tracker: Tracker, display: ProgressDisplay, obtain: Obtain = compute_locally
) -> RunResult:
    """Compute a cell's stages inside an MLflow run that holds all there is to know of it."""
    cell, stage, experiment, store = planned.run_spec, planned.stage, job.experiment, StageStore(job.home.stages)
    tags = {**run_tags(planned.run_specs), "lab.cell": stage.fingerprint, **looks_tag(experiment), **provenance()}
    params = flatten(cell.config) | {"seed": cell.seed}
    log = tracker.start_cell(job.parent, planned.run_specs[0].label, params, tags)
    observer = CellObserver(log, display, stage)
    try:
        with log:
            log.log_inputs(data_inputs(stage))
            last = obtain(stage, store, observer)
            values = log_stages(log, stage, store, observer)
            final = final_values(last, values)
            log.log_final(final)
            check_metric_measured(experiment, final)
            for path in pictures_and_texts(stage, last, store):
                log.log_artifact(path)
    except Exception as error:
        return RunResult(cell.label, failure=f"{type(error).__name__}: {error}")
    return RunResult(
        cell.label,
        metric=final[experiment.metric],
        computed_seconds=final["cost/computed_seconds"],
        reused_seconds=final["cost/reused_seconds"],
    )


def data_inputs(stage: Stage) -> list[tuple[str, str, str, str, dict[str, Any]]]:
    """Name, digest, source, context and profile of every text that a cell's stage is made from."""
    roles = {"texts": "training", "test": "testing", "corpus": "language model", "general": "word vectors"}
    found: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {}
    for consumer in stage.ancestry():
        for role, upstream in consumer.inputs.items():
            if upstream.kind == "tokens":
                source = upstream.compute.keywords["source"]  # type: ignore[attr-defined]
                name = Path(source.path).name if source.path else f"{source.name} {source.split}"
                digest = str(upstream.key["digest"])[:16]
                found.setdefault(upstream.fingerprint, (name, digest, source.path, roles.get(role, role), {}))
    return list(found.values())


def log_stages(log: RunLog, stage: Stage, store: StageStore, observer: CellObserver) -> dict[str, float]:
    """Log every stage's fingerprint, and the curves of those that were there already; returns what it all cost."""
    computed = sum(stored.seconds for stored in observer.computed.values())
    reused, tags, values = 0.0, {}, {}
    digests: dict[str, str] = {}
    origins: list[str] = []
    diverged: list[str] = []
    began: dict[str, float] = {}
    for each in stage.ancestry():
        stored = store.find(each)
        if stored is None and each.kind == "tokens":
            continue  # what was made from them was imported (see `stage_archive`)
        if stored is None:
            raise DataError(f"Stage {each.kind} {each.fingerprint} has gone from the store while it was in use.")
        fresh = each.fingerprint in observer.computed
        reused += 0.0 if fresh else stored.seconds
        if each.kind in TRAINED or each.kind == "vectors":
            name = each.kind + direction_of(each, stage)
            tags[f"stage.{name}"] = each.fingerprint
            tags[f"stage.{name}.version"] = str(VERSIONS[each.kind])
            tags[f"stage.{name}.how"] = "computed" if fresh else "reused"
            if each is not stage:
                origins.append(read_origin(stored.folder, name, fresh, log.client.tracking_uri))
            began |= averaging(stored, each, PREFIX.get(each.kind, "") + direction_of(each, stage))
            diverged += [f"{name}: {stored.summary['diverged']}"] if "diverged" in stored.summary else []
        if each.kind in PREFIX and not fresh:
            log.log_points(PREFIX[each.kind] + direction_of(each, stage), stored.points())
        if each.kind == "vocabulary":
            digests[each.fingerprint] = tags["vocabulary"] = str(stored.summary["digest"])
        if each.kind in ("pretrained", "fine-tuned"):
            tags["vocabulary"] = digests[each.inputs["vocabulary"].fingerprint]
            # a language model is told of by its validation metrics, those of the last one in the run
            values = {f"final/lm_{name}": value for name, value in valid_metrics(stored).items()}
    about = log.about
    if diverged:
        tags[DIVERGED] = "; ".join(diverged)
        about += f"\n\n**Diverged**: {tags[DIVERGED]}"
    log.set_tags(tags | {NOTE: add_origins(about, origins)})
    return values | began | {"cost/computed_seconds": computed, "cost/reused_seconds": reused}


def averaging(stored: StageResult, stage: Stage, prefix: str) -> dict[str, float]:
    """The step at which a stage that was trained with NT-ASGD began to average, -1 where it never did."""
    if stage.key.get("fit", {}).get("optimizer") != "nt-asgd":
        return {}
    began = stored.summary.get("averaging_began")
    return {f"final/{prefix}_averaging_began": float(-1 if began is None else began)}


def check_metric_measured(experiment: Experiment, final: Mapping[str, float]) -> None:
    """Fail a run that lacks what the experiment compares, or has no finite one; it would leave a hole in the report."""
    if experiment.metric not in final:
        raise ConfigError(
            f"{experiment.name} measures {experiment.metric!r}, which this run does not have. "
            f"{suggest(experiment.metric, final)}"
        )
    if not math.isfinite(final[experiment.metric]):
        value = final[experiment.metric]
        raise TrainingError(f"{experiment.metric} of this run is {value}; most likely a learning rate is too high.")


def pictures_and_texts(stage: Stage, last: StageResult, store: StageStore) -> list[Path]:
    """The loss curves of every model that was trained for a stage; the stage's own sample texts and confusions."""
    folders = [store.folder(each) for each in stage.ancestry()]
    files = [path for folder in folders for path in sorted(folder.glob("losses-*.png"))]
    return [*files, *last.folder.glob("samples.txt"), *last.folder.glob("confusion.png")]


def valid_metrics(stored: StageResult) -> dict[str, float]:
    """A stage's final metrics on its validation part, without their prefix."""
    final: Mapping[str, float] = stored.summary["final"]
    return {name.removeprefix("valid_"): parse_number(v) for name, v in final.items() if name.startswith("valid_")}


def final_values(last: StageResult, values: dict[str, float]) -> dict[str, float]:
    """A run's last metrics: on the test set, the best on the validation set, the language model's, the cost."""
    found = {**last.summary["final"], **load_prediction_metrics(last.folder)}
    final = {f"final/{name}": parse_number(value) for name, value in found.items()}
    best = {f"best/{name}": parse_number(value) for name, value in last.summary["best"].items() if name != "epoch"}
    return best | final | values


def sweep_name(experiment: str, scale: str) -> str:
    """What an experiment's study and locks at a scale are named after."""
    return f"{experiment}-{scale}"


def cell_lock(home: Home, experiment: str, scale: str, cell: str) -> Path:
    """The file that is locked while a cell runs; another experiment may have a run with the same fingerprint."""
    return home.locks / f"{sweep_name(experiment, scale)}-{cell}.lock"


def is_alive(home: Home, experiment: str, scale: str) -> Callable[[str], bool]:
    """Whether some process is running a cell of an experiment at a scale."""
    return lambda cell: is_locked(cell_lock(home, experiment, scale, cell))


def close_abandoned(experiment: str, scale: str, home: Home, tracker: Tracker, study: Study | None) -> None:
    """End the runs and trials of cells whose process was killed."""
    alive = is_alive(home, experiment, scale)
    tracker.close_abandoned(experiment, scale, alive)
    if study:
        study.reap(alive)


@contextmanager
def mark_killed_on_interrupt(tracker: Tracker, parent: str) -> Iterator[None]:
    """Mark the sweep's parent run KILLED where the sweep does not come to its end."""
    try:
        yield
    except BaseException:
        tracker.finish_sweep(parent, "KILLED", "interrupted")
        raise
