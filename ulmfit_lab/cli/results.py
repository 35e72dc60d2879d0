"""Writing and checking committed results, which needs neither a tracking store nor torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ulmfit_lab.cli.common import print_failures
from ulmfit_lab.cli.declared import load_declared, results_folder
from ulmfit_lab.utils.errors import ConfigError

if TYPE_CHECKING:
    from ulmfit_lab.experiment.declaration import Changes, Experiment
    from ulmfit_lab.report.committed import Problem


def committed_command(args: argparse.Namespace) -> int:
    """Check one report, or check or write all reports and the ledger. Return 1 if a check fails."""
    if args.experiment is not None:
        experiment, overrides = load_declared(args)
        return check_one(experiment, args.scale, overrides, results_folder(args, experiment, overrides))
    if args.rest or args.seeds is not None or args.levels is not None:
        raise ConfigError("--seeds, --levels and config fields need an EXPERIMENT; name one or remove them.")
    return check_all(Path(args.results)) if args.check else write_reports(Path(args.results))


def check_one(experiment: Experiment, scale: str, overrides: Changes, folder: Path) -> int:
    """Check one report; a withdrawn report is not checked."""
    from ulmfit_lab.report.committed import Committed, check_folder
    from ulmfit_lab.report.withdrawn import withdrawal_of

    if old := withdrawal_of(folder):
        print(f"{experiment.name}: {old} (kept in {old.folder}); nothing to check.")
        return 0
    return _print_problems(check_folder(Committed(experiment, scale, folder), overrides), f"{folder} is")


def check_all(root: Path) -> int:
    """Check all committed results and the ledger."""
    from ulmfit_lab.report.committed import committed_results
    from ulmfit_lab.report.ledger_files import check_results

    reports = f"The ledger and all {len(committed_results(root))} reports under {root} are"
    return _print_problems(check_results(root), reports)


def write_reports(root: Path) -> int:
    """Write all committed reports and the ledger. Return 1 if an experiment cannot be loaded."""
    from ulmfit_lab.experiment.declaration import experiment_files, load_experiments
    from ulmfit_lab.report.ledger_files import write_all

    print("Written: " + ", ".join(str(path) for path in write_all(root)))
    _, failed = load_experiments(experiment_files())
    print_failures(failed.items())
    return 1 if failed else 0


def _print_problems(problems: Sequence[Problem], subject: str) -> int:
    for problem in problems:
        print(f"FAILED {problem}", file=sys.stderr)
    if not problems:
        print(f"{subject} consistent with the runs.")
    return 1 if problems else 0
