"""The `tune` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ulmfit_lab.cli.common import data_of, open_lab, print_failures
from ulmfit_lab.cli.declared import load_declared, results_folder
from ulmfit_lab.cli.workers import WorkerPool, start_workers, wait_for_start, worker_arguments

if TYPE_CHECKING:
    from ulmfit_lab.sweep.tuning import TuningResult


def tune_command(args: argparse.Namespace) -> int:
    """Search each variant's hyperparameters; print the best ones as code for the experiment."""
    from ulmfit_lab.analysis.tuning_table import best_tries, values_words
    from ulmfit_lab.experiment.search_space import format_space
    from ulmfit_lab.sweep.display import ProgressDisplay
    from ulmfit_lab.sweep.tuning import (
        add_earlier_trials,
        edges,
        publish_tuning,
        recipes_text,
        tune,
        widen_search,
        winners,
    )

    experiment, overrides = load_declared(args)
    home, tracker = open_lab(args)
    options: dict[str, Any] = {"home": home, "data": data_of(args), "tracker": tracker, "display": ProgressDisplay()}
    search = partial(tune, scale=args.scale, overrides=overrides, budget=args.budget, **options)
    with start_workers(args.argv, worker_arguments(args)) as others:
        if not wait_for_start(args.on_word):
            return 0
        widened, outcome = 0, search_with_workers(partial(search, experiment), others)
        while outcome.table is not None and (wider := widen_search(experiment, outcome)):
            if args.worker and outcome.had_trials_left:
                return 0  # the command starts its workers again for the wider ranges
            space = ", ".join(f"{p} {values_words(v)}" for p, v in format_space(wider.search.space).items())
            print(f"A best trial is at the edge of a range; widening the search to {space}.", file=sys.stderr)
            experiment, widened = wider, widened + 1
            others.start()
            wide = search_with_workers(partial(search, experiment, widened=widened), others)
            outcome = add_earlier_trials(wide, outcome)
    print_failures(outcome.failures)
    if outcome.failures:
        print("The search is incomplete; repeat the command to resume it.", file=sys.stderr)
        return 1
    if outcome.table is None:
        print(f"Other processes are searching {', '.join(outcome.elsewhere)}; they will print the results.")
        return 0
    written = publish_tuning(outcome, home, tracker, results_folder(args, experiment, overrides))
    print(best_tries(outcome.table).to_string(index=False))
    found = winners(outcome.table, experiment)
    print(f"\nBest hyperparameters on validation data, for {experiment.name}:")
    print(recipes_text(found, experiment, args.scale))
    for variant, fields in edges(outcome.table, outcome.facts).items():
        at = " and ".join(f"{path} at the {edge} edge of its range" for path, edge in fields.items())
        print(f"warning: the best trial of {variant} has {at}; better values may be outside.", file=sys.stderr)
    print("Written: " + ", ".join(str(path) for path in written))
    return 0


def search_with_workers(search: Callable[[], TuningResult], others: WorkerPool) -> TuningResult:
    """Search in this process and in started workers; return the outcome of all."""
    others.begin()
    outcome = search()
    others.wait()
    if others.size and outcome.table is None and not outcome.failures:
        return search()  # collects the workers' trials, and runs those of a killed worker
    return outcome
