"""The command line: list, plan, sweep, tune, runs, reproduce, report, doctor, bench, ui, and what uses a run's model.

Each command is a function of the parsed arguments that returns the exit status. Everything it does is a few calls of
the library; nothing is computed here. Slow imports (torch, mlflow, optuna) wait until a command needs them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
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
from ulmfit_lab.cli.runs import list_options, reproduce_options, travel_options
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
Any field of a run's config can be replaced for all variants, by its dotted path:
  ulmfit-lab sweep word2vec_vs_lm --lm.drop-mult 0.5 --target.path reviews.csv
  ulmfit-lab plan word2vec_vs_lm --config-help      lists the fields
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; a user's error is one line on stderr and exit status 2, a failed run is status 1."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_in_ascii()
    try:
        check_decoded(arguments)
        args, rest = parser().parse_known_args(arguments)
        if args.command is None:
            args = parser().parse_args(["overview", *arguments])
        if rest and not hasattr(args, "scale"):
            raise ConfigError(f"{args.command} does not take {rest[0]!r}; see ulmfit-lab {args.command} --help.")
        args.rest, args.argv = rest, arguments
        with allow_interrupts():
            status: int = args.run(args)
        return status
    except LabError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if not (trouble := describe_file_error(error)):
            raise
        print(f"error: {trouble}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
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
    plan = add("plan", plan_command, "show the runs and stages of a sweep and its predicted time")
    sweep = add("sweep", sweep_command, "make the missing runs of an experiment, then report")
    tune = add("tune", tune_command, "search each variant's hyperparameters on validation data, with an equal budget")
    runs = add("runs", runs_command, "list the tracked runs of an experiment, export or import them")
    again = add("reproduce", reproduce_command, "run a tracked run again and compare its numbers bit for bit")
    report = add(
        "report", report_command, "write table, figure and runs.csv of an experiment, or of all with the ledger"
    )
    noise = add("noise", noise_command, "show the spread over seeds, language models and test documents")
    doctor_options(add("doctor", doctor_command, "diagnose runs, trials, stages and installation, and repair them"))
    bench_options(add("bench", bench_command, "measure speed and memory, beside fastai and the machine's limit"))
    ui = add("ui", ui_command, "open MLflow on the tracked runs")
    stages = add("stages", stages_command, "list finished stages, export or import them")
    stages_options(stages)
    models_options(add("models", models_command, "list the language models that a run can start from"))
    use_commands(add)
    prompt = add("completion", completion_command, "print a shell's completion script")
    prompt.add_argument("shell", choices=SHELLS, help='your shell; bash: eval "$(ulmfit-lab completion bash)"')
    add("overview", overview_command, "list experiments with runs here and the next command (the default)")
    top.epilog = f"{format_groups({name: each.description or '' for name, each in commands.choices.items()})}\n{EPILOG}"
    commands.help = argparse.SUPPRESS  # listed in groups instead
    for each in (plan, sweep, tune, runs, report, stages, noise):
        if each is not stages:
            _add_experiment(each, optional=each is report)
        _experiment_options(each, several=each in (plan, runs, report, noise))
    for each in (plan, sweep, report):
        _looks_options(each)
    report.add_argument(
        "--items", metavar="FILE", help="also write the test documents that every run gets wrong, as CSV"
    )
    report.add_argument("--check", action="store_true", help="only check that what is written is what runs.csv gives")
    for each, what in ((sweep, "runs"), (tune, "variants")):
        at_once = "; with --cluster, how many at once" if each is sweep else ""
        each.add_argument("--workers", type=int, metavar="N", help=f"processes that share the {what}{at_once}")
        for hidden in ("--worker", "--on-word"):
            each.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    sweep.add_argument("--retries", type=int, default=0, metavar="N", help="times a failing run is tried again")
    cluster_options(sweep)
    tune.add_argument(
        "--budget", type=int, metavar="N", help="trials a variant (default: the experiment's; others go to custom/)"
    )
    plan.add_argument("--fit-batch", action="store_true", help="try batch sizes: which fit the device, and how fast")
    travel_options(runs)
    list_options(runs)
    reproduce_options(again)
    for each in (sweep, tune, report, again):
        each.add_argument("--results", default="results", metavar="DIR", help="folder of results (default: results)")
    ui.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    ui.add_argument("--port", type=int, default=5000, help="port to listen on (default: 5000)")
    return top


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=EPILOG if name in ("plan", "sweep", "tune", "report", "runs") else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(run=run)
    made.add_argument("--home", metavar="DIR", help="where state lives (default: $ULMFIT_LAB_HOME or ./.ulmfit_lab)")
    made.add_argument("--tracking-uri", metavar="URI", help="MLflow store (default: SQLite in the home folder)")
    return made


def _add_experiment(command: argparse.ArgumentParser, *, optional: bool) -> None:
    text = "name of an experiment, or a .py file" + (" (default: all that have committed results)" if optional else "")
    command.add_argument("experiment", metavar="EXPERIMENT", nargs="?" if optional else None, help=text)


def _experiment_options(command: argparse.ArgumentParser, *, several: bool) -> None:
    default = None if several else "small"
    text = "small; the one that has runs, if only one has" if several else "small"
    command.add_argument("--scale", default=default, help=f"tiny, demo, small or paper (default: {text})")
    command.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")
    command.add_argument("--seeds", type=int, metavar="N", help="use the first N seeds 0..N-1 only")
    command.add_argument("--levels", metavar="A,B", help="values of the crossed field, such as numbers of labels")
    command.add_argument("--config-help", action="store_true", help="list the config fields that can be replaced")


def _looks_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--max-seeds", type=int, metavar="N", help="with --until-decided: seeds at most")
    command.add_argument("--batch-seeds", type=int, default=2, metavar="N", help="seeds added at a time (default: 2)")
    command.add_argument(
        "--until-decided", action="store_true", help="add seeds only where a comparison is open, up to --max-seeds"
    )


def completion_command(args: argparse.Namespace) -> int:
    """Print the script."""
    from ulmfit_lab.experiment.declaration import experiment_files

    print(completion_script(parser(), args.shell, list(experiment_files())))
    return 0


def list_command(args: argparse.Namespace) -> int:
    """Print every experiment's name and question; status 1 where one cannot be loaded."""
    from ulmfit_lab.experiment.declaration import experiment_files, load_experiments

    found, failed = load_experiments(experiment_files())
    for name, experiment in found.items():
        print(f"{name:28} {experiment.question}")
    print_failures(failed.items())
    return 1 if failed else 0


