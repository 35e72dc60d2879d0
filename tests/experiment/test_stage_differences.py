"""A plan names the fields in which a stage to compute differs from the nearest one that is stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.experiment.stage_differences import Comparison, describe_missing
from ulmfit_lab.pipeline.store import VERSIONS, StageStore
from ulmfit_lab.sweep.runner import plan_sweep


@pytest.fixture(scope="module")
def swept(new_lab: Callable[[str], Any], experiment: Experiment) -> Any:
    """A lab with the finished stages of the experiment."""
    lab = new_lab("differences")
    assert not lab.sweep(experiment).failures
    return lab


def reasons(lab: Any, experiment: Experiment, **changes: Any) -> dict[str, str]:
    """Kind and number of stages -> why they are computed."""
    overrides = {path.replace("__", "."): value for path, value in changes.items()}
    plan = plan_sweep(experiment, "tiny", overrides, lab.home, None, lab.tracker)
    lines = describe_missing(plan, StageStore(lab.home.stages))
    return dict(line.removeprefix("new ").split(": ", 1) for line in lines)


def test_a_finished_sweep_computes_nothing(swept: Any, experiment: Experiment) -> None:
    assert reasons(swept, experiment) == {}


def test_a_changed_field_is_named_with_both_values(swept: Any, experiment: Experiment) -> None:
    found = reasons(swept, experiment, fine_tuning__lr=0.25)
    assert list(found) == ["fine-tuned", "classifier, 2 stages"]
    assert found["fine-tuned"].endswith(", but fine_tuning.lr 0.003 -> 0.25")
    assert found["classifier, 2 stages"].endswith(", but fine_tuning.lr 0.003 -> 0.25"), "by way of its input"
    stored = [stage.fingerprint[:8] for stage in StageStore(swept.home.stages).finished("fine-tuned")]
    assert found["fine-tuned"].split(",")[0].removeprefix("as ") in stored


def test_a_change_further_up_is_named_once_for_each_stage(swept: Any, experiment: Experiment) -> None:
    found = reasons(swept, experiment, vocabulary__max_size=300)
    assert found["vocabulary, 2 stages"].endswith(", but vocabulary.max_size 400 -> 300")
    assert found["pretrained"].endswith(", but vocabulary.max_size 400 -> 300")
    assert all("max_size 400 -> 300" in reason for reason in found.values())


def test_further_seeds_are_counted(swept: Any, experiment: Experiment) -> None:
    found = reasons(swept, replace(experiment, seeds=(0, 1, 2, 3)))
    assert list(found) == ["classifier, 4 stages"]
    assert re.search(r"seed [01] -> [23] and \d more values", found["classifier, 4 stages"])


def test_the_nearest_is_that_of_all_stored_ones(swept: Any, experiment: Experiment) -> None:
    overrides = {"classifier.lr": 0.25, "fine_tuning.epochs": 3}
    plan = plan_sweep(experiment, "tiny", overrides, swept.home, None, swept.tracker)
    compared = Comparison({stage.fingerprint: stage for stage in StageStore(swept.home.stages).finished()})
    stages = [stage for run in plan.todo for stage in run.stage.ancestry() if stage.kind != "tokens"]
    assert {stage.kind for stage in stages} >= {"classifier", "fine-tuned"}
    for stage in stages:
        each = [compared.differences(stage, other) for other in compared.stored.values() if other.kind == stage.kind]
        assert len(compared.nearest(stage)[1]) == min(map(len, each))


def test_a_default_is_shown_where_a_key_leaves_it_out(swept: Any, experiment: Experiment) -> None:
    found = reasons(swept, experiment, pretraining__weight_decay=0.5)
    assert found["pretrained"].endswith(", but pretraining.weight_decay 0.0 -> 0.5")


def test_another_version_of_the_code_is_named(
    swept: Any, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = VERSIONS["fine-tuned"]
    monkeypatch.setitem(VERSIONS, "fine-tuned", now + 1)  # type: ignore[misc]
    assert reasons(swept, experiment)["fine-tuned"].endswith(f", but the lab's version of it {now} -> {now + 1}")


def test_a_first_stage_has_nothing_to_be_compared_with(lab: Any, experiment: Experiment) -> None:
    found = reasons(lab, experiment)
    assert set(found.values()) == {"none of this kind is stored"}
