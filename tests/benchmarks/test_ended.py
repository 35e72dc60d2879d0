"""A benchmark that is ended keeps what it has, leaves no process behind, and shows what it does from the start."""

from __future__ import annotations

import json
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
from benchmarks.rows import Found, Row
from benchmarks.sides import answers_in_turns
from ulmfit_lab.cli import main

class Products(run.Subject):
    def measure(self, bench):
        facts = {"shapes": bench.sizes.shapes, "repeats": 10**9}
        sides = {n: bench.ours("multiply", bench.sizes.small, "float32", **facts) for n in ("one", "two")}
        answers_in_turns(sides, 2, bench.folder)
        return Found([])

class First(run.Subject):
    def measure(self, bench):
        return Found([Row("A row", value=2.0)])

run.SUBJECTS = {"first": First("", ""), "products": Products("", "")}
options = ["--quick", "--home", sys.argv[1], "--results", sys.argv[1] + "/kept"]
sys.exit(main(["bench", "first", "products", *options]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
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
    order = r"Loading the benchmarks.*\n1/2 first \.\.\.\n(\|.*\n)+2/2 products \.\.\.\n"
    assert re.match(order + r"  2 processes start\n  round 1 of 2: ", told), told
    known = json.loads((tmp_path / "kept" / "benchmarks.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in known["subjects"]["first"]["rows"]] == ["A row"]
    if number != signal.SIGKILL:
        assert bench.returncode == 130 and "interrupted; benchmarks whose tables are above are done" in told
        assert "| A row |" in told


def wait_until(holds: object, longest: float, process: subprocess.Popen[bytes]) -> None:
    """Until something holds, at most so many seconds, while a process lives."""
    end = time.monotonic() + longest
    while not holds():  # type: ignore[operator]
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
