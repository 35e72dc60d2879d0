"""A sweep that is killed at twenty moments, and started again each time, ends as one that never was."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forking import IMPORTS

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.sweep.optuna_study import open_study

KILLS = 20
LONGEST = 120
"""Seconds after which a sweep of two cells is taken to hang."""
# Imports everything once, and forks a process for every line of arguments: importing takes longer than the sweep.
STARTER = (
    IMPORTS
    + """
import os, sys
from ulmfit_lab.cli import main
import torch
torch.set_num_threads(1)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        os._exit(main(line.rstrip("\\n").split("\\t")))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
)


class Starter:
    """Starts sweeps, one at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", "-c", STARTER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, bufsize=1, **pipes)  # type: ignore[call-overload]

    def sweep(self, path: Path, home: Path, kill_after: float | None = None) -> int:
        """Exit status of a sweep, below zero if it was killed after so many seconds."""
        options = ["--scale", "tiny", "--home", str(home), "--worker"]
        self.process.stdin.write("\t".join(["sweep", str(path), *options]) + "\n")
        pid = int(self.process.stdout.readline())
        ended, _, _ = select.select([self.process.stdout], [], [], LONGEST if kill_after is None else kill_after)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    """The process that starts sweeps."""
    made = Starter()
    with made.process:
        yield made


def facts(lab: Any) -> dict[str, dict[str, float]]:
    """Cell -> all numbers of its finished run but times and costs; nothing else may be left over."""
    runs = lab.tracker.runs("starts", "tiny")
    finished = [run for run in runs if run.status == "FINISHED"]
    assert len({run.fingerprint for run in finished}) == len(finished), "a cell has two finished runs"
    assert {run.status for run in runs} <= {"FINISHED", "KILLED"}
    assert {lab.tracker.client.get_run(run.parent).info.status for run in finished} == {"FINISHED"}
    study = open_study(lab.home, "starts-tiny")
    assert study.running() == {}
    assert study.finished() == {run.fingerprint for run in finished}
    kept = {run.fingerprint: {**run.metrics} for run in finished}
    histories = {run.fingerprint: lab.tracker.histories(run) for run in finished}
    curves = {
        cell: {f"{name} {step}": value for name, points in found.items() for step, value, _ in points}
        for cell, found in histories.items()
    }
    own = ("cost/", "system/")
    return {
        cell: {name: value for name, value in (metrics | curves[cell]).items() if not name.startswith(own)}
        for cell, metrics in kept.items()
    }


def test_a_sweep_killed_at_twenty_moments_ends_with_the_same_cells_and_numbers(
    new_lab: Callable[[str], Any], experiment: Experiment, starter: Starter, tmp_path: Path
) -> None:
    path, names = tmp_path / "starts.py", ("name", "question", "baseline", "variants", "scales", "seeds")
    small = replace(experiment, seeds=(0,))
    fields = {name: getattr(small, name) for name in names}
    path.write_text(
        f"from ulmfit_lab.experiment.declaration import Experiment\n\nEXPERIMENT = Experiment(**{fields!r})\n"
    )
    whole = new_lab("whole")
    assert starter.sweep(path, new_lab("first").home.root) == 0  # what is done once in a process's life is not timed
    began = time.monotonic()
    assert starter.sweep(path, whole.home.root) == 0
    seconds, expected = time.monotonic() - began, facts(whole)
    assert len(expected) == 2

    draw, kills, lab, labs = random.Random(0), 0, new_lab("killed"), []
    while kills < KILLS:
        status = starter.sweep(path, lab.home.root, draw.uniform(0, 0.7 * seconds))
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
        if status == 0:
            assert facts(lab) == expected
            labs, lab = [*labs, lab], new_lab("killed")
    assert starter.sweep(path, lab.home.root) == 0
    assert facts(lab) == expected
    runs = [run for each in [*labs, lab] for run in each.tracker.runs("starts", "tiny")]
    assert any(run.status == "KILLED" for run in runs), "no kill came while a cell ran"
