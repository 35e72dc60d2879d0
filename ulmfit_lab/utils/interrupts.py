"""Ctrl-C and SIGTERM end a sweep, but never during a database transaction.

An exception inside a transaction would leave the connection open and the database locked.
"""

from __future__ import annotations

import os
import runpy
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Held:
    """Number of active `defer_interrupts` blocks, and whether an interrupt came meanwhile."""

    depth: int = 0
    pending: bool = False


HELD = Held()


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Delay interrupts until the block has ended; for the main thread, which receives the signals."""
    HELD.depth += 1
    try:
        yield
    finally:
        HELD.depth -= 1
        if HELD.pending and not HELD.depth:
            HELD.pending = False
            raise KeyboardInterrupt


def shield_from_interrupts(call: Callable[P, T]) -> Callable[P, T]:
    """Return the function, with interrupts delayed while it runs."""

    @wraps(call)
    def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        with defer_interrupts():
            return call(*args, **kwargs)

    return whole


@contextmanager
def allow_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C and SIGTERM, after a `defer_interrupts` block if one is active."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if not HELD.depth:
            raise KeyboardInterrupt
        HELD.pending = True

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def exit_with_parent() -> None:
    """Send SIGTERM to this process when its parent ends or closes the pipe.

    Standard input must be a pipe whose other end only the parent holds; it can still be read.
    """
    threading.Thread(target=_terminate_at_hangup, daemon=True).start()


def _terminate_at_hangup() -> None:
    poll = select.poll()
    poll.register(0, 0)  # hang-ups only, not input
    poll.poll()
    os.kill(os.getpid(), signal.SIGTERM)


def run_module_with_parent(module: str, *arguments: str) -> None:
    """Run a module as `python -m` does, in a process that ends with its parent."""
    exit_with_parent()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_module_with_parent(*sys.argv[1:])
