"""Files that a process locks while it works on what they stand for; a lock falls with the process that held it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOOKING = ".looking"
"""Beside the files: locked for the moment of a look or of a claim."""
GLANCE = 0.002
"""Seconds between two tries at the file above, which nobody holds for longer than a lock call takes."""


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold a file's lock; raises filelock's Timeout at once where somebody else does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    # A look holds the lock for a moment: without this, the one who looks would be taken for one who works.
    with _looks_kept_out(path):
        lock.acquire(timeout=0)
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether some process, or another lock object of this one, holds the lock of this file."""
    if not path.exists():
        return False
    if not os.access(path, os.W_OK):
        return _is_held(path)
    lock = FileLock(path)
    # Taken and given back within the turn: a claim must not meet a lock that only a look still holds.
    with _looks_kept_out(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False


def _is_held(path: Path) -> bool:
    """The same of a file that may only be read, which FileLock opens to write."""
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
