"""The command line.

Each command is a function of the parsed arguments that calls the library and returns the exit status. Slow modules
(torch, mlflow, optuna) are imported when a command needs them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulmfit_lab.cli.bench import bench_command, bench_options
from ulmfit_lab.cli.cluster import cluster_options, engine_of
from ulmfit_lab.cli.common import data_of, describe_file_error, open_lab, open_runs, print_failures
from ulmfit_lab.cli.completion import SHELLS, completion_script, format_groups
from ulmfit_lab.cli.declared import load_declared, results_folder
from ulmfit_lab.cli.doctor import doctor_command, doctor_options
from ulmfit_lab.cli.models import models_command, models_options
from ulmfit_lab.cli.noise import noise_command
from ulmfit_lab.cli.overview import overview_command
from ulmfit_lab.cli.runs import list_options, reproduce_options, transfer_options
from ulmfit_lab.cli.stages import stages_command, stages_options
from ulmfit_lab.cli.terminal import check_decoded, show_in_ascii
from ulmfit_lab.cli.tune import tune_command
from ulmfit_lab.cli.use import use_commands
from ulmfit_lab.cli.workers import WorkerPool, start_workers, wait_for_start, worker_arguments
from ulmfit_lab.utils.errors import ConfigError, DataError, LabError
from ulmfit_lab.utils.interrupts import allow_interrupts

if TYPE_CHECKING:
    from ulmfit_lab.experiment.plan import Plan
    from ulmfit_lab.sweep.runner import SweepResult

EPILOG = """
Options can override any config field, by its dotted path, for all variants:
  ulmfit-lab sweep word2vec_vs_lm --lm.drop-mult 0.5 --target.path reviews.csv
  ulmfit-lab plan word2vec_vs_lm --config-help      list the fields
"""

AFTER_INTERRUPTION: Mapping[str, str] = {
    "sweep": "; repeat the command to resume",
    "tune": "; repeat the command to resume",
    "bench": "; benchmarks whose tables are above are done, --only names the others",
}
"""What to do next, after an interruption of these commands."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 1 for failed runs or checks, 2 for user errors, 130 if interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_in_ascii()
    try:
        check_decoded(arguments)
        args, rest = parser().parse_known_args(arguments)
        if args.command is None:
            args = parser().parse_args(["overview", *arguments])
        if rest and not hasattr(args, "scale"):
            raise ConfigError(f"{args.command} does not accept {rest[0]!r}; see ulmfit-lab {args.command} --help.")
        args.rest, args.argv = rest, arguments
        with allow_interrupts():
            status: int = args.run(args)
        return status
    except LabError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted" + AFTER_INTERRUPTION.get(next(iter(arguments), ""), ""), file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if not (message := describe_file_error(error)):
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="ulmfit-lab",
        usage="ulmfit-lab [-h] COMMAND ...",
        description="A laboratory for transfer learning with language models.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=False, metavar="COMMAND", prog="ulmfit-lab")
    add = partial(_command, commands)
    add("list", list_command, "list the experiments and their questions")
    plan = add("plan", plan_command, "show the runs, stages and predicted time of a sweep")
    sweep = add("sweep", sweep_command, "execute the missing runs of an experiment, then report")
    tune = add("tune", tune_command, "search each variant's hyperparameters on validation data, with equal budgets")
    runs = add("runs", runs_command, "list, export or import the tracked runs of an experiment")
    reproduce = add("reproduce", reproduce_command, "execute a tracked run again and compare its metrics exactly")
    report = add("report", report_command, "write table, figure and runs.csv of one or all experiments, and the ledger")
    noise = add("noise", noise_command, "show the variance over seeds, language models and test documents")
    doctor_options(add("doctor", doctor_command, "check runs, trials, stages and installation, and repair them"))
    bench_options(add("bench", bench_command, "compare speed and memory with fastai and the hardware's limits"))
    ui = add("ui", ui_command, "start the MLflow UI")
    stages = add("stages", stages_command, "list, export or import finished stages")
    stages_options(stages)
    models_options(add("models", models_command, "list the language models that a run can start from"))
    use_commands(add)
    completion = add("completion", completion_command, "print a shell completion script")
    completion.add_argument("shell", choices=SHELLS, help='shell; for bash, run: eval "$(ulmfit-lab completion bash)"')
    add("overview", overview_command, "list experiments with runs, and the next command (the default)")
    top.epilog = f"{format_groups({name: each.description or '' for name, each in commands.choices.items()})}\n{EPILOG}"
    commands.help = argparse.SUPPRESS  # the epilog lists the commands
    for each in (plan, sweep, tune, runs, report, stages, noise):
        if each is not stages:
            _add_experiment(each, optional=each is report)
        _experiment_options(each, several=each in (plan, runs, report, noise))
    for each in (plan, sweep, report):
        _interim_options(each)
    report.add_argument(
        "--items", metavar="FILE", help="also write the test documents that all runs misclassify, as CSV"
    )
    report.add_argument("--check", action="store_true", help="check that committed files are consistent with runs.csv")
    for each, what in ((sweep, "runs"), (tune, "variants")):
        cluster = "; with --cluster: concurrent runs" if each is sweep else ""
        each.add_argument("--workers", type=int, metavar="N", help=f"processes that share the {what}{cluster}")
        for hidden in ("--worker", "--on-word"):
            each.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    sweep.add_argument("--retries", type=int, default=0, metavar="N", help="retries of a failed run (default: 0)")
    cluster_options(sweep)
    tune.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help="trials per variant (default: the experiment's); results go to custom/",
    )
    plan.add_argument(
        "--fit-batch", action="store_true", help="measure which batch sizes fit the device, and their speed"
    )
    transfer_options(runs)
    list_options(runs)
    reproduce_options(reproduce)
    for each in (sweep, tune, report, reproduce):
        each.add_argument("--results", default="results", metavar="DIR", help="folder of results (default: results)")
    ui.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    ui.add_argument("--port", type=int, default=5000, help="port to listen on (default: 5000)")
    return top


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=EPILOG if name in ("plan", "sweep", "tune", "report", "runs") else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument("--home", metavar="DIR", help="home folder (default: $ULMFIT_LAB_HOME or ./.ulmfit_lab)")
    command.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow store (default: $MLFLOW_TRACKING_URI or SQLite in the home)",
    )
    return command


