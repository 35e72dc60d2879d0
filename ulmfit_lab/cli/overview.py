"""The `overview` command, the default: experiments with runs, and the next command."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

from ulmfit_lab.cli.runs import field_of_run

if TYPE_CHECKING:
    from ulmfit_lab.tracking.sqlite_reader import RunReader
    from ulmfit_lab.utils.home import Home

FIRST = """No runs in {home} yet.

  ulmfit-lab list                     list the experiments
  ulmfit-lab sweep demo --scale demo  run the demo (a few minutes)
  ulmfit-lab new my_question          create an experiment
  ulmfit-lab --help                   list all commands"""


def overview_command(args: argparse.Namespace) -> int:
    """Print the number of runs by status of each experiment and scale, and the next command."""
    from ulmfit_lab.utils.home import open_home

    home = open_home(args.home, args.tracking_uri, write=False)
    if not home.database and home.tracking_uri == home.own_uri and not home.runs_database.is_file():
        print(FIRST.format(home=home.root))
        return 0
    from ulmfit_lab.tracking.sqlite_reader import open_reader

    lines = overview_lines(home, open_reader(home, args.tracking_uri))
    print("\n".join(lines) if lines else FIRST.format(home=home.root))
    return 0


def overview_lines(home: Home, reader: RunReader) -> list[str]:
    """Return a line per experiment and scale with runs, and the next command."""
    from ulmfit_lab.config.scales import SCALE_NAMES, WIDE
    from ulmfit_lab.experiment.declaration import experiment_files, load_experiments

    lines, following = [], []
    for name, experiment in load_experiments(sorted(experiment_files()))[0].items():
        for scale in SCALE_NAMES:
            counts = Counter(field_of_run(run, "status") for run in reader.runs(name, scale))
            if not counts:
                continue
            levels = experiment.levels_at(scale) if not experiment.factor or scale in (*experiment.levels, WIDE) else ()
            declared = len(experiment.variants) * len(levels) * len(experiment.seeds)
            shown = ", ".join(f"{count} {status.lower()}" for status, count in sorted(counts.items()))
            lines.append(f"  {name:28} {scale:6} {shown} of {declared} declared")
            todo = "report" if counts["FINISHED"] >= declared else "sweep"
            following.append((todo == "report", f"ulmfit-lab {todo} {name} --scale {scale}"))
    if lines:
        _, command = min(following)  # unfinished sweeps first
        lines = [f"Runs in {home.root}:", *lines, "", f"Next: {command}", "Browse the runs: ulmfit-lab ui"]
    return lines
