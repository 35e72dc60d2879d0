"""CPU time of commands: measured of the process that runs them, and never of one that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.commands import run_command
from benchmarks.run import SUBJECTS
from ulmfit_lab.utils.errors import LabError


def test_a_command_takes_some_milliseconds_of_its_own_process(tmp_path: Path) -> None:
    assert 5 < run_command(tmp_path, ["--help"]) < 60_000


def test_a_command_that_fails_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="`runs nothing` failed"):
        run_command(tmp_path, ["runs", "nothing"])


def test_it_is_among_the_benchmarks() -> None:
    assert SUBJECTS["commands"].function == "commands"
