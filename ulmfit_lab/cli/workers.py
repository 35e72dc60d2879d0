"""Further processes that share a command's work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def workers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """A list for worker processes, which are ended at the end."""
    others: list[subprocess.Popen[bytes]] = []
    try:
        yield others
    finally:
        for process in others:
            process.terminate()
            process.wait()


def start_worker(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """A further process that runs the same command; locks share the work out."""
    command = [sys.executable, "-m", "ulmfit_lab", *argv, "--workers", "1", "--worker"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
