"""A metric that is added is there for finished work, without training; what cannot be had is told in a line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.analysis.spec import FEWEST_SEEDS
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.report.publish import publish
from ulmfit_lab.sweep.runner import plan_sweep
from ulmfit_lab.training import metrics
from ulmfit_lab.utils.errors import IncompleteError


@pytest.fixture(scope="module")
def baselines(experiment: Experiment) -> Experiment:
    """TF-IDF of few and of more labels, which takes moments."""
    variants = {name: {"classifier.model": "tf-idf", "target.n_labels": n} for name, n in (("few", 20), ("many", 60))}
    return replace(experiment, variants=variants, baseline="few", seeds=range(FEWEST_SEEDS))


@pytest.fixture(scope="module")
def before(new_lab: Callable[[str], Any], baselines: Experiment) -> Any:
    """A lab whose runs were made before there was a Brier score."""
    lab = new_lab("before")
    with pytest.MonkeyPatch.context() as past:
        past.setattr(metrics, "METRICS", tuple(m for m in metrics.METRICS if m.name != "brier"))
        assert lab.sweep(baselines).finished == 2 * FEWEST_SEEDS
    return lab


def test_a_new_metric_costs_no_training(
    before: Any, baselines: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = before.tracker.runs("starts", "tiny", "FINISHED")
    assert not any("final/brier" in run.metrics for run in runs)
    looks = replace(baselines, metric="final/brier", design=replace(baselines.design, looks=(FEWEST_SEEDS,)))
    plan = plan_sweep(looks, "tiny", None, before.home, None, before.tracker)
    assert not plan.todo and plan.looks is not None, "a look needs the measure of every finished run"
    asked = replace(baselines, metric="final/brier")
    publish(asked, "tiny", None, before.home, None, before.tracker, tmp_path)
    assert "Test Brier score" in (tmp_path / "table.md").read_text() and "brier" in (tmp_path / "runs.csv").read_text()
    assert before.sweep(asked).finished == 0
    for run in before.tracker.runs("starts", "tiny", "FINISHED"):
        folder = before.home.stages / "classifier" / run.fingerprint
        probabilities, labels = (np.load(folder / f"test_{what}.npy") for what in ("predictions", "labels"))
        by_hand = ((probabilities - np.eye(2)[labels]) ** 2).sum(1).mean()
        assert run.metrics["final/brier"] == pytest.approx(by_hand)
    capsys.readouterr()


def test_a_metric_that_cannot_be_worked_out_is_told_in_a_line(
    before: Any, baselines: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = replace(metrics.METRICS[0], name="new")
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, new))
    shutil.rmtree(before.home.stages / "classifier")
    looks = replace(baselines, metric="final/new", design=replace(baselines.design, looks=(FEWEST_SEEDS,)))
    with pytest.raises(IncompleteError, match="has no finite final/new.*reproduce .* --keep-stages") as refused:
        plan_sweep(looks, "tiny", None, before.home, None, before.tracker)
    assert "\n" not in str(refused.value)
