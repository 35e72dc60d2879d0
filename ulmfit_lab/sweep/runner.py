"""Execute the runs of an experiment that are not finished.

Runs are tracked in MLflow and recorded in an Optuna study. A run is done if a FINISHED run with its fingerprint is
tracked. Several processes may sweep at once: each run has a file lock, which is released when its process ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
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
from ulmfit_lab.experiment.registration import register, registered_in, with_registration
from ulmfit_lab.experiment.replication import member_suffixes
from ulmfit_lab.experiment.report_inputs import check_looks_unchanged, looks_tag, make_report_spec
from ulmfit_lab.experiment.run_names import name_runs, run_tags
from ulmfit_lab.pipeline.labelled_data import load_prediction_metrics
from ulmfit_lab.pipeline.store import VERSIONS, Observer, Stage, StageResult, StageStore
from ulmfit_lab.report.new_metrics import add_new_metrics, check_measurable, keep_metrics, measured_value
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.tracking.lineage import add_origins, read_origin, save_origin
from ulmfit_lab.tracking.names import NOTE
from ulmfit_lab.tracking.predictions import FILE, stored_predictions
from ulmfit_lab.tracking.records import DIVERGED, REGISTERED, TrackedRun
from ulmfit_lab.tracking.sqlite_reader import RunReader
from ulmfit_lab.training.metrics import find_metric
from ulmfit_lab.training.progress import Point, Progress
from ulmfit_lab.utils.errors import ConfigError, DataError, TrainingError, suggest
from ulmfit_lab.utils.files import json_text, parse_number
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
    """Outcome of a sweep."""

    plan: Plan
    finished: int
    failures: tuple[tuple[str, str], ...]
    """Name and reason of each failed run."""
    in_other_processes: int
    """Number of runs that another process was executing when the sweep ended."""
    parent: str
    computed_seconds: float
    reused_seconds: float
    diverged: tuple[tuple[str, str], ...] = ()
    """Name and reason of each finished run of the plan whose training diverged, also in earlier sweeps."""


class CurveObserver(Observer):
    """Logs the curves of a run's stages."""

    def __init__(self, log: RunLog, last: Stage) -> None:
        self.log, self.suffixes = log, member_suffixes(last)

    def point(self, stage: Stage, point: Point) -> None:
        """Log a point."""
        self.log.log_points(PREFIX[stage.kind] + self.suffixes.get(stage.fingerprint, ""), [point])


class CellObserver(CurveObserver):
    """Logs the stages of a run and shows their progress."""

    def __init__(self, log: RunLog, display: ProgressDisplay, last: Stage) -> None:
        super().__init__(log, last)
        self.display = display
        self.computed: dict[str, StageResult] = {}

    def started(self, stage: Stage) -> None:
        """Show the stage."""
        self.display.stage(stage)

    def progress(self, stage: Stage, progress: Progress) -> None:
        """Show progress."""
        self.display.progress(progress)

    def finished(self, stage: Stage, stored: StageResult) -> None:
        """Record that this run computed the stage."""
        self.computed[stage.fingerprint] = stored
        save_origin(stored.folder, self.log.name, self.log.page, self.log.client.tracking_uri)


