"""Where `sweep` runs its cells: in this process and its workers, or on a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ulmfit_lab.cli.workers import worker_arguments
from ulmfit_lab.utils.errors import ConfigError

if TYPE_CHECKING:
    from ulmfit_lab.experiment.declaration import Changes, Experiment
    from ulmfit_lab.sweep.display import ProgressDisplay
    from ulmfit_lab.sweep.runner import Engine


def cluster_options(sweep: argparse.ArgumentParser) -> None:
    """How a cluster is named and shared out."""
    sweep.add_argument("--cluster", metavar="ADDRESS", help="run on a Ray cluster: auto, an address, or local")
    sweep.add_argument("--gpus-per-run", type=float, metavar="N", help="with --cluster: GPUs, or a share (default: 1)")


@contextmanager
def engine_of(
    args: argparse.Namespace, experiment: Experiment, overrides: Changes | None, tracker: Any
) -> Iterator[tuple[Engine | None, ProgressDisplay]]:
    """What runs the cells, where not this process, and the display of their progress."""
    from ulmfit_lab.sweep.display import ProgressDisplay

    display = ProgressDisplay(workers=worker_arguments(args) + 1)
    if args.cluster is None:
        if args.gpus_per_run is not None:
            raise ConfigError("--gpus-per-run is for a cluster; give --cluster, or leave it out.")
        yield None, display
        return
    from ulmfit_lab.experiment.declaration import run_specs
    from ulmfit_lab.sweep.cluster import connect

    with connect(args.cluster, args.gpus_per_run, tracker, display, args.workers) as cluster:
        display.workers = min(
            map(cluster.check, {c.config.compute for c in run_specs(experiment, args.scale, overrides)})
        )
        yield cluster.run, display
