"""Memory that was freed: a process keeps it for its next allocations, up to a bound.

A training step frees and allocates hundreds of MB. Page faults for them would take a third of a classifier's training
time, so glibc is told to keep what is freed. Batches of documents differ in length, and blocks of many sizes leave gaps
that no later block fits: without a bound, training on whole reviews came to hold 19 GB, of which 1.3 were in use.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Constants of glibc's malloc.h."""
KEPT = 2**30
"""Freed memory in bytes that a process keeps, and size from which allocations are returned to the system."""
SHARE = 0.2
"""Of the machine's memory, by how much a process may grow before it returns what is free."""
STATM = Path("/proc/self/statm")


@cache
def keep_freed_memory() -> bool:
    """Make glibc keep freed memory; returns whether it does."""
    mallopt = of_libc("mallopt")
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, KEPT) and mallopt(M_TRIM_THRESHOLD, KEPT))


def of_libc(name: str) -> Any:
    """A function of glibc; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):  # not glibc
        return None


class MemoryBound:
    """Returns free memory to the system whenever the process has grown by `growth` bytes since it last did.

    growth  default: a fifth of the machine's memory
    """

    def __init__(self, growth: float | None = None) -> None:
        self.trim = of_libc("malloc_trim")
        self.growth = SHARE * machine_bytes() if growth is None else growth
        self.since = resident_bytes()

    def hold(self) -> None:
        """Compare the memory in use with the bound, in 10 microseconds; to be called after each step."""
        if self.trim and resident_bytes() - self.since > self.growth:
            self.trim(0)
            self.since = resident_bytes()


def resident_bytes() -> int:
    """Memory of this process, in bytes; 0 where the system does not tell."""
    try:
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError, IndexError):
        return 0


def machine_bytes() -> float:
    """Memory of this machine, in bytes; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return math.inf
