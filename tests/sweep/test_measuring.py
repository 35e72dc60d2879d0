"""A metric that is added is there for finished work, without training; what cannot be had is told in a line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.analysis.spec import FEWEST_SEEDS
from ulmfit_lab.data.vocabulary import SPECIALS, Vocabulary
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.pipeline.training_stages import unseen_share
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


def test_what_shows_that_a_manipulation_took_effect_is_measured(lab: Any, experiment: Experiment) -> None:
    """The gap between validation and training loss, and the share of tokens that pretraining did not see."""
    short = {**experiment.scales["tiny"], "general.max_tokens": 1_000}
    assert not lab.sweep(replace(experiment, seeds=(0,), scales={"tiny": short})).failures
    runs = {run.variant: run for run in lab.tracker.runs("starts", "tiny", "FINISHED")}
    for run in runs.values():
        curves = lab.tracker.histories(run)
        last = {name: curves[f"classifier/{name}"][-1][1] for name in ("loss", "valid_loss")}
        assert run.metrics["final/loss_gap"] == pytest.approx(last["valid_loss"] - last["loss"])
        assert run.metrics["final/above_majority"] == pytest.approx(run.metrics["final/accuracy"] - 0.5, abs=0.2)
    assert 0 < runs["fine-tuned"].metrics["final/unseen_tokens"] < 0.5
    assert "final/unseen_tokens" not in runs["random"].metrics


def test_unseen_tokens_by_hand(tmp_path: Path) -> None:
    """Two of five tokens are of a word that the language model's vocabulary does not have."""
    old, new = (Vocabulary((*SPECIALS, *words)) for words in (("a", "b"), ("b", "c")))
    old.save(tmp_path / "vocabulary.json")
    b, c = new.ids["b"], new.ids["c"]
    model = SimpleNamespace(folder=tmp_path)
    assert unseen_share([np.array([b, c, b]), np.array([0, c])], new, model) == 0.4  # type: ignore[arg-type]


def test_a_report_that_is_made_later_does_not_change_the_duration_of_the_sweep(
    before: Any, baselines: Experiment, tmp_path: Path
) -> None:
    ends = []
    for _ in range(2):
        publish(baselines, "tiny", None, before.home, None, before.tracker, tmp_path)
        (parent,) = {run.parent for run in before.tracker.runs("starts", "tiny", "FINISHED")}
        ends.append(before.tracker.client.get_run(parent).info.end_time)
    assert ends[0] == ends[1] == max(run.end for run in before.tracker.runs("starts", "tiny", "FINISHED"))
