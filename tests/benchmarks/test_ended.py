"""A benchmark that is ended leaves no process behind, and shows what it does from the start."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.sides import environment

LONGEST = 600.0
"""Seconds until a process has started, on a busy machine."""
SECONDS = 10.0
"""In which everything has ended, though a turn of the matrix products would take hours."""
ENDLESS = """
import sys
from benchmarks import run
from benchmarks.rows import Found
from benchmarks.sides import answers_in_turns
from ulmfit_lab.cli import main

class Products(run.Subject):
    def measure(self, bench):
        facts = {"shapes": bench.sizes.shapes, "repeats": 10**9}
        sides = {n: bench.ours("multiply", bench.sizes.small, "float32", **facts) for n in ("one", "two")}
        answers_in_turns(sides, 2, bench.folder)
        return Found([])

run.SUBJECTS = {"products": Products("", "")}
sys.exit(main(["bench", "products", "--quick", "--home", sys.argv[1]]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_of_a_bench_that_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    with log.open("wb") as said:
        command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
        bench = subprocess.Popen(command, stderr=said, stdout=said, cwd=tmp_path, env=environment({}))
    try:
        wait_until(lambda: "round 1" in log.read_text(encoding="utf-8"), LONGEST, bench)
        sides = psutil.Process(bench.pid).children(recursive=True)
        assert len(sides) == 2
        bench.send_signal(number)
        bench.wait(SECONDS)
        _, left = psutil.wait_procs(sides, timeout=SECONDS)
        assert not left
    finally:
        bench.kill()
        bench.wait()
    told = log.read_text(encoding="utf-8")
    assert "Traceback" not in told
    assert re.match(r"Loading the benchmarks.*\nproducts \.\.\.\n  2 processes start\n  round 1 of 2: ", told), told
    if number != signal.SIGKILL:
        assert bench.returncode == 130 and "interrupted" in told


def wait_until(holds: object, longest: float, process: subprocess.Popen[bytes]) -> None:
    """Until something holds, at most so many seconds, while a process lives."""
    end = time.monotonic() + longest
    while not holds():  # type: ignore[operator]
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