def plan_sweep(
    experiment: Experiment, scale: str, overrides: Changes | None, home: Home, data: Path | None, reader: RunReader
) -> Plan:
    """Plan a sweep, up to the next interim analysis if there are any.

    Raises ConfigError if variants differ in undeclared fields, or if runs were made with other interim analyses.
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
        spec = make_report_spec(experiment, scale, overrides)
        registered = registered_in(reader.runs(experiment.name, scale))
        spec = with_registration(spec, registered, experiment, overrides, f"The tag {REGISTERED}")
        looks = replay_looks(scaled, spec)
        planned = [each for each in planned if describe_run(each.run_spec) in looks.needed]
        return replace(make_plan(planned, store, Throughput(store)), looks=looks, finished=tuple(runs))
    return replace(make_plan(planned, store, Throughput(store)), finished=tuple(runs))


def describe_run(cell: RunSpec) -> tuple[str, str, int]:
    """Variant, level and seed of a run."""
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
    """Execute all missing runs, in this process or by an engine; a failed run does not stop the sweep.

    retries: times that a failed run is repeated; before: called with the plan before the first run

    Ctrl-C and SIGTERM mark the current run KILLED; the next sweep resumes its stages from their checkpoints.
    """
    if retries < 0:
        raise ConfigError(f"--retries {retries} must be 0 or more.")
    experiment, overrides = resolve_precision(
        experiment, scale, overrides, lambda: tracker.runs(experiment.name, scale), home
    )
    plan = plan_sweep(experiment, scale, overrides, home, data, tracker)
    keep_metrics(plan.finished, StageStore(home.stages), tracker)
    # a sweep that was killed after its last run had finished may have left the run's trial
    killed = not all(tracker.is_finished(each) for each in {run.parent for run in plan.finished})
    study = open_study_of(experiment, scale, home) if plan.todo or killed else None
    parent = tracker.open_sweep(
        experiment.name, scale, declaration(experiment, scale, overrides), experiment.question, provenance()
    )
    registered = ""
    if plan.todo and not overrides:
        tracked = tracker.runs(experiment.name, scale)
        registered = register(experiment, scale, overrides, tracked, provenance().get("lab.commit", ""))
    close_abandoned(experiment, scale, home, tracker, study)
    name_runs(plan.finished, plan.planned, tracker)
    display.plan(plan)
    before(plan)
    results: list[RunResult] = []
    job = SweepContext(experiment, parent, home, retries, registered)
    todo = order_runs(plan, StageStore(home.stages), is_alive(home, experiment.name, scale))
    stages = {each.run_spec.label: each.stage.ancestry() for each in plan.todo}
    # an engine reports finished runs of all its workers
    shown = display.running(plan, hears=display.workers if engine else 1)
    with allow_interrupts(), mark_killed_on_interrupt(tracker, parent), shown:
        here = (attempt(planned, job, tracker, study, display) for planned in todo if study)
        for result in engine(todo, job) if engine else here:
            results.append(result)
            if result.ran:
                display.done(stages[result.name])
            display.cell_done(result.name, result.failure, result.metric)
    declared = [each.run_spec.label for each in plan.todo]
    failures = sorted((r for r in results if r.failure), key=lambda result: declared.index(result.name))
    made = tracker.runs(experiment.name, scale, "FINISHED")
    left = unfinished({result.name for result in results if not result.ran}, plan, made)
    if failures:
        tracker.finish_sweep(parent, "FAILED", f"{len(failures)} of its runs failed")
    elif not left:
        tracker.finish_sweep(parent, "FINISHED")
    return SweepResult(
        plan,
        sum(r.ran and not r.failure for r in results),
        tuple((r.name, r.failure) for r in failures),
        len(left),
        parent,
        sum(r.computed_seconds for r in results),
        sum(r.reused_seconds for r in results),
        diverged_runs(plan, made),
    )


def unfinished(names: Container[str], plan: Plan, finished: Iterable[TrackedRun]) -> list[str]:
    """Those of the named runs of a plan that are not finished: other processes are executing them, or were killed."""
    made = {run.fingerprint for run in finished}
    return [
        each.run_spec.label for each in plan.todo if each.run_spec.label in names and each.stage.fingerprint not in made
    ]


def open_study_of(experiment: Experiment, scale: str, home: Home) -> Study:
    """Open the Optuna study of a sweep."""
    from ulmfit_lab.sweep.optuna_study import open_study  # slow to import, and not needed if nothing is left to do

    lower = find_metric(experiment.metric).lower_is_better
    return open_study(home, sweep_name(experiment.name, scale), lower_is_better=lower)


def diverged_runs(plan: Plan, finished: Iterable[TrackedRun]) -> tuple[tuple[str, str], ...]:
    """Name and reason of the finished runs of a plan whose training diverged."""
    planned = {each.stage.fingerprint for each in plan.planned}
    return tuple((run.name, run.diverged) for run in finished if run.fingerprint in planned and run.diverged)


def order_runs(plan: Plan, store: StageStore, alive: Callable[[str], bool]) -> Iterator[PlannedRun]:
    """Yield the missing runs in the order of execution, which is decided anew after each.

    Seed by seed, and within a seed the run with the most to compute first, so that no long run is left for the end.
    Runs that need a stage that another process computes, or will compute for its current run, come last.

    alive: whether a process is executing the run with a fingerprint
    """

    def seconds(run: PlannedRun) -> float:
        return sum(plan.seconds_of.get(stage.fingerprint, 0.0) for stage in run.stage.ancestry())

    waiting = sorted(plan.todo, key=lambda run: (run.run_spec.seed, -seconds(run)))
    while waiting:
        current, free = list[PlannedRun](), list[PlannedRun]()
        for run in waiting:
            (current if alive(run.stage.fingerprint) else free).append(run)
        claimed = {stage.fingerprint for run in current for stage in store.missing(run.stage)}
        candidates = free or current
        chosen = next((run for run in candidates if not is_blocked(run.stage, store, claimed)), candidates[0])
        waiting.remove(chosen)
        yield chosen


def is_blocked(stage: Stage, store: StageStore, claimed: Container[str]) -> bool:
    """Return whether another process computes something that the stage needs, or is about to."""
    return any(each.fingerprint in claimed for each in store.missing(stage)) or store.busy(stage)


@dataclass(frozen=True)
class RunResult:
    """Outcome of a run."""

    name: str
    ran: bool = True
    failure: str = ""
    metric: float | None = None
    computed_seconds: float = 0.0
    reused_seconds: float = 0.0


@dataclass(frozen=True)
class SweepContext:
    """What a process needs to execute runs of a sweep, besides the tracking store."""

    experiment: Experiment
    parent: str
    home: Home
    retries: int = 0
    registered: str = ""
    """The experiment's first declaration, which each run keeps; empty if fields are overridden."""


