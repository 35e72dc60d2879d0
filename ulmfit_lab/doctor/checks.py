"""Consistency of declarations, MLflow runs, Optuna trials and stages on disk.

A finding is a problem with its fix; most can be repaired. Repairs delete nothing that holds finished results; other
files are moved into the home's folder `aside`. While a process holds a lock of the home, only runs and trials of dead
processes are closed. Notes are informational, such as unused stages.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ulmfit_lab.doctor.files import Finding, UnusedStages, busy, check_stages, move_aside, unused_stages
from ulmfit_lab.experiment.declaration import Experiment, experiment_files, load_experiment
from ulmfit_lab.experiment.plan import plan_runs
from ulmfit_lab.experiment.precision import resolve_precision
from ulmfit_lab.sweep.optuna_study import Study, discard_study, open_study
from ulmfit_lab.sweep.runner import is_alive, sweep_name
from ulmfit_lab.sweep.trials import TUNING
from ulmfit_lab.tracking.moved_home import old_places, repoint
from ulmfit_lab.tracking.records import IMPORTED, TrackedRun
from ulmfit_lab.tracking.tracker import Tracker
from ulmfit_lab.training.metrics import find_metric
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import Home

SHOWN = 5
"""Number of unused stages that are listed one by one."""


@dataclass(frozen=True)
class Diagnosis:
    """Problems and notes."""

    findings: list[Finding]
    notes: list[str]


def examine(home: Home, tracker: Tracker, names: Sequence[str], data: Path | None) -> Diagnosis:
    """Check a home; runs and trials only of the named experiments, if any are given.

    names: experiments, or files that declare one; data: folder of named sets
    """
    runs = tracker.find_runs("")
    declared, notes = declarations(runs, names)
    chosen = {experiment.name for experiment in declared.values()} if names else {run.experiment for run in runs}
    mine = [run for run in runs if run.experiment.removesuffix(TUNING) in chosen]
    findings = [*check_places(home, tracker), *find_zombie_runs(mine, home, tracker)]
    if home.unwritable:
        notes.append(f"The studies were not checked: {home.unwritable} is not writable.")
    wanted: set[str] = set()
    for experiment, scale in sorted({(run.experiment, run.scale) for run in mine}):
        here = [run for run in mine if (run.experiment, run.scale) == (experiment, scale)]
        if not experiment.endswith(TUNING) and not home.unwritable:
            findings += check_study(here, home, declared.get(experiment))
        if experiment in declared:
            wanted |= planned(declared[experiment], scale, data, home, here, notes)
    for experiment in names and declared.keys() - {run.experiment for run in mine}:
        wanted |= planned(declared[experiment], "small", data, home, [], notes)
    findings += check_stages(home)
    used = wanted | {name for run in runs if run.status in ("FINISHED", "RUNNING") for name in stages_of(run)}
    unused = unused_stages(home.stages, used)
    return Diagnosis(findings, [*notes, *find_repeated_runs(mine), *missing_data(mine, home), *unused_notes(unused)])


def repair(findings: Iterable[Finding], home: Home) -> Iterator[tuple[Finding, str]]:
    """Repair findings; yields those that cannot be repaired, and why."""
    for finding in findings:
        if finding.repair is None:
            yield finding, "it cannot be repaired automatically"
        elif not finding.while_busy and busy(home):
            yield finding, "a process is using this home; retry after it has ended"
        else:
            try:
                finding.repair()
            except (LabError, OSError) as error:
                yield finding, str(error)


def declarations(runs: Iterable[TrackedRun], names: Sequence[str]) -> tuple[dict[str, Experiment], list[str]]:
    """Name -> experiment, those named or else those with runs; and notes on experiments that cannot be loaded."""
    if names:
        return {found.name: found for found in map(load_experiment, names)}, []
    found, notes = {}, []
    for name in sorted({run.experiment.removesuffix(TUNING) for run in runs} & experiment_files().keys()):
        try:
            found[name] = load_experiment(name)
        except LabError as error:
            notes.append(f"{name} is not compared with its declaration: {error}")
    return found, notes


def check_places(home: Home, tracker: Tracker) -> Iterator[Finding]:
    """Outdated artifact locations of a home that was moved or copied."""
    for place in old_places(home) if tracker.uri == home.own_uri else ():
        what = f"{home.runs_database} refers to artifacts in {place}, but this home is in {home.root}"
        yield Finding(what, "the next sweep or --fix corrects it", partial(repoint, home))


def find_zombie_runs(runs: Iterable[TrackedRun], home: Home, tracker: Tracker) -> Iterator[Finding]:
    """Open runs, and open parent runs, without a running process."""
    hint = "the next sweep or --fix marks it KILLED"
    parents: dict[str, TrackedRun] = {run.parent: run for run in runs if run.parent}
    for run in runs:
        alive = is_alive(home, run.experiment, run.scale)
        if run.status == "RUNNING" and not alive(run.fingerprint):
            close = partial(tracker.close_abandoned, run.experiment, run.scale, alive)
            yield Finding(f"{format_run(run)} is RUNNING in MLflow, but its process has ended", hint, close, True)
    for parent, run in parents.items():
        if tracker.client.get_run(parent).info.status == "RUNNING" and not busy(home):
            close = partial(tracker.finish_sweep, parent, "KILLED", "its process ended without closing the run")
            what = f"Sweep {parent[:8]} of {run.experiment} ({run.scale}) is RUNNING in MLflow, without a process"
            yield Finding(what, hint, close)


def find_repeated_runs(runs: Iterable[TrackedRun]) -> Iterator[str]:
    """Fingerprints with several finished runs."""
    finished = [run for run in runs if run.status == "FINISHED" and not run.experiment.endswith(TUNING)]
    counts = Counter((run.experiment, run.scale, run.fingerprint) for run in finished)
    last = {(run.experiment, run.scale, run.fingerprint): run for run in finished}
    for key, count in counts.items():
        if count > 1:
            yield f"{format_run(last[key])} is one of {count} equal finished runs; reports use the newest."


def check_study(runs: Sequence[TrackedRun], home: Home, experiment: Experiment | None) -> Iterator[Finding]:
    """Differences between the Optuna study of a sweep and its runs."""
    where = runs[0].experiment, runs[0].scale
    name, alive = sweep_name(*where), is_alive(home, *where)
    journal = home.studies / f"{name}.journal"
    again = partial(rebuild, home, name, runs, experiment)
    finished = measured_runs(runs, experiment)
    if not finished and not journal.exists() and not home.database:
        return
    try:
        study = open_study(home, name)
        running, complete = study.running(), study.finished()
    except Exception as error:  # Optuna raises various types for an unreadable journal
        which, why = f"The study {name}" if home.database else journal, f"{type(error).__name__}: {error}"
        what = f"{which} cannot be read ({why.splitlines()[0]})"
        yield Finding(what, "--fix moves it aside and creates the study again from the runs", again)
        return
    for number, fingerprint in running.items():
        if not alive(fingerprint):
            what = f"Trial {number} of the study {name} is running in Optuna, but its process has ended"
            # without finished runs: the next finding adds their trials
            yield Finding(what, "the next sweep or --fix closes it as failed", partial(study.reap, alive, {}), True)
    for fingerprint, run in finished.items():
        if fingerprint not in complete and not alive(fingerprint):
            what = f"{format_run(run)} is FINISHED in MLflow, but has no complete trial in the study {name}"
            yield Finding(what, "--fix adds it", partial(add_trial, study, run, experiment), True)
    for fingerprint in sorted(complete - {run.fingerprint for run in runs if run.status == "FINISHED"}):
        what = f"Run {fingerprint} is complete in the study {name}, but not FINISHED in MLflow"
        yield Finding(what, "sweep again, or --fix moves the study aside and creates it from the runs", again)


def measured_runs(runs: Iterable[TrackedRun], experiment: Experiment | None) -> Mapping[str, TrackedRun]:
    """Fingerprint -> finished run, not imported, with a finite metric; empty without an experiment."""
    if experiment is None:
        return {}
    finished = [run for run in runs if run.status == "FINISHED" and IMPORTED not in run.tags]
    return {run.fingerprint: run for run in finished if math.isfinite(run.metrics.get(experiment.metric, math.nan))}


def add_trial(study: Study, run: TrackedRun, experiment: Experiment | None) -> None:
    """Add a complete trial for a finished run."""
    facts = {"variant": run.variant, "level": run.level or None, "seed": run.seed}
    value = run.metrics[experiment.metric] if experiment else None
    study.end(study.begin(run.fingerprint, facts), value, "COMPLETE")


def rebuild(home: Home, name: str, runs: Iterable[TrackedRun], experiment: Experiment | None) -> None:
    """Move a journal aside, or delete a database's study, and create a study of the finished runs."""
    journal = home.studies / f"{name}.journal"
    if home.database:
        discard_study(home, name)
    elif journal.exists():
        move_aside(home, journal)
    lower = find_metric(experiment.metric).lower_is_better if experiment else True
    study = open_study(home, name, lower_is_better=lower)
    for run in measured_runs(runs, experiment).values():
        add_trial(study, run, experiment)