def plan_command(args: argparse.Namespace) -> int:
    """Print cells, stages and predicted time."""
    from rich.console import Console

    from ulmfit_lab.doctor.installation import warn_of_bfloat16
    from ulmfit_lab.experiment.confounds import difference_lines
    from ulmfit_lab.experiment.data_summary import describe_targets
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
    """Run the missing cells, then report if all are there."""
    with start_workers(args.argv, 0 if args.cluster else worker_arguments(args)) as others:
        return sweep_with(others, args)


def sweep_with(others: WorkerPool, args: argparse.Namespace) -> int:
    """The same, with workers that share the cells."""
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
        before: set[str] = set()
        while True:
            outcome = shared(run, others, args)
            if outcome.finished:
                spent, saved = format_time_left(outcome.computed_seconds), format_time_left(outcome.reused_seconds)
                print(f"{outcome.finished} runs finished: {spent} of computing; stages reused saved {saved}.")
            todo = {each.stage.fingerprint for each in outcome.plan.todo}
            if not experiment.design.looks or outcome.failures or args.worker or todo in (set(), before):
                break  # else there may be something new to look at
            before = todo
            others.start()
    if outcome.in_other_processes:
        print(f"{outcome.in_other_processes} runs are being made by another process.")
    print_failures(outcome.diverged, "DIVERGED")
    print_failures(outcome.failures)
    if outcome.failures:
        print(f"{len(outcome.failures)} runs failed; the same command tries them again.", file=sys.stderr)
        return 1
    if not outcome.in_other_processes and not args.worker:
        return write_report_here(args)
    return 0


