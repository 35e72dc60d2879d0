"""A cell that fails says why, where and in which attempt, and the other cells are made all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Experiment, RunSpec
from ulmfit_lab.pipeline.store import Stage
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.optuna_study import open_study
from ulmfit_lab.training.progress import Progress

# SGD that decays by a thousand at a rate of a million overflows within a few steps
DIVERGING = {"classifier.optimizer": "nt-asgd", "classifier.lr": 1e6, "classifier.weight_decay": 1e3}
VARIANTS: dict[str, dict[str, Any]] = {
    "diverging": {"classifier.init": "random", **DIVERGING},
    "starved": {"classifier.init": "random", "classifier.epochs": 2},
    "robbed": {"classifier.init": "random", "classifier.epochs": 1},
    "tf-idf": {"classifier.model": "tf-idf"},
}


class Saboteur(ProgressDisplay):
    """Lets a variant want more memory than there is, and takes a file away from the first attempt at another."""

    def __init__(self, stages: Path) -> None:
        super().__init__(Console(file=StringIO()))
        self.stages, self.variant, self.robbed = stages, "", False

    def cell(self, cell: RunSpec) -> None:
        """Note which variant is next."""
        self.variant = cell.variant

    def stage(self, stage: Stage) -> None:
        """Take the vocabulary away from a classifier that has found it."""
        if self.variant == "robbed" and stage.kind == "classifier" and not self.robbed:
            self.robbed = True
            next(self.stages.glob("vocabulary/*/vocabulary.json")).unlink()

    def progress(self, progress: Progress) -> None:
        """Want memory in the midst of training."""
        if self.variant == "starved":
            bytearray(2**62)


@pytest.fixture(scope="module")
def failing(experiment: Experiment) -> Experiment:
    """Four variants of which two fail for good and one at first."""
    return replace(experiment, baseline="tf-idf", variants=VARIANTS, seeds=(0,))


def test_failed_cells_are_tried_again_and_told_and_the_others_are_made(
    new_lab: Callable[[str], Any], failing: Experiment, tmp_path: Path
) -> None:
    lab = new_lab("failing")
    outcome = lab.sweep(failing, Saboteur(lab.home.stages), retries=1)
    assert (outcome.finished, len(outcome.failures)) == (2, 2)
    told = {name.partition(",")[0]: why for name, why in outcome.failures}
    assert told["diverging"].startswith("TrainingError: The loss is nan at step")
    assert told["starved"].startswith("MemoryError")

    runs = lab.tracker.runs("starts", "tiny")
    assert sorted((run.variant, run.status) for run in runs) == [
        ("diverging", "FAILED"),
        ("diverging", "FAILED"),
        ("robbed", "FAILED"),
        ("robbed", "FINISHED"),
        ("starved", "FAILED"),
        ("starved", "FAILED"),
        ("tf-idf", "FINISHED"),
    ]
    where = {"diverging": "in check_finite", "starved": "bytearray(2**62)", "robbed": "in read_json"}
    for run in runs:
        if run.status == "FAILED":
            path = lab.tracker.client.download_artifacts(run.run_id, "traceback.txt", str(tmp_path))
            trace = Path(path).read_text(encoding="utf-8")
            assert where[run.variant] in trace
            assert trace.strip().endswith(run.tags["lab.reason"].partition(": ")[2].strip() or "MemoryError")
    assert len(open_study(lab.home, "starts-tiny").finished()) == 2
    assert open_study(lab.home, "starts-tiny").running() == {}
    assert lab.tracker.client.get_run(outcome.parent).info.status == "FAILED"


def test_the_command_lists_what_failed_and_its_status_says_so(
    new_lab: Callable[[str], Any], failing: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = new_lab("command")
    two = {name: VARIANTS[name] for name in ("diverging", "tf-idf")}
    fields = {"name": "starts", "question": "?", "baseline": "tf-idf", "variants": two, "scales": failing.scales}
    path = tmp_path / "starts.py"
    path.write_text(
        f"from ulmfit_lab.experiment.declaration import Experiment\n\nEXPERIMENT = Experiment(seeds=(0,), "
        f"**{fields!r})\n"
    )
    options = ["--scale", "tiny", "--home", str(lab.home.root), "--results", str(tmp_path)]
    assert main(["sweep", str(path), *options, "--retries", "1"]) == 1
    told = capsys.readouterr()
    assert "1 runs finished" in told.out
    assert "FAILED diverging, seed 0: TrainingError: The loss is nan at step" in told.err
    assert "1 runs failed; repeat the command to retry them." in told.err