def _add_experiment(command: argparse.ArgumentParser, *, optional: bool) -> None:
    text = "name of an experiment, or a .py file" + (" (default: all with committed results)" if optional else "")
    command.add_argument("experiment", metavar="EXPERIMENT", nargs="?" if optional else None, help=text)


def _experiment_options(command: argparse.ArgumentParser, *, several: bool) -> None:
    default = None if several else "small"
    text = "the one with runs, or else small" if several else "small"
    command.add_argument("--scale", default=default, help=f"tiny, demo, small, wide or paper (default: {text})")
    command.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")
    command.add_argument("--seeds", type=int, metavar="N", help="use only the first N seeds, 0 to N-1")
    command.add_argument("--levels", metavar="A,B", help="levels of the factor, such as numbers of labels")
    command.add_argument("--config-help", action="store_true", help="list the config fields")


def _interim_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--max-seeds", type=int, metavar="N", help="with --until-decided: maximum number of seeds")
    command.add_argument(
        "--batch-seeds", type=int, default=2, metavar="N", help="seeds added per interim analysis (default: 2)"
    )
    command.add_argument(
        "--until-decided", action="store_true", help="add seeds only to undecided contrasts, up to --max-seeds"
    )


def completion_command(args: argparse.Namespace) -> int:
    """Print the completion script of a shell."""
    from ulmfit_lab.experiment.declaration import experiment_files

    print(completion_script(parser(), args.shell, list(experiment_files())))
    return 0


def list_command(args: argparse.Namespace) -> int:
    """Print name and question of each experiment. Return 1 if one cannot be loaded."""
    from ulmfit_lab.experiment.declaration import experiment_files, load_experiments

    found, failed = load_experiments(experiment_files())
    for name, experiment in found.items():
        print(f"{name:28} {experiment.question}")
    print_failures(failed.items())
    return 1 if failed else 0