Engine = Callable[[Iterator[PlannedRun], SweepContext], Iterator[RunResult]]
"""Executes runs elsewhere and yields their results in order of completion."""

Obtain = Callable[[Stage, StageStore, CellObserver], StageResult]
"""Returns a run's last stage, computing it if it is missing, and notifies the observer."""


def compute_locally(stage: Stage, store: StageStore, observer: CellObserver) -> StageResult:
    """Compute a stage in this process."""
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
    """Execute a run; if it fails, retry it up to `job.retries` times."""
    for _ in range(job.retries + 1):
        result = run_spec(planned, job, tracker, study, display, obtain)
        if not result.failure:
            break
    return result


def run_spec(
    planned: PlannedRun, job: SweepContext, tracker: Tracker, study: Study, display: ProgressDisplay, obtain: Obtain
) -> RunResult:
    """Execute a run, unless another process is executing or has finished it."""
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
    """Compute the stages of a run and track it in MLflow."""
    cell, stage, experiment, store = planned.run_spec, planned.stage, job.experiment, StageStore(job.home.stages)
    tags = {**run_tags(planned.run_specs), "lab.cell": stage.fingerprint, **looks_tag(experiment), **provenance()}
    tags |= {REGISTERED: job.registered} if job.registered else {}
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
            if predictions := stored_predictions(last.folder):
                log.log_text(json_text(predictions.to_fields()), FILE)
    except Exception as error:
        return RunResult(cell.label, failure=f"{type(error).__name__}: {error}")
    return RunResult(
        cell.label,
        metric=final[experiment.metric],
        computed_seconds=final["cost/computed_seconds"],
        reused_seconds=final["cost/reused_seconds"],
    )


def data_inputs(stage: Stage) -> list[tuple[str, str, str, str, dict[str, Any]]]:
    """Name, digest, source, context and profile of each text source of a stage."""
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
    """Log the fingerprints of all stages and the curves of reused ones; returns language model metrics and cost."""
    computed = sum(stored.seconds for stored in observer.computed.values())
    reused, tags, values = 0.0, {}, {}
    digests: dict[str, str] = {}
    origins: list[str] = []
    diverged: list[str] = []
    effects: dict[str, float] = {}  # what shows that a manipulation took effect
    for each in stage.ancestry():
        stored = store.find(each)
        if stored is None and each.kind == "tokens":
            continue  # the stages that read them were imported (see `stage_archive`)
        if stored is None:
            raise DataError(f"Stage {each.kind} {each.fingerprint} was deleted from the store while it was in use.")
        fresh, suffix = each.fingerprint in observer.computed, observer.suffixes.get(each.fingerprint, "")
        reused += 0.0 if fresh else stored.seconds
        if each.kind in TRAINED or each.kind == "vectors":
            name = each.kind + suffix
            tags[f"stage.{name}"] = each.fingerprint
            tags[f"stage.{name}.version"] = str(VERSIONS[each.kind])
            tags[f"stage.{name}.how"] = "computed" if fresh else "reused"
            if each is not stage:
                origins.append(read_origin(stored.folder, name, fresh, log.client.tracking_uri))
            effects |= averaging(stored, each, PREFIX.get(each.kind, "") + suffix)
            if "unseen_tokens" in stored.summary:
                effects["final/unseen_tokens"] = float(stored.summary["unseen_tokens"])
            diverged += [f"{name}: {stored.summary['diverged']}"] if "diverged" in stored.summary else []
        if each.kind in PREFIX and not fresh:
            log.log_points(PREFIX[each.kind] + suffix, stored.points())
        if each.kind == "vocabulary":
            digests[each.fingerprint] = tags["vocabulary"] = str(stored.summary["digest"])
        if each.kind in ("pretrained", "fine-tuned"):
            tags["vocabulary"] = digests[each.inputs["vocabulary"].fingerprint]
            values = {f"final/lm_{name}": value for name, value in valid_metrics(stored).items()}
    about = log.about
    if diverged:
        tags[DIVERGED] = "; ".join(diverged)
        about += f"\n\n**Diverged**: {tags[DIVERGED]}"
    log.set_tags(tags | {NOTE: add_origins(about, origins)})
    effects |= loss_gap(store.find(stage))
    return values | effects | {"cost/computed_seconds": computed, "cost/reused_seconds": reused}


