"""Commands find the scale that has runs, choose among runs, and say where one is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Experiment


@pytest.fixture
def command(finished: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command on the experiment in its home; returns status, stdout and stderr."""
    module, (_, _, *home) = finished

    def run(name: str, *arguments: str) -> tuple[int, str, str]:
        status = main([name, str(module), *arguments, *home])
        return status, *capsys.readouterr()

    return run


def test_runs_are_those_of_the_only_scale_that_has_some(command: Any) -> None:
    status, out, err = command("runs")
    assert status == 0 and out.endswith("4 runs.\n") and err.startswith("Using scale tiny, the only one")
    assert command("plan")[1].startswith("starts at scale tiny")
    assert command("runs", "--scale", "demo")[1].startswith("0 runs. Make them: ulmfit-lab sweep ")


def test_runs_are_chosen_by_what_they_are(command: Any) -> None:
    status, out, _ = command("runs", "--variant", "fine-tuned", "--seed", "1", "--format", "json")
    (run,) = json.loads(out)
    assert status == 0 and (run["variant"], run["seed"], run["status"]) == ("fine-tuned", 1, "FINISHED")
    assert command("runs", "--status", "finished")[1].endswith("4 runs.\n")
    status, _, err = command("runs", "--variant", "finetuned")
    assert status == 2 and "No run has variant 'finetuned'. Did you mean 'fine-tuned'?" in err


def test_runs_as_csv_have_a_column_for_each_metric(command: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(command("runs", "--format", "csv")[1])))
    assert sorted((row["variant"], row["seed"]) for row in rows) == [
        (variant, seed) for variant in ("fine-tuned", "random") for seed in ("0", "1")
    ]
    assert all(0 <= float(row["final/error"]) <= 1 for row in rows)


def test_runs_at_several_scales_are_named(
    finished: Any, new_lab: Any, experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = new_lab("scales")
    for scale in ("tiny", "demo"):
        parent = lab.tracker.open_sweep("starts", scale, "", "?", {})
        lab.tracker.start_cell(parent, "one", {}, {"lab.kind": "cell", "lab.seed": "0"}).finish("FAILED")
    assert main(["runs", str(finished[0]), "--home", str(lab.home.root)]) == 2
    assert "starts has runs at the scales tiny, demo; choose one with --scale" in capsys.readouterr().err


def test_no_command_says_what_is_here_and_what_comes_next(
    new_lab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ULMFIT_LAB_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main([]) == 0
    assert "No runs in" in capsys.readouterr().out
    lab = new_lab("overview")
    monkeypatch.setenv("ULMFIT_LAB_HOME", str(lab.home.root))
    parent = lab.tracker.open_sweep("bptt", "demo", "", "?", {})
    lab.tracker.start_cell(parent, "one", {}, {"lab.kind": "cell", "lab.seed": "0"}).finish("FAILED")
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "bptt" in out and "1 failed of 24 declared" in out
    assert "Next: ulmfit-lab sweep bptt --scale demo" in out