def plan_command(args: argparse.Namespace) -> int:
    """Print runs, stages and predicted time of a sweep."""
    from rich.console import Console

    from ulmfit_lab.doctor.installation import warn_of_bfloat16
    from ulmfit_lab.experiment.confounds import difference_lines
    from ulmfit_lab.experiment.data_summary import check_labels, describe_targets
    from ulmfit_lab.experiment.replication import power_lines, replication_lines, sd_of_differences
    from ulmfit_lab.experiment.report_inputs import make_report_spec
    from ulmfit_lab.experiment.run_names import same_runs
    from ulmfit_lab.experiment.stage_differences import describe_missing
    from ulmfit_lab.pipeline.store import StageStore
    from ulmfit_lab.sweep.display import format_time_left, plan_table
    from ulmfit_lab.sweep.runner import plan_sweep

    home, reader = open_runs(args)
    experiment, overrides = load_declared(args, reader)
    plan = plan_sweep(experiment, args.scale, overrides, home, data_of(args), reader)
    check_labels(plan, data_of(args))
    console = Console()
    console.print(f"[bold]{experiment.name}[/bold] at scale {args.scale}: {experiment.question}")
    for line in difference_lines(experiment, args.scale, overrides):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if plan.looks:
        console.print(str(plan.looks))
    console.print(f"{len(plan.runs)} runs, {len(plan.runs) - len(plan.todo)} of them finished.")
    for line in same_runs(plan.planned):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    spec = make_report_spec(experiment, args.scale, overrides)
    sd = sd_of_differences(plan.planned, plan.finished, spec)
    if not sd and spec.expected:
        sd = spec.expected.sd
        console.print(f"Expected sd of differences: {spec.expected.source}.", markup=False, soft_wrap=True)
    for line in replication_lines(plan.planned, spec) + (power_lines(spec, sd) if sd else []):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if plan.todo:
        console.print(plan_table(plan))
        for line in describe_missing(plan, StageStore(home.stages)):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"Predicted time: {format_time_left(plan.seconds)}.")
        if warning := warn_of_bfloat16({each.run_spec.config.compute for each in plan.todo}):
            console.print(warning, highlight=False, soft_wrap=True)
    for line in describe_targets(plan, home, data_of(args)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if args.fit_batch:
        from ulmfit_lab.cli.fit_batch import print_batch_sizes

        print_batch_sizes(plan, console)
    return 0


def sweep_command(args: argparse.Namespace) -> int:
    """Execute the missing runs, then report if none is missing. Return 1 if a run failed."""
    with start_workers(args.argv, 0 if args.cluster else worker_arguments(args)) as workers:
        return sweep_with(workers, args)


def sweep_with(workers: WorkerPool, args: argparse.Namespace) -> int:
    """Execute the missing runs with these workers, then report."""
    from ulmfit_lab.experiment.confounds import difference_lines
    from ulmfit_lab.sweep.display import format_time_left

    if not wait_for_start(args.on_word):
        return 0
    if not args.worker and show_current_report(args):
        return 0
    from ulmfit_lab.sweep.runner import sweep

    experiment, overrides = load_declared(args)
    home, tracker = open_lab(args)
    print("\n".join(difference_lines(experiment, args.scale, overrides)), file=sys.stderr)
    options: dict[str, Any] = {"overrides": overrides, "home": home, "data": data_of(args), "tracker": tracker}
    with engine_of(args, experiment, overrides, tracker) as (engine, display):
        run = partial(sweep, experiment, args.scale, display=display, engine=engine, retries=args.retries, **options)
        previous: set[str] = set()
        while True:
            outcome = run_with_workers(run, workers, args)
            if outcome.finished:
                spent, saved = format_time_left(outcome.computed_seconds), format_time_left(outcome.reused_seconds)
                print(f"{outcome.finished} runs finished in {spent} of computing; reused stages saved {saved}.")
            todo = {each.stage.fingerprint for each in outcome.plan.todo}
            if not experiment.design.looks or outcome.failures or args.worker or todo in (set(), previous):
                break  # otherwise the next interim analysis may be due
            previous = todo
            workers.start()
    if outcome.in_other_processes:
        print(f"{outcome.in_other_processes} runs are being executed by other processes.")
    print_failures(outcome.diverged, "DIVERGED")
    print_failures(outcome.failures)
    if outcome.failures:
        print(f"{len(outcome.failures)} runs failed; repeat the command to retry them.", file=sys.stderr)
        return 1
    if not outcome.in_other_processes and not args.worker:
        return write_report(args)
    return 0


def run_with_workers(run: Callable[..., SweepResult], workers: WorkerPool, args: argparse.Namespace) -> SweepResult:
    """Run a sweep in this process and the workers."""

    def begin(plan: Plan) -> None:
        if plan.todo:
            if not args.worker:
                print_data_summary(plan, args)
            workers.begin()

    outcome = run(before=begin)
    if not outcome.plan.todo:
        return outcome
    if workers.size:
        import_module("ulmfit_lab.report.publish")  # slow to import: done while the workers finish their runs
    workers.wait()
    # execute the runs of a killed worker; with interim analyses, the next iteration does
    incomplete = outcome.in_other_processes and not outcome.plan.looks
    return run() if incomplete and (workers.size or args.cluster) else outcome


def print_data_summary(plan: Plan, args: argparse.Namespace) -> None:
    """Print a summary of each labelled set and warnings about it.

    Raises DataError if no run can use its labelled set, or if one wants more labels than it has. Otherwise, runs that
    cannot use theirs fail separately.
    """
    from ulmfit_lab.experiment.data_summary import check_labels, summarise_target, targets_of

    check_labels(plan, data_of(args))
    failures = []
    targets = targets_of(plan)
    for target in targets:
        try:
            found = summarise_target(target, data_of(args))
        except DataError as error:
            failures.append(error)
            continue
        print("\n".join([found.documents, *found.warnings]), file=sys.stderr)
    if (
        failures
        and len(failures) == len(targets)
        and all(c.run_spec.config.last_stage == "classifier" for c in plan.planned)
    ):
        raise failures[0]


def runs_command(args: argparse.Namespace) -> int:
    """List, export or import tracked runs."""
    from ulmfit_lab.cli.runs import export_runs_command, import_runs_command, list_runs, run_filters

    if not args.export and not args.source:
        _, reader = open_runs(args)
        experiment, _ = load_declared(args, reader)
        return list_runs(experiment, args.scale, reader, args.format, run_filters(args))
    home, tracker = open_lab(args, write=bool(args.source))
    experiment, overrides = load_declared(args, tracker)
    if args.export:
        return export_runs_command(experiment, args.scale, tracker, Path(args.export), home)
    return import_runs_command(experiment, args.scale, overrides, home, data_of(args), tracker, Path(args.source))


def reproduce_command(args: argparse.Namespace) -> int:
    """Execute a run again. Return 1 if a metric differs by more than the tolerance."""
    from ulmfit_lab.cli.runs import reproduce_and_print

    home, tracker = open_lab(args)
    how = {"reuse_stages": args.reuse_stages, "keep_stages": args.keep_stages, "tolerance": args.tolerance}
    return reproduce_and_print(args.name, home, data_of(args), tracker, Path(args.results), **how)


def report_command(args: argparse.Namespace) -> int:
    """Write the report of an experiment; with --check, or without an experiment, handle committed results."""
    if args.check or args.experiment is None:
        args.scale = args.scale or "small"
        from ulmfit_lab.cli.results import committed_command

        return committed_command(args)
    return write_report(args)


def write_report(args: argparse.Namespace) -> int:
    """Write the report from the tracked runs, or from runs.csv if there are none, and print its table."""
    if show_current_report(args):
        return write_items(args) if getattr(args, "items", None) else 0
    from filelock import FileLock

    from ulmfit_lab.report.publish import publish

    home, tracker = open_lab(args)
    experiment, overrides = load_declared(args, tracker)
    folder = results_folder(args, experiment, overrides)
    with FileLock(home.locks / "report.lock"):  # processes that share a sweep may finish at once
        written = publish(experiment, args.scale, overrides, home, data_of(args), tracker, folder)
    print("Written: " + ", ".join(str(path) for path in written))
    print("Compare the runs in MLflow: ulmfit-lab ui")
    return write_items(args) if getattr(args, "items", None) else 0


def write_items(args: argparse.Namespace) -> int:
    """Write the test documents that all runs of an experiment misclassify."""
    from ulmfit_lab.experiment.plan import plan_runs
    from ulmfit_lab.experiment.precision import resolve_precision
    from ulmfit_lab.experiment.run_names import declared_runs
    from ulmfit_lab.runs.items import write_always_wrong

    home, reader = open_runs(args)
    experiment, overrides = load_declared(args, reader)
    tracked = reader.runs(experiment.name, args.scale)
    experiment, overrides = resolve_precision(experiment, args.scale, overrides, lambda: tracked, home)
    planned = plan_runs(experiment, args.scale, overrides, data_of(args), (), home.imported)
    runs = declared_runs(tracked, planned)
    count = write_always_wrong(runs, home, data_of(args), Path(args.items))
    print(f"Written: {args.items}, {count} test documents that all {len(runs)} runs misclassify")
    return 0


def show_current_report(args: argparse.Namespace) -> bool:
    """Print the report if it is up to date with runs and code; return whether it is."""
    from rich.console import Console, Group

    from ulmfit_lab.experiment.plan import plan_runs
    from ulmfit_lab.experiment.precision import resolve_precision
    from ulmfit_lab.experiment.run_names import declared_runs
    from ulmfit_lab.report.current_report import current_report, record_of, report_key

    home, reader = open_runs(args, write=True)
    experiment, overrides = load_declared(args, reader)
    folder = results_folder(args, experiment, overrides)
    if not record_of(home, folder).is_file():
        return False
    tracked = reader.runs(experiment.name, args.scale)
    experiment, overrides = resolve_precision(experiment, args.scale, overrides, lambda: tracked, home)
    runs = declared_runs(tracked, plan_runs(experiment, args.scale, overrides, data_of(args), (), home.imported))
    parts = current_report(home, folder, report_key(experiment, args.scale, overrides, runs, reader.uri, folder))
    if parts is None:
        return False
    Console().print(Group(*parts))
    print(f"{folder} is up to date with its {len({run.run_id for run in runs})} runs; nothing to do.")
    return True


def ui_command(args: argparse.Namespace) -> int:
    """Serve the MLflow UI until interrupted."""
    from ulmfit_lab.tracking.server import serve

    home, tracker = open_lab(args, write=False)
    return serve(home, tracker.uri, args.host, args.port, tracker.pages())


if __name__ == "__main__":
    sys.exit(main())