def loss_gap(stored: StageResult | None) -> dict[str, float]:
    """Last validation loss minus last training loss of a trained stage; empty if it recorded no such curves."""
    last = {name: value for point in stored.points() for name, value in point.values.items()} if stored else {}
    return {"final/loss_gap": last["valid_loss"] - last["loss"]} if {"valid_loss", "loss"} <= last.keys() else {}


def averaging(stored: StageResult, stage: Stage, prefix: str) -> dict[str, float]:
    """Step at which NT-ASGD started averaging, -1 if never; empty for other optimizers."""
    if stage.key.get("fit", {}).get("optimizer") != "nt-asgd":
        return {}
    began = stored.summary.get("averaging_began")
    return {f"final/{prefix}_averaging_began": float(-1 if began is None else began)}


def check_metric_measured(experiment: Experiment, final: Mapping[str, float]) -> None:
    """Raise ConfigError if a run lacks the experiment's metric, TrainingError if it is not finite."""
    if experiment.metric not in final:
        raise ConfigError(f"This run has no metric {experiment.metric!r}. {suggest(experiment.metric, final)}")
    if not math.isfinite(value := final[experiment.metric]):
        raise TrainingError(f"{experiment.metric} of this run is {value}; most likely a learning rate is too high.")


def pictures_and_texts(stage: Stage, last: StageResult, store: StageStore) -> list[Path]:
    """Files to log: loss curves of all trained stages; sample texts and confusion matrix of the last stage."""
    folders = [store.folder(each) for each in stage.ancestry()]
    files = [path for folder in folders for path in sorted(folder.glob("losses-*.png"))]
    return [*files, *last.folder.glob("samples.txt"), *last.folder.glob("confusion.png")]


def valid_metrics(stored: StageResult) -> dict[str, float]:
    """Final validation metrics of a stage, without their prefix."""
    final: Mapping[str, float] = stored.summary["final"]
    return {name.removeprefix("valid_"): parse_number(v) for name, v in final.items() if name.startswith("valid_")}


def final_values(last: StageResult, values: dict[str, float]) -> dict[str, float]:
    """Final metrics of a run: test metrics, best validation metrics, and `values`."""
    found = {**last.summary["final"], **load_prediction_metrics(last.folder)}
    final = {f"final/{name}": parse_number(value) for name, value in found.items()}
    best = {f"best/{name}": parse_number(value) for name, value in last.summary["best"].items() if name != "epoch"}
    return best | final | values


def sweep_name(experiment: str, scale: str) -> str:
    """Name of a sweep's study and prefix of its locks."""
    return f"{experiment}-{scale}"


def cell_lock(home: Home, experiment: str, scale: str, cell: str) -> Path:
    """Lock file of a run; runs of different experiments may have the same fingerprint."""
    return home.locks / f"{sweep_name(experiment, scale)}-{cell}.lock"


def is_alive(home: Home, experiment: str, scale: str) -> Callable[[str], bool]:
    """Predicate: whether a process is executing the run with a fingerprint."""
    return lambda cell: is_locked(cell_lock(home, experiment, scale, cell))


def close_abandoned(experiment: Experiment, scale: str, home: Home, tracker: Tracker, study: Study | None) -> None:
    """Close the runs and trials whose process was killed, perhaps between the end of a run and that of its trial."""
    alive = is_alive(home, experiment.name, scale)
    tracker.close_abandoned(experiment.name, scale, alive)
    if study and study.running():
        finished = tracker.runs(experiment.name, scale, "FINISHED")
        study.reap(alive, {run.fingerprint: run.metrics.get(experiment.metric) for run in finished})


@contextmanager
def mark_killed_on_interrupt(tracker: Tracker, parent: str) -> Iterator[None]:
    """Mark the parent run KILLED if the sweep is interrupted or raises."""
    try:
        yield
    except BaseException:
        tracker.finish_sweep(parent, "KILLED", "interrupted")
        raise
