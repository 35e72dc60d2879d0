"""The command that searches recipes."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

from ulmfit_lab.cli.common import data_of, open_lab, print_failures
from ulmfit_lab.cli.declared import load_declared, results_folder
from ulmfit_lab.cli.workers import start_workers, wait_for_start, worker_arguments


def tune_command(args: argparse.Namespace) -> int:
    """Search each variant's recipe; print the winners, ready to be pasted into the experiment."""
    from ulmfit_lab.analysis.tuning_table import best_tries
    from ulmfit_lab.sweep.display import ProgressDisplay
    from ulmfit_lab.sweep.tuning import publish_tuning, recipes_text, tune, winners

    experiment, overrides = load_declared(args)
    home, tracker = open_lab(args)
    options: dict[str, Any] = {"home": home, "data": data_of(args), "tracker": tracker, "display": ProgressDisplay()}
    search = partial(tune, experiment, args.scale, overrides=overrides, budget=args.budget, **options)
    with start_workers(args.argv, worker_arguments(args)) as others:
        if not wait_for_start(args.on_word):
            return 0
        others.begin()
        outcome = search()
        others.wait()
    if others.size and outcome.table is None and not outcome.failures:
        outcome = search()  # what the others searched, or left behind
    print_failures(outcome.failures)
    if outcome.failures:
        print("The search is not complete; the same command goes on with it.", file=sys.stderr)
        return 1
    if outcome.table is None:
        print(f"Searched by another process, which shows the winners: {', '.join(outcome.elsewhere)}.")
        return 0
    written = publish_tuning(outcome, home, tracker, results_folder(args, experiment, overrides))
    print(best_tries(outcome.table).to_string(index=False))
    found = winners(outcome.table, experiment)
    print(f"\nBest on validation data, for {experiment.name}:\n{recipes_text(found, experiment, args.scale)}")
    print("Written: " + ", ".join(str(path) for path in written))
    return 0
