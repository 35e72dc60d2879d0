"""A report is shown again only where it was written from the same runs, declaration and files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Experiment

AGAIN = "nothing to do"


@pytest.fixture
def reported(
    finished: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], str]:
    """Writes the report of a finished sweep once, then returns what `report` prints."""
    monkeypatch.setenv("COLUMNS", "120")

    def report(module: Path | None = None) -> str:
        assert main(["report", str(module or finished[0]), *finished[1], "--results", str(tmp_path)]) == 0
        return capsys.readouterr().out

    assert AGAIN not in report()
    return report


def test_a_report_shown_again_has_the_same_tables_in_any_width(
    reported: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for width in ("120", "60"):
        monkeypatch.setenv("COLUMNS", width)
        again = reported()
        assert AGAIN in again
        (tmp_path / "tiny" / "starts" / "table.md").unlink()
        made = reported()
        assert AGAIN not in made
        assert made.splitlines()[1:-2] == again.splitlines()[:-1]


@pytest.mark.parametrize("name", ["table.md", "runs.csv", "figure.png", "figure.json"])
def test_a_changed_file_is_written_again(reported: Callable[[], str], tmp_path: Path, name: str) -> None:
    path = tmp_path / "tiny" / "starts" / name
    was = path.read_bytes()
    path.write_bytes(was + b"x")
    assert AGAIN not in reported() and path.read_bytes() == was


def test_a_changed_declaration_is_reported_anew(
    reported: Callable[[], str], experiment: Experiment, write_module: Any, tmp_path: Path
) -> None:
    changed = replace(experiment, question="Does a language model help at all?")
    out = reported(write_module(tmp_path / "starts.py", changed))
    assert AGAIN not in out and "help at all?" in out


def test_a_new_metric_of_a_run_is_reported(reported: Callable[[], str], finished: Any) -> None:
    from ulmfit_lab.tracking.tracker import open_tracker
    from ulmfit_lab.utils.home import open_home

    assert AGAIN in reported()
    tracker = open_tracker(open_home(finished[1][-1]))
    run = tracker.runs("starts", "tiny")[0]
    tracker.log_of(run.run_id).log_final({"final/added": 1.0})
    assert AGAIN not in reported()
