"""The `stages` command: listing, export and import of finished stages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ulmfit_lab.cli.common import data_of, open_runs
from ulmfit_lab.cli.declared import load_declared
from ulmfit_lab.utils.errors import ConfigError, suggest

if TYPE_CHECKING:
    from ulmfit_lab.pipeline.store import StageResult, StageStore


def stages_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `stages`."""
    task = command.add_mutually_exclusive_group()
    task.add_argument("--list", action="store_true", help="list the finished stages (the default)")
    task.add_argument(
        "--export",
        metavar="FILE",
        help="write the stages and their inputs to an archive; tokens only with --kind tokens",
    )
    task.add_argument(
        "--import", metavar="FILE", dest="sources", nargs="+", help="add the stages of archives to the home"
    )
    command.add_argument("--for", metavar="EXPERIMENT", dest="experiment", help="only stages of this experiment")
    command.add_argument("--kind", metavar="KIND", help="only stages of this kind, such as pretrained")


def stages_command(args: argparse.Namespace) -> int:
    """List, export or import finished stages."""
    from ulmfit_lab.pipeline.stage_archive import export_stages, import_stages, with_inputs
    from ulmfit_lab.pipeline.store import StageStore
    from ulmfit_lab.utils.home import open_home

    home = open_home(args.home, args.tracking_uri, write=bool(args.sources))
    store = StageStore(home.stages)
    if args.sources:
        for source in args.sources:
            found = import_stages(Path(source), store)
            print(f"{source}: {len(found.added)} stages added, {found.known} were already present.")
        return 0
    stages = choose_stages(args, store)
    if args.experiment and not stages:
        raise ConfigError(f"No finished stage of {args.experiment} at scale {args.scale} is stored; choose a --scale.")
    if args.export:
        chosen = [stage for stage in stages if stage.kind != "tokens" or args.kind == "tokens"]
        count = export_stages(with_inputs(chosen, store), Path(args.export))
        print(f"{count} stages written to {args.export} ({Path(args.export).stat().st_size / 1e6:.1f} MB).")
        return 0
    print_stages(stages)
    return 0


def choose_stages(args: argparse.Namespace, store: StageStore) -> list[StageResult]:
    """Return the finished stages that the options select; raises ConfigError for an unknown kind."""
    from ulmfit_lab.pipeline.store import VERSIONS

    if args.kind and args.kind not in VERSIONS:
        raise ConfigError(f"Unknown kind of stage {args.kind!r}. {suggest(args.kind, VERSIONS)}")
    if not args.experiment:
        if args.rest:
            raise ConfigError(f"{args.rest[0]!r} requires an experiment; add --for EXPERIMENT.")
        found = list(store.finished())
    else:
        found = experiment_stages(args, store)
    return [stage for stage in found if args.kind in (None, stage.kind)]


def experiment_stages(args: argparse.Namespace, store: StageStore) -> list[StageResult]:
    """Return the finished stages of an experiment's runs, inputs first."""
    from ulmfit_lab.sweep.runner import plan_sweep

    experiment, overrides = load_declared(args)
    home, reader = open_runs(args)
    plan = plan_sweep(experiment, args.scale, overrides, home, data_of(args), reader)
    wanted = {stage.fingerprint: stage for run in plan.planned for stage in run.stage.ancestry()}
    return [found for stage in wanted.values() if (found := store.find(stage))]


def print_stages(stages: list[StageResult]) -> None:
    """Print kind, fingerprint, size and computing time of each stage."""
    from rich.console import Console

    from ulmfit_lab.report.tables import format_duration
    from ulmfit_lab.report.terminal_tables import text_table

    rows = []
    for stage in stages:
        size = sum(facts["bytes"] for facts in stage.manifest["files"].values())
        rows.append([stage.kind, stage.fingerprint, f"{size / 1e6:.1f}", format_duration(stage.seconds)])
    Console().print(text_table(["kind", "fingerprint", "MB", "computed in"], rows) if rows else "No finished stages.")
