"""A report puts runs of means, one for every variant and level, under the sweep's parent run."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.report.mean_runs import mean_curves
from ulmfit_lab.report.publish import publish


def test_runs_of_means_hold_what_their_runs_measured(lab: Any, experiment: Experiment, tmp_path: Path) -> None:
    outcome = lab.sweep(experiment)
    for _ in range(2):
        publish(experiment, "tiny", {}, lab.home, None, lab.tracker, tmp_path)
    where = lab.tracker.find_experiment("starts", "tiny")
    found = lab.tracker.client.search_runs([where], "tags.`lab.kind` = 'mean'")
    assert sorted(run.info.run_name for run in found) == ["fine-tuned, mean of 2", "random, mean of 2"]
    runs = lab.tracker.runs("starts", "tiny", "FINISHED")
    assert len(runs) == 4, "means are no runs of the experiment"
    for run in found:
        own = [each for each in runs if each.variant == run.data.tags["variant"]]
        errors = [100 * each.metrics["final/error"] for each in own]
        assert run.data.metrics["mean"] == pytest.approx(mean(errors))
        assert run.data.metrics["sd"] == pytest.approx(stdev(errors))
        assert run.data.metrics["final/error"] == pytest.approx(mean(errors) / 100)
        assert run.data.metrics["n"] == 2 and run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == outcome.parent
        curve = lab.tracker.client.get_metric_history(run.info.run_id, "classifier/valid_loss")
        theirs = [lab.tracker.histories(each)["classifier/valid_loss"] for each in own]
        assert [point.step for point in curve] == [step for step, _, _ in theirs[0]]
        assert curve[0].value == pytest.approx(mean(history[0][1] for history in theirs))
    verdicts = {run.data.tags["variant"]: run.data.tags["verdict"] for run in found}
    assert verdicts == {"random": "the baseline", "fine-tuned": "not replicated: 1 language model (against random)"}
    tags = lab.tracker.client.get_experiment(where).tags
    view = json.loads(tags["mlflow.sharedViewState.means"])
    assert view["searchFilter"] == "tags.`lab.kind` = 'mean'" and "metrics.`mean`" in view["selectedColumns"]


def test_curves_are_averaged_at_the_steps_that_all_runs_have() -> None:
    one = {"classifier/loss": [(0, 1.0, 5), (10, 3.0, 6)], "system/cpu": [(0, 1.0, 5)]}
    two = {"classifier/loss": [(0, 2.0, 5), (10, 5.0, 6), (20, 9.0, 7)]}
    found = mean_curves([one, two])
    assert found["classifier/loss"] == [(0, 1.5), (10, 4.0)] and "system/cpu" not in found
    # by hand: t(1) is 12.706, and the sd of 1 and 2 is 0.7071, so the half width is 12.706 * 0.7071 / sqrt(2)
    assert found["classifier/loss_low"][0][1] == pytest.approx(1.5 - 6.353, abs=1e-3)
    assert found["classifier/loss_high"][0][1] == pytest.approx(1.5 + 6.353, abs=1e-3)
