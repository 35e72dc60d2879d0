"""What commands say of runs that travel or are made again; slow imports wait until a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ulmfit_lab.lab.experiment import Changes, Experiment
    from ulmfit_lab.lab.home import Home
    from ulmfit_lab.lab.tracking import Tracker


def export_here(experiment: Experiment, scale: str, tracker: Tracker, path: Path) -> int:
    """Write the finished runs to a file."""
    from ulmfit_lab.lab.travel import export_runs

    count = export_runs(experiment.name, scale, tracker, path)
    print(f"{count} finished runs of {experiment.name} at scale {scale} written to {path}.")
    return 0


def import_here(
    experiment: Experiment,
    scale: str,
    overrides: Changes,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    path: Path,
) -> int:
    """Take in the runs of a file, and say which of them a sweep need not make again."""
    from ulmfit_lab.lab.travel import import_runs

    found = import_runs(experiment, scale, overrides, home, data, tracker, path)
    print(f"{found.added} runs imported; {found.known} were here already.")
    if found.repeated:
        print(f"{found.repeated} were left out: their cells have another finished run.")
    which = f"{found.declared} belong to cells of today's declaration, {found.undeclared} do not"
    print(f"Of the runs in {path.name}, {which}.")
    if found.undeclared:
        print("Those that do not were made with another config, code or data; a sweep makes their cells itself.")
    return 0
