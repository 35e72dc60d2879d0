"""A language model's perplexity is that of its weights, not of the batches that trained it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.config.paths import override
from ulmfit_lab.config.schema import LanguageModelConfig, RunConfig
from ulmfit_lab.experiment.declaration import Experiment, variant_config
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import Observer, StageStore
from ulmfit_lab.pipeline.training_stages import make_evaluation_batches
from ulmfit_lab.utils.errors import DataError

ALONE = {"last_stage": "pretrained", "general.test_tokens": 500}
UNTRAINED = {**ALONE, "pretraining.epochs": 0}

Final = Mapping[str, float]


@pytest.fixture
def config(experiment: Experiment) -> RunConfig:
    """A tiny run on real sentences."""
    return override(variant_config(experiment, "tiny", "fine-tuned"), {"unlabelled.valid_tokens": 100})


@pytest.fixture
def final(config: RunConfig, tmp_path: Path) -> Callable[[Mapping[str, Any]], Final]:
    """Makes the last stage of the config with changes, and returns its final numbers."""

    def make(changes: Mapping[str, Any]) -> Final:
        stage = final_stage(override(config, changes), 0, None)
        found: Final = StageStore(tmp_path / "stages").get_or_compute(stage, Observer()).summary["final"]
        return found

    return make


def test_one_models_perplexity_does_not_depend_on_how_it_would_be_trained(
    final: Callable[[Mapping[str, Any]], Final],
) -> None:
    """Not in one bit, on validation and test text: weights drawn by one seed, never trained."""
    found = [final({**UNTRAINED, "pretraining.batch_size": size}) for size in (2, 4, 32)]
    found += [final({**UNTRAINED, "pretraining.bptt": 7, "pretraining.stochastic_bptt": False})]
    assert {"perplexity", "loss", "accuracy", "valid_perplexity"} <= found[0].keys()
    assert found[1:] == found[:1] * 3


def test_the_batch_of_evaluation_is_near_a_single_stream(final: Callable[[Mapping[str, Any]], Final]) -> None:
    """Within .02 nats on 500 words, where starts without context weigh most; a hundred streams are further away."""
    trained = {**ALONE, "pretraining.epochs": 6, "pretraining.lr": 0.02}
    few, one, many = (final({**trained, "lm.eval_batch_size": size}) for size in (10, 1, 100))
    assert 0 < abs(few["loss"] - one["loss"]) < 0.02 < abs(many["loss"] - one["loss"])
    assert 0 < abs(few["valid_loss"] - one["valid_loss"]) < 0.02


def test_the_batch_of_evaluation_is_in_the_keys_of_language_models_and_no_other(config: RunConfig) -> None:
    def keys(settings: RunConfig) -> dict[str, str]:
        return {stage.kind: str(stage.key) for stage in final_stage(settings, 0, None).ancestry()}

    before, after = keys(config), keys(override(config, {"lm.eval_batch_size": 1}))
    assert {kind for kind in before if before[kind] != after[kind]} == {"pretrained", "fine-tuned"}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"lm.eval_batch_size": 1}, True),
        ({"lm.drop_mult": 0.9}, True),
        ({"lm.tie_weights": False}, True),
        ({"lm.hidden_size": 25, "lm.n_layers": 2}, False),
        ({"lm.backwards": True}, False),
    ],
)
def test_a_classifier_without_a_language_model_is_the_same_however_one_is_trained(
    config: RunConfig, change: Mapping[str, Any], same: bool
) -> None:
    alone = override(config, {"classifier.init": "random"})
    found = [final_stage(each, 0, None).fingerprint for each in (alone, override(alone, change))]
    assert (found[0] == found[1]) == same
    trained = [final_stage(each, 0, None).fingerprint for each in (config, override(config, change))]
    assert trained[0] != trained[1]


def test_windows_of_evaluation_are_not_drawn() -> None:
    batches = make_evaluation_batches(np.arange(5000), LanguageModelConfig())
    assert batches.plan(0) == batches.plan(1)
    assert {window.length for window in batches.plan(0)[:-1]} == {70}
    with pytest.raises(DataError, match="lower"):
        make_evaluation_batches(np.arange(5), LanguageModelConfig())
