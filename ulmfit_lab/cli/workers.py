"""Worker processes that share the runs of a command."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from subprocess import DEVNULL
from typing import IO, cast

from ulmfit_lab.utils.errors import ConfigError
from ulmfit_lab.utils.interrupts import exit_with_parent

BEGIN = b"begin\n"
NEEDED = (
    "torch._dynamo",  # torch's optimizers import it at their first step, in more time than torch itself takes
    "ulmfit_lab.pipeline.training_stages",
    "ulmfit_lab.sweep.optuna_study",
    "ulmfit_lab.sweep.runner",
)
"""Modules that executing a run takes."""


@dataclass
class WorkerPool:
    """Worker processes with the same command; file locks assign each run to one process.

    To start faster, workers import modules while the command plans, and wait for `begin`.
    """

    argv: Sequence[str]
    size: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start the workers; they wait for `begin`."""
        command = [sys.executable, "-m", "ulmfit_lab", *self.argv, "--workers", "1", "--worker", "--on-word"]
        self.processes = [
            subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=DEVNULL, stderr=DEVNULL)
            for _ in range(self.size)
        ]

    def begin(self) -> None:
        """Tell the workers to begin."""
        for process in self.processes:
            with suppress(BrokenPipeError):  # the worker has ended; other processes execute its runs
                cast(IO[bytes], process.stdin).write(BEGIN)

    def wait(self) -> None:
        """Wait until all workers have ended."""
        for process in self.processes:
            process.wait()
            cast(IO[bytes], process.stdin).close()


def worker_arguments(args: argparse.Namespace) -> int:
    """Return the number of workers besides this process; raises ConfigError if --workers is below 1."""
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers {args.workers} must be 1 or more.")
    return (args.workers or 1) - 1


@contextmanager
def start_workers(argv: Sequence[str], size: int) -> Iterator[WorkerPool]:
    """Start workers; terminate them on exit."""
    pool = WorkerPool(argv, size)
    pool.start()
    try:
        yield pool
    finally:
        for process in pool.processes:
            process.terminate()
            process.wait()
            cast(IO[bytes], process.stdin).close()


def wait_for_start(waits: bool) -> bool:
    """Import in a worker what runs need, and wait for the command's `begin`; return whether it came.

    Returns False if the command has ended. After `begin`, the worker ends when the command ends.

    waits: False returns True at once
    """
    if not waits:
        return True
    for name in NEEDED:
        import_module(name)
    begun = sys.stdin.buffer.readline() == BEGIN
    if begun:
        exit_with_parent()
    return begun
