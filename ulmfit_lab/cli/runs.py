"""What commands say of runs that are listed, travel or are made again; slow imports wait until a command needs them."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ulmfit_lab.utils.errors import ConfigError, suggest
from ulmfit_lab.utils.files import json_text

if TYPE_CHECKING:
    from ulmfit_lab.experiment.declaration import Changes, Experiment
    from ulmfit_lab.tracking.records import TrackedRun
    from ulmfit_lab.tracking.sqlite_reader import RunReader
    from ulmfit_lab.tracking.tracker import Tracker
    from ulmfit_lab.utils.home import Home

FILTERS = ("variant", "level", "seed", "status", "data")
"""Fields of a run by which `runs` can choose."""


def travel_options(runs: argparse.ArgumentParser) -> None:
    """Options of `runs` that let runs travel."""
    way = runs.add_mutually_exclusive_group()
    way.add_argument("--export", metavar="FILE", help="write the finished runs to a file (.jsonl or .jsonl.gz)")
    way.add_argument("--import", metavar="FILE", dest="source", help="take in runs from such a file, or from runs.csv")


def reproduce_options(again: argparse.ArgumentParser) -> None:
    """Options of `reproduce`."""
    again.add_argument("run_id", metavar="RUN_ID", help="a run's id, or the first digits of it")
    again.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")
    stages = again.add_mutually_exclusive_group()
    stages.add_argument("--fresh-home", action="store_true", help="compute every stage anew (the default)")
    stages.add_argument("--reuse-stages", action="store_true", help="compute the last stage anew, reuse the others")
    stages.add_argument("--keep-stages", action="store_true", help="compute what the home lacks, and keep it there")


def list_options(runs: argparse.ArgumentParser) -> None:
    """Options of `runs` that choose which runs are printed, and how."""
    runs.add_argument("--format", choices=("table", "json", "csv"), default="table", help="how to print them")
    for name in FILTERS:
        runs.add_argument(f"--{name}", metavar=name.upper(), dest=f"only_{name}", help=f"only runs of this {name}")


def run_filters(args: argparse.Namespace) -> dict[str, str]:
    """What the command line asks of the runs that are printed."""
    return {name: value for name in FILTERS if (value := getattr(args, f"only_{name}")) is not None}


def list_runs(
    experiment: Experiment, scale: str, reader: RunReader, how: str = "table", filters: Mapping[str, str] | None = None
) -> int:
    """Print the tracked runs of which every filter is true; raises ConfigError for a value that no run has."""
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
        print(f"{len(found)} runs.")
    return 0


def field_of_run(run: TrackedRun, name: str) -> str:
    """What a run has in the field of a filter, as it is printed."""
    return "DIVERGED" if name == "status" and run.diverged else str(getattr(run, name))


def export_runs_command(experiment: Experiment, scale: str, tracker: Tracker, path: Path, home: Home) -> int:
    """Write the finished runs to a file."""
    from ulmfit_lab.runs.transfer import export_runs

    count = export_runs(experiment.name, scale, tracker, path, home)
    print(f"{count} finished runs of {experiment.name} at scale {scale} written to {path}.")
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
    """Take in the runs of a file, and say which of them a sweep need not make again."""
    from ulmfit_lab.runs.transfer import import_runs

    found = import_runs(experiment, scale, overrides, home, data, tracker, path)
    print(f"{found.added} runs imported; {found.known} were here already.")
    if found.repeated:
        print(f"{found.repeated} were left out: their cells have another finished run.")
    which = f"{found.declared} belong to cells of today's declaration, {found.undeclared} do not"
    print(f"Of the runs in {path.name}, {which}.")
    if found.undeclared:
        print("Those that do not were made with another config, code or data; a sweep makes their cells itself.")
    return 0


def reproduce_and_print(
    run_id: str,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    results: Path,
    *,
    reuse_stages: bool,
    keep_stages: bool = False,
) -> int:
    """Make a run again and print each metric beside the tracked one."""
    from rich.console import Console

    from ulmfit_lab.report.terminal_tables import text_table
    from ulmfit_lab.runs.reproduce import cautions, find_run, plan_again, reproduce
    from ulmfit_lab.sweep.display import ProgressDisplay

    run = find_run(run_id, tracker, results)
    print(f"{run.experiment}, scale {run.scale}: {run.name}")
    for caution in cautions(run, plan_again(run, data, home.imported)[1]):
        print(f"warning: {caution}", file=sys.stderr)
    how = {"reuse_stages": reuse_stages, "keep_stages": keep_stages}
    found = reproduce(run, home, data, tracker, ProgressDisplay(), **how)
    cells = [[m.name, repr(m.tracked), repr(m.again), "" if m.is_equal else "differs"] for m in found.compared]
    Console().print(text_table(["metric", "tracked", "again", ""], cells))
    print(f"{found.verdict}\nTracked as run {found.run_id}.")
    return 0 if found.reproduced else 1
