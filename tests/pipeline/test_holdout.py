"""A second test set of the training distribution: nothing is trained or chosen on it, all classifiers report it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.config.paths import override
from ulmfit_lab.config.schema import TargetConfig
from ulmfit_lab.experiment.declaration import Experiment, run_specs
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.labelled_data import split_numbers
from ulmfit_lab.sweep.runner import plan_sweep
from ulmfit_lab.utils.errors import ConfigError, DataError

HELD = {"target.holdout": 50, "target.n_labels": 40}


@pytest.mark.parametrize("n_own", [None, 30])
def test_the_holdout_shares_no_document_with_what_trains_validates_or_tests(n_own: int | None) -> None:
    without = TargetConfig(n_valid=20, test_share=0.1)
    pool, valid, tested, held = split_numbers(200, n_own, replace(without, holdout=30))
    parts = [pool, valid, held, *([tested] if n_own is None else [])]
    assert sorted(np.concatenate(parts)) == list(range(200)) and len(held) == 30
    before = split_numbers(200, n_own, without)
    assert np.array_equal(before[1], valid) and np.array_equal(before[2], tested), "these stay what they were"
    assert len(before[3]) == 0


@pytest.fixture(scope="module")
def held_out(new_lab: Callable[[str], Any], experiment: Experiment) -> Any:
    """A lab with the runs of networks, fine-tuned, frozen and averaged over directions, and of TF-IDF."""
    lab = new_lab("holdout")
    variants = {
        "random": {"classifier.init": "random"},
        "frozen": {"classifier.init": "fine-tuned", "classifier.unfreeze": "last"},
        "both": {"classifier.init": "random", "classifier.both_directions": True},
        "tf-idf": {"classifier.model": "tf-idf"},
    }
    lab.experiment = replace(experiment, variants=variants, seeds=(0,))
    assert not lab.sweep(lab.experiment, overrides=HELD).failures
    return lab


def test_every_classifier_reports_the_holdout_from_its_stored_predictions(held_out: Any) -> None:
    for run in held_out.tracker.runs("starts", "tiny", "FINISHED"):
        kind = "ensemble" if run.variant == "both" else "classifier"
        folder = held_out.home.stages / kind / run.fingerprint
        predictions, labels = (np.load(folder / f"holdout_{what}.npy") for what in ("predictions", "labels"))
        assert len(predictions) == len(labels) == 50
        error = 1 - (predictions.argmax(1) == labels).mean()
        assert run.metrics["final/holdout_error"] == pytest.approx(error)


def test_a_holdout_changes_the_keys_of_what_it_takes_documents_from_and_no_other(experiment: Experiment) -> None:
    config = run_specs(experiment, "tiny")[1].config
    before, after = (
        {(stage.kind, stage.fingerprint) for stage in final_stage(override(config, changes), 0, None).ancestry()}
        for changes in ({}, {"target.holdout": 50})
    )
    changed = sorted(kind for kind, _ in after - before)
    assert changed == ["classifier", "fine-tuned", "vocabulary"], "of the general corpus nothing changes"


def test_a_holdout_that_leaves_too_few_documents_is_refused(lab: Any, experiment: Experiment) -> None:
    outcome = lab.sweep(replace(experiment, seeds=(0,)), overrides={"target.holdout": 290})
    assert outcome.failures and "for the holdout" in outcome.failures[0][1]
    assert DataError.__name__ in outcome.failures[0][1]


def test_a_measure_of_the_holdout_needs_one(lab: Any, experiment: Experiment) -> None:
    measured = replace(experiment, metric="final/holdout_error")
    with pytest.raises(ConfigError, match="has no holdout, and so no final/holdout_error; set target.holdout"):
        plan_sweep(measured, "tiny", None, lab.home, None, lab.tracker)
    assert plan_sweep(measured, "tiny", HELD, lab.home, None, lab.tracker).todo
