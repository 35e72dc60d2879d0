"""Publish an experiment: write its report to the results folder and its verdict to the parent run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console, Group

from ulmfit_lab.analysis.comparisons import compare_variants
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.analysis.tuning_table import read_tuning
from ulmfit_lab.experiment.consistency import unknown_fields
from ulmfit_lab.experiment.declaration import Changes, Experiment, declaration
from ulmfit_lab.experiment.plan import plan_runs
from ulmfit_lab.experiment.precision import resolve_precision
from ulmfit_lab.experiment.registration import FILE, registered_in, with_registration
from ulmfit_lab.experiment.report_inputs import check_looks_unchanged, make_report_spec, runs_table
from ulmfit_lab.experiment.run_names import declared_runs, name_runs
from ulmfit_lab.pipeline.store import StageStore
from ulmfit_lab.report.committed import Committed, committed_grid
from ulmfit_lab.report.current_report import report_key, save_report
from ulmfit_lab.report.document_intervals import FILE as DOCUMENTS
from ulmfit_lab.report.document_intervals import (
    document_intervals_json,
    find_document_intervals,
    read_document_intervals,
)
from ulmfit_lab.report.mean_runs import mean_runs
from ulmfit_lab.report.new_metrics import keep_metrics
from ulmfit_lab.report.tables import console_parts, print_report, verdict_first
from ulmfit_lab.report.tuning_figure import draw_again
from ulmfit_lab.report.verdict_page import verdict_page
from ulmfit_lab.report.withdrawn import withdrawal_of
from ulmfit_lab.report.write import sweep_metrics, write_files, write_report
from ulmfit_lab.tracking.records import REGISTERED, LoggedMetric, TrackedRun
from ulmfit_lab.tracking.tracker import Tracker
from ulmfit_lab.utils.errors import IncompleteError, LabError, sweep_command
from ulmfit_lab.utils.home import Home, redact
from ulmfit_lab.utils.provenance import provenance


def publish(
    experiment: Experiment,
    scale: str,
    overrides: Changes | None,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    folder: Path,
) -> list[Path]:
    """Write runs.csv, table.md and the figures, print the table, and log all of it to the sweep's parent run.

    Raises IncompleteError if runs are missing, ConfigError if the runs were made with other interim analyses.
    """
    experiment, overrides = resolve_precision(
        experiment, scale, overrides, lambda: tracker.runs(experiment.name, scale), home
    )
    spec = make_report_spec(experiment, scale, overrides)
    tracked = keep_metrics(tracker.runs(experiment.name, scale), StageStore(home.stages), tracker)
    if not tracked:
        runs, spec = committed_runs(experiment, scale, overrides, folder)
        written = write_report(runs, spec, folder, *read_tuning(folder)) + draw_again(folder)
        print_report(runs, spec)
        return written
    planned = plan_runs(experiment, scale, overrides, data, (), home.imported)
    declared = declared_runs(tracked, planned)
    if not declared:  # all tracked runs are of earlier declarations
        check_not_withdrawn(experiment, scale, folder)
    check_looks_unchanged(declared, experiment)
    name_runs(tracked, planned, tracker)
    registration = registered_in(tracked)
    spec = with_registration(spec, registration, experiment, overrides, f"The tag {REGISTERED}")
    runs = check_grid(runs_table(declared), spec)
    # without the predictions, as of runs that were imported from a runs.csv, those of an earlier report of these runs
    intervals = find_document_intervals(runs, spec, declared, home) or read_document_intervals(folder, runs, spec)
    spec = replace(spec, documents=intervals)
    print(f"Source: {len({run.run_id for run in declared})} tracked runs in {redact(tracker.uri)}.")
    written = write_report(runs, spec, folder, *read_tuning(folder)) + draw_again(folder)
    if registration:
        written += write_files({FILE: f"{registration}\n".encode()}, folder)
    if intervals:
        written += write_files({DOCUMENTS: document_intervals_json(spec, runs)}, folder)
    parts = console_parts(runs, spec)
    Console().print(Group(*parts))
    log_summary(experiment, scale, overrides, tracker, runs, spec, folder, declared)
    save_report(home, folder, report_key(experiment, scale, overrides, declared, tracker.uri, folder), written, parts)
    return written


def committed_runs(
    experiment: Experiment, scale: str, overrides: Changes | None, folder: Path
) -> tuple[pd.DataFrame, ReportSpec]:
    """Return the runs of an earlier report and the report spec; used if the tracking store has no runs.

    Raises LabError, with the file, for runs that are not declared.
    """
    check_not_withdrawn(experiment, scale, folder)
    path, hint = folder / "runs.csv", sweep_command(experiment.name, scale)
    if not path.is_file():
        raise IncompleteError(f"{experiment.name}: no tracked runs at scale {scale} and no {path}; make runs: {hint}")
    try:
        runs, spec = committed_grid(Committed(experiment, scale, folder), overrides)
    except LabError as error:
        raise type(error)(f"{path}: {error}") from error
    print(f"Source: {path} (no tracked runs of {experiment.name} at scale {scale}).")
    if fields := unknown_fields(runs, experiment, scale, overrides):
        print(
            f"Warning: {path} has no column for {', '.join(fields)}; the runs may have used other values than declared."
        )
    return runs, spec


def check_not_withdrawn(experiment: Experiment, scale: str, folder: Path) -> None:
    """Raise IncompleteError, with date and reason, if the results of a folder are withdrawn and not made anew."""
    if found := withdrawal_of(folder):
        hint = sweep_command(experiment.name, scale)
        raise IncompleteError(f"{experiment.name}: {found} (kept in {found.folder}); make new runs: {hint}")


def log_summary(
    experiment: Experiment,
    scale: str,
    overrides: Changes | None,
    tracker: Tracker,
    runs: pd.DataFrame,
    spec: ReportSpec,
    folder: Path,
    tracked: Sequence[TrackedRun],
) -> None:
    """Log mean, sd and n of every variant, the report and the figure to the parent run, and log the runs of means."""
    curves: dict[tuple[str, str], list[dict[str, list[LoggedMetric]]]] = {}
    for run in tracked:
        curves.setdefault((run.variant, run.level), []).append(tracker.histories(run))
    parent = tracker.open_sweep(
        experiment.name, scale, declaration(experiment, scale, overrides), experiment.question, provenance()
    )
    report = verdict_first((folder / "table.md").read_text(encoding="utf-8"))
    figures = [folder / "figure.png", folder / "figure.svg", folder / "runs.csv"]
    page = verdict_page(experiment.name, report, figures[0].read_bytes())
    ended = max((run.end for run in tracked if run.end), default=None)
    tracker.log_means(parent, mean_runs(runs, spec, compare_variants(runs, spec), curves))
    tracker.summarise_sweep(parent, sweep_metrics(runs, spec), report, figures, "FINISHED", ended, page)
    tracker.show(parent, experiment.metric, experiment.question)
