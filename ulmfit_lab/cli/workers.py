"""Further processes that share a command's work."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from subprocess import DEVNULL
from typing import IO, cast

from ulmfit_lab.utils.errors import ConfigError
from ulmfit_lab.utils.interrupts import exit_with_parent

BEGIN = b"begin\n"


@dataclass
class WorkerPool:
    """Workers that run the same command; locks share the work out.

    A worker imports what it needs while the command plans, which takes either of them seconds, and waits for its word.
    """

    argv: Sequence[str]
    size: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start the workers."""
        command = [sys.executable, "-m", "ulmfit_lab", *self.argv, "--workers", "1", "--worker", "--on-word"]
        self.processes = [
            subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=DEVNULL, stderr=DEVNULL)
            for _ in range(self.size)
        ]

    def begin(self) -> None:
        """Have them work."""
        for process in self.processes:
            with suppress(BrokenPipeError):  # it has ended; what it would have done is found later
                cast(IO[bytes], process.stdin).write(BEGIN)

    def wait(self) -> None:
        """Until they have no work left."""
        for process in self.processes:
            process.wait()
            cast(IO[bytes], process.stdin).close()


def worker_arguments(args: argparse.Namespace) -> int:
    """How many processes are to share the work beside this one."""
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers {args.workers} must be 1 or more.")
    return (args.workers or 1) - 1


@contextmanager
def start_workers(argv: Sequence[str], size: int) -> Iterator[WorkerPool]:
    """Workers that are started now, and ended at the end."""
    made = WorkerPool(argv, size)
    made.start()
    try:
        yield made
    finally:
        for process in made.processes:
            process.terminate()
            process.wait()
            cast(IO[bytes], process.stdin).close()


def wait_for_start(waits: bool) -> bool:
    """In a worker that waits: whether it was told to begin, once it has; it was not where the command has ended.

    From then on it ends when the command does.
    """
    if not waits:
        return True
    begun = sys.stdin.buffer.readline() == BEGIN
    if begun:
        exit_with_parent()
    return begun
