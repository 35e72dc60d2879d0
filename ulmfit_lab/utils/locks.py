"""Lock files of runs and stages; a lock is released when its process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOOKING = ".looking"
"""Name of the file that is locked during `is_locked` and while a lock is acquired."""
GLANCE = 0.002
"""Seconds between two attempts to lock that file."""


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold a file's lock; raises filelock's Timeout immediately if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    # Without this, an `is_locked` call in another process could make the acquisition fail.
    with _looks_kept_out(path):
        lock.acquire(timeout=0)
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a process, or another lock object of this process, holds the lock of this file."""
    if not path.exists():
        return False
    if not os.access(path, os.W_OK):
        return _is_held(path)
    lock = FileLock(path)
    # Acquired and released before another process may try to acquire it.
    with _looks_kept_out(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False


def _is_held(path: Path) -> bool:
    """Do the same for a read-only file, which FileLock cannot open."""
    with ExitStack() as stack:
        if (looking := path.parent / LOOKING).exists():
            fcntl.flock(stack.enter_context(looking.open("rb")), fcntl.LOCK_EX)
        file = stack.enter_context(path.open("rb"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _looks_kept_out(path: Path) -> FileLock:
    return FileLock(path.parent / LOOKING, poll_interval=GLANCE)
