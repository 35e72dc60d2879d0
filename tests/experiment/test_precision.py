"""`compute.precision = "auto"` is one precision for a whole sweep: the faster one where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ulmfit_lab.config.paths import override
from ulmfit_lab.config.scales import SCALES
from ulmfit_lab.experiment.declaration import Experiment, run_specs
from ulmfit_lab.experiment.plan import plan_runs
from ulmfit_lab.experiment.precision import resolve_precision
from ulmfit_lab.pipeline.devices import fastest_precision, has_bfloat16_lstm
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.utils.errors import ConfigError

AUTO = {"compute.precision": "auto"}
SLOW, FAST = {"float32": 178e9, "bfloat16": 18e9}, {"float32": 100e9, "bfloat16": 240e9}


def precisions(experiment: Experiment, overrides: Mapping[str, Any]) -> set[str]:
    """The precisions of an experiment's runs."""
    return {spec.config.compute.precision for spec in run_specs(experiment, "tiny", overrides)}


@pytest.mark.parametrize("place", ["scale", "variant", "override", "tuned"])
@pytest.mark.parametrize(("speeds", "expected"), [(SLOW, "float32"), (FAST, "bfloat16")])
@pytest.mark.bfloat16
def test_auto_is_the_faster_precision_wherever_it_is_written(
    lab: Any, experiment: Experiment, place: str, speeds: Mapping[str, float], expected: str
) -> None:
    overrides: dict[str, Any] = {}
    variants = {name: dict(changes) for name, changes in experiment.variants.items()}
    if place == "scale":
        experiment = replace(experiment, scales={"tiny": {**experiment.scales["tiny"], **AUTO}})
    elif place == "variant":
        variants["random"] |= AUTO
        experiment = replace(experiment, variants=variants)
    elif place == "tuned":
        experiment = replace(experiment, tuned={"tiny": {"random": AUTO}})
    else:
        overrides = {**AUTO, "lm.drop_mult": 0.1}
    resolved = resolve_precision(experiment, "tiny", overrides, list, lab.home, lambda: speeds)
    assert precisions(*resolved) == ({"float32", expected} if place in ("variant", "tuned") else {expected})
    assert {key: value for key, value in resolved[1].items() if key != "compute.precision"} == {
        key: value for key, value in overrides.items() if key != "compute.precision"
    }


def test_what_has_no_auto_is_left_as_it_is_and_nothing_is_measured(lab: Any, experiment: Experiment) -> None:
    def measure() -> Mapping[str, float]:
        raise AssertionError("measured")

    assert resolve_precision(experiment, "tiny", None, list, lab.home, measure) == (experiment, {})


def test_a_processor_is_measured_once_for_a_home(lab: Any, experiment: Experiment) -> None:
    measured = []

    def measure() -> Mapping[str, float]:
        measured.append(1)
        return SLOW

    for _ in range(2):
        resolve_precision(experiment, "tiny", AUTO, list, lab.home, measure)
    assert measured == [1]


def test_bfloat16_must_be_clearly_faster() -> None:
    compute = SCALES["tiny"].compute
    assert fastest_precision(compute, lambda: {"float32": 100.0, "bfloat16": 110.0}) == "float32"
    expected = "bfloat16" if has_bfloat16_lstm() else "float32"
    assert fastest_precision(compute, lambda: {"float32": 100.0, "bfloat16": 130.0}) == expected


@pytest.mark.bfloat16
def test_a_sweep_keeps_the_precision_that_it_began_with(
    lab: Any, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = replace(experiment, variants={"random": experiment.variants["random"]})
    auto = replace(random, scales={"tiny": {**experiment.scales["tiny"], **AUTO}}, seeds=(0,))
    processors = iter(["with bfloat16", "without", "without", "without"])
    monkeypatch.setattr("ulmfit_lab.experiment.precision.processor", lambda: next(processors))
    (lab.home.root / "product_speeds.json").write_text(
        '{"with bfloat16": {"float32": 1, "bfloat16": 2}, "without": {"float32": 2, "bfloat16": 1}}', encoding="utf-8"
    )
    # the first look at the processor decides; the sweep goes on elsewhere with a second seed
    assert lab.sweep(auto, overrides=resolve_precision(auto, "tiny", AUTO, list, lab.home)[1]).finished == 1
    outcome = lab.sweep(replace(auto, seeds=(0, 1)))
    assert (outcome.finished, len(outcome.plan.runs)) == (1, 2)
    runs = lab.tracker.runs("starts", "tiny", "FINISHED")
    assert {run.params["compute.precision"] for run in runs} == {"bfloat16"}


def test_a_stage_is_not_made_from_a_config_with_auto(experiment: Experiment, lab: Any) -> None:
    config = override(run_specs(experiment, "tiny")[0].config, AUTO)
    with pytest.raises(ConfigError, match="'auto' is not resolved here; set it to float32 or bfloat16"):
        final_stage(config, 0, None)
    resolved = resolve_precision(experiment, "tiny", AUTO, list, lab.home, lambda: SLOW)
    assert [each.stage.fingerprint for each in plan_runs(resolved[0], "tiny", resolved[1], None, (), lab.home.imported)]