def planned(
    experiment: Experiment,
    scale: str,
    data: Path | None,
    home: Home,
    runs: Sequence[TrackedRun],
    notes: list[str],
) -> set[str]:
    """Fingerprints of all declared stages; appends a note on how many declared runs are finished."""
    try:
        experiment, overrides = resolve_precision(experiment, scale, None, lambda: runs, home)
        declared = plan_runs(experiment, scale, overrides, data, (), home.imported)
    except LabError as error:
        notes.append(f"{experiment.name} ({scale}) is not compared with its declaration: {error}")
        return set()
    wanted = {each.stage.fingerprint for each in declared}
    finished = {run.fingerprint for run in runs if run.status == "FINISHED"}
    counts = f"{len(wanted & finished)} of {len(wanted)} declared runs are finished"
    others = f", and {len(finished - wanted)} that are not declared" if finished - wanted else ""
    notes.append(f"{experiment.name} ({scale}): {counts}{others}.")
    return {stage.fingerprint for each in declared for stage in each.stage.ancestry()}


def missing_data(runs: Iterable[TrackedRun], home: Home) -> Iterator[str]:
    """Finished runs whose stages were deleted."""
    here = {path.name for path in home.stages.glob("*/*")}
    lost: dict[str, list[TrackedRun]] = {}
    for run in runs:
        if run.status == "FINISHED" and IMPORTED not in run.tags and not stages_of(run) <= here:
            lost.setdefault(f"{run.experiment} ({run.scale})", []).append(run)
    for where, found in lost.items():
        stage = sorted(stages_of(found[0]) - here)[0]
        what = f"{where}: {len(found)} finished runs refer to deleted stages, such as {stage}"
        yield f"{what}; their metrics are kept, and stages are computed again when needed."


def unused_notes(unused: Sequence[UnusedStages]) -> Iterator[str]:
    """Notes on unused stages, largest first, and the total size of the rest."""
    ranked = sorted(unused, key=lambda each: -each.size)
    for each in ranked[:SHOWN]:
        mb = f"{each.size / 1e6:.1f} MB"
        yield f"Stage {each.path} ({mb}) is used by no finished run or experiment examined; deleting it frees space."
    if ranked[SHOWN:]:
        size = sum(each.size for each in ranked[SHOWN:]) / 1e6
        yield f"{len(ranked) - SHOWN} smaller stages ({size:.1f} MB) are used by none either."


def stages_of(run: TrackedRun) -> set[str]:
    """Fingerprints of the last stage and the trained stages of a run."""
    named = {value for name, value in run.tags.items() if name.startswith("stage.") and name.count(".") == 1}
    return named | {run.fingerprint}


def format_run(run: TrackedRun) -> str:
    """Format a run for a message."""
    return f"Run {run.run_id[:8]} of {run.experiment} ({run.scale}), {run.name},"
