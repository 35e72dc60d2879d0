"""What a process keeps of the memory that it freed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc is told so on Linux alone")

FAULTS = """
import resource, sys, torch
from ulmfit_lab.utils.memory import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(9)
for _ in range(21):
    torch.ones(2**24)
    if _ == 10:  # by then the heap has the size and the order that it keeps
        first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""


def faults(how: str) -> int:
    """Page faults of allocating 64 MB ten times, after eleven first times."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True)
    if done.returncode == 9:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)


def test_memory_that_was_freed_is_taken_again_without_a_fault() -> None:
    assert faults("kept") < faults("given back") / 3


FREED = """
import json, sys, torch
from ulmfit_lab.utils.memory import MemoryBound, keep_freed_memory, resident_bytes
if not keep_freed_memory():
    sys.exit(9)
bound, began = MemoryBound(300 * 2**20), resident_bytes()
def grown_after(megabytes):
    blocks = [torch.ones(2**20) for _ in range(megabytes // 4)]
    held = torch.ones(2**10)  # behind the blocks, so that the heap does not end with them
    del blocks
    before = resident_bytes() - began
    bound.hold()
    return before / 2**20, (resident_bytes() - began) / 2**20
print(json.dumps([grown_after(200), grown_after(600)]))
"""


def test_freed_memory_is_kept_up_to_a_bound_and_then_returned() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True)
    if done.returncode == 9:
        pytest.skip("the C library is not glibc")
    below, above = json.loads(done.stdout)
    assert below[0] > 190 and below[1] == pytest.approx(below[0], abs=10)
    assert above[0] > 590 and above[1] < 100
