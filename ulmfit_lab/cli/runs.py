"""The commands `runs` and `reproduce`. Slow modules are imported when they are needed."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ulmfit_lab.utils.errors import ConfigError, suggest, sweep_command
from ulmfit_lab.utils.files import json_text

if TYPE_CHECKING:
    from ulmfit_lab.experiment.declaration import Changes, Experiment
    from ulmfit_lab.runs.reproduce import MetricComparison
    from ulmfit_lab.tracking.records import TrackedRun
    from ulmfit_lab.tracking.sqlite_reader import RunReader
    from ulmfit_lab.tracking.tracker import Tracker
    from ulmfit_lab.utils.home import Home

FILTERS = ("variant", "level", "seed", "status", "data")
"""Fields by which `runs` filters."""


def transfer_options(runs: argparse.ArgumentParser) -> None:
    """Add the options of `runs` for export and import."""
    direction = runs.add_mutually_exclusive_group()
    direction.add_argument("--export", metavar="FILE", help="export the finished runs (.jsonl or .jsonl.gz)")
    direction.add_argument(
        "--import", metavar="FILE", dest="source", help="import runs from an exported file or a runs.csv"
    )


def reproduce_options(again: argparse.ArgumentParser) -> None:
    """Add the options of `reproduce`."""
    again.add_argument("name", metavar="RUN", help="id of a run or its first digits, or EXPERIMENT/VARIANT/SEED")
    again.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")
    stages = again.add_mutually_exclusive_group()
    stages.add_argument("--fresh-home", action="store_true", help="recompute all stages (the default)")
    stages.add_argument("--reuse-stages", action="store_true", help="recompute only the last stage")
    stages.add_argument("--keep-stages", action="store_true", help="compute missing stages and store them in the home")
    again.add_argument(
        "--tolerance",
        metavar="SD",
        type=float,
        default=0.0,
        help="accept differences of at most SD standard deviations over the seeds of the run's variant, for another "
        "kind of processor (default: 0, bit for bit)",
    )


def list_options(runs: argparse.ArgumentParser) -> None:
    """Add the options of `runs` for filters and output format."""
    runs.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="output format (default: table)"
    )
    for name in FILTERS:
        runs.add_argument(
            f"--{name}", metavar=name.upper(), dest=f"only_{name}", help=f"list only runs with this {name}"
        )


def run_filters(args: argparse.Namespace) -> dict[str, str]:
    """Return the filters of the command line as field -> value."""
    return {name: value for name in FILTERS if (value := getattr(args, f"only_{name}")) is not None}


def list_runs(
    experiment: Experiment, scale: str, reader: RunReader, how: str = "table", filters: Mapping[str, str] | None = None
) -> int:
    """Print the tracked runs that match all filters; raises ConfigError if a filter matches no run."""
    found = [run for one in reader.runs(experiment.name, scale) for run in one.declared_runs()]
    for name, value in (filters or {}).items():
        known = sorted({field_of_run(run, name) for run in found})
        found = [run for run in found if field_of_run(run, name).lower() == value.lower()]
        if known and not found:
            raise ConfigError(f"No run has {name} {value!r}. {suggest(value, known)}")
    if how == "json":
        facts = ("run_id", "status", "diverged", "variant", "level", "seed", "data", "params", "metrics")
        print(json_text([{name: getattr(run, name) for name in facts} for run in found], indent=1))
    elif how == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        metrics = sorted({name for run in found for name in run.metrics})
        writer.writerow(["run_id", *FILTERS, *metrics])
        for run in found:
            values = (run.metrics.get(name) for name in metrics)
            writer.writerow([run.run_id, *(field_of_run(run, name) for name in FILTERS), *values])
    else:
        for run in found:
            metric = run.metrics.get(experiment.metric)
            shown = "" if metric is None else f"{metric:.4f}"
            status = field_of_run(run, "status")
            print(f"{run.run_id}  {status:9} {run.variant:20} {run.level:>8} {run.seed:>4}  {shown:8} {run.data}")
        hint = "" if found else f" Make them: {sweep_command(experiment.name, scale)}"
        print(f"{len(found)} runs.{hint}")
    return 0


def field_of_run(run: TrackedRun, name: str) -> str:
    """Return a field of a run as text; the status of a diverged run is DIVERGED."""
    return "DIVERGED" if name == "status" and run.diverged else str(getattr(run, name))


def export_runs_command(experiment: Experiment, scale: str, tracker: Tracker, path: Path, home: Home) -> int:
    """Export the finished runs to a file."""
    from ulmfit_lab.runs.transfer import export_runs

    count = export_runs(experiment.name, scale, tracker, path, home)
    print(f"{count} finished runs of {experiment.name} at scale {scale} exported to {path}.")
    return 0


def import_runs_command(
    experiment: Experiment,
    scale: str,
    overrides: Changes,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    path: Path,
) -> int:
    """Import the runs of a file; print how many of them belong to the current declaration."""
    from ulmfit_lab.runs.transfer import import_runs

    found = import_runs(experiment, scale, overrides, home, data, tracker, path)
    print(f"{found.added} runs imported; {found.known} were already present.")
    if found.repeated:
        print(f"{found.repeated} skipped: another run with the same fingerprint is finished.")
    print(f"{found.declared} runs in {path.name} match the current declaration, {found.undeclared} do not.")
    if found.undeclared:
        print("Runs that do not match used another config, code or data; a sweep executes the declared runs itself.")
    return 0


def reproduce_and_print(
    name: str,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    results: Path,
    *,
    reuse_stages: bool,
    keep_stages: bool = False,
    tolerance: float = 0.0,
) -> int:
    """Execute a run again and compare its metrics with the tracked ones.

    tolerance: largest accepted difference, in standard deviations over the seeds of the run's variant

    Return 1 if a metric differs by more. Raises ConfigError for an invalid tolerance.
    """
    from rich.console import Console

    from ulmfit_lab.report.tables import format_duration
    from ulmfit_lab.report.terminal_tables import FittedTable
    from ulmfit_lab.runs.lookup import find_named_run
    from ulmfit_lab.runs.reproduce import cautions, plan_again, predict_cost, reproduce, spread_over_seeds
    from ulmfit_lab.sweep.display import ProgressDisplay

    if not 0 <= tolerance < math.inf:
        raise ConfigError(f"--tolerance {tolerance:g} must be finite and at least 0.")
    run = find_named_run(name, tracker, results)
    print(f"{run.experiment}, scale {run.scale}: {run.name}")
    config, stage = plan_again(run, data, home.imported)
    for caution in cautions(run, stage):
        print(f"warning: {caution}", file=sys.stderr)
    count, seconds = predict_cost(stage, config, home, reuse_stages=reuse_stages or keep_stages)
    hint = "" if reuse_stages or keep_stages else "; --reuse-stages takes finished stages of the home"
    print(f"{count} stages to compute, about {format_duration(seconds)}{hint}.", flush=True)
    spread = spread_over_seeds(run, tracker, results)
    if tolerance and not spread:
        raise ConfigError("--tolerance needs three or more finished seeds of the run's variant; leave it out.")
    found = reproduce(
        run,
        home,
        data,
        tracker,
        ProgressDisplay(),
        reuse_stages=reuse_stages,
        keep_stages=keep_stages,
        spread=spread,
        tolerance=tolerance,
    )
    rows = [[m.name, repr(m.tracked), repr(m.again), format_deviation(m)] for m in found.compared]
    Console().print(FittedTable(["metric", "tracked", "reproduced", "difference"], rows))
    print(f"{found.verdict}\nTracked as run {found.run_id}.")
    return 0 if found.accepted else 1


def format_deviation(metric: MetricComparison) -> str:
    """Return the difference, in standard deviations over the seeds if known; empty if equal."""
    if metric.is_equal:
        return ""
    difference = abs(metric.tracked - metric.again)
    return f"{difference:.2g}" if math.isnan(metric.deviation) else f"{metric.deviation:.2g} sd"