def shared(run: Callable[..., SweepResult], others: WorkerPool, args: argparse.Namespace) -> SweepResult:
    """Run a sweep with as many processes as are asked for."""

    def before(plan: Plan) -> None:
        if plan.todo:
            if not args.worker:
                warn_of_data(plan, args)
            others.begin()

    outcome = run(before=before)
    if not outcome.plan.todo:
        return outcome
    others.wait()
    # what a worker left behind, if one was killed; with looks the next one finds it
    return run() if (others.size or args.cluster) and outcome.in_other_processes and not outcome.plan.looks else outcome


def warn_of_data(plan: Plan, args: argparse.Namespace) -> None:
    """Say in a line what the runs are trained and tested on, and what is odd of it.

    Raises DataError where no run can use its labelled set; where some can, the others tell their own errors.
    """
    from ulmfit_lab.experiment.data_summary import summarise_target, targets_of

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
    """Print the tracked runs, or let them travel: into a file, or in from one."""
    from ulmfit_lab.cli.runs import export_runs_command, import_runs_command, list_runs, run_filters

    if not args.export and not args.source:
        _, reader = open_runs(args)
        experiment, _ = load_declared(args, reader)
        return list_runs(experiment, args.scale, reader, args.format, run_filters(args))
    home, tracker = open_lab(args, write=bool(args.source))
    experiment, overrides = load_declared(args, tracker)
    if args.export:
        return export_runs_command(experiment, args.scale, tracker, Path(args.export))
    return import_runs_command(experiment, args.scale, overrides, home, data_of(args), tracker, Path(args.source))


def reproduce_command(args: argparse.Namespace) -> int:
    """Make a run again; status 1 where a number differs."""
    from ulmfit_lab.cli.runs import reproduce_and_print

    home, tracker = open_lab(args)
    how = {"reuse_stages": args.reuse_stages, "keep_stages": args.keep_stages}
    return reproduce_and_print(args.run_id, home, data_of(args), tracker, Path(args.results), **how)


def report_command(args: argparse.Namespace) -> int:
    """Report one experiment; check a committed report, or do what is done for all of them at once."""
    if args.check or args.experiment is None:
        args.scale = args.scale or "small"
        from ulmfit_lab.cli.results import committed_command

        return committed_command(args)
    return write_report_here(args)


def write_report_here(args: argparse.Namespace) -> int:
    """Write the report from the tracked runs or, where there are none, from runs.csv; print its table."""
    if show_current_report(args):
        return write_items(args) if getattr(args, "items", None) else 0
    from ulmfit_lab.report.publish import publish

    home, tracker = open_lab(args)
    experiment, overrides = load_declared(args, tracker)
    folder = results_folder(args, experiment, overrides)
    written = publish(experiment, args.scale, overrides, home, data_of(args), tracker, folder)
    print("Written: " + ", ".join(str(path) for path in written))
    print("Compare the runs in MLflow: ulmfit-lab ui")
    return write_items(args) if getattr(args, "items", None) else 0


def write_items(args: argparse.Namespace) -> int:
    """Write the test documents that every run of an experiment gets wrong."""
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
    print(f"{count} test documents that all {len(runs)} runs get wrong: {args.items}")
    return 0


def show_current_report(args: argparse.Namespace) -> bool:
    """Print the report, and return true, where it was written from the runs and the code of today."""
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
    print(f"{folder} was written from these {len({run.run_id for run in runs})} runs: nothing to do.")
    return True


def ui_command(args: argparse.Namespace) -> int:
    """Serve MLflow until interrupted."""
    from ulmfit_lab.tracking.server import serve

    home, tracker = open_lab(args, write=False)
    return serve(home, tracker.uri, args.host, args.port, tracker.pages())


if __name__ == "__main__":
    sys.exit(main())
