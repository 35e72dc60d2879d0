"""Options of `sweep` for a Ray cluster."""

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
    """Add the options that select a cluster and the GPUs per run."""
    sweep.add_argument("--cluster", metavar="ADDRESS", help="run on a Ray cluster: auto, local or an address")
    sweep.add_argument(
        "--gpus-per-run", type=float, metavar="N", help="with --cluster: GPUs per run; may be a fraction (default: 1)"
    )


@contextmanager
def engine_of(
    args: argparse.Namespace, experiment: Experiment, overrides: Changes | None, tracker: Any
) -> Iterator[tuple[Engine | None, ProgressDisplay]]:
    """Yield the cluster's engine, or None to execute runs in this process, and the progress display."""
    from ulmfit_lab.sweep.display import ProgressDisplay

    display = ProgressDisplay(workers=worker_arguments(args) + 1)
    if args.cluster is None:
        if args.gpus_per_run is not None:
            raise ConfigError("--gpus-per-run requires --cluster; add --cluster or remove --gpus-per-run.")
        yield None, display
        return
    from ulmfit_lab.experiment.declaration import run_specs
    from ulmfit_lab.sweep.cluster import connect

    with connect(args.cluster, args.gpus_per_run, tracker, display, args.workers) as cluster:
        display.workers = min(
            map(cluster.check, {c.config.compute for c in run_specs(experiment, args.scale, overrides)})
        )
        yield cluster.run, display
