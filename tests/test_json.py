"""Numbers that are not finite: no JSON holds them, and none passes for a result."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.analysis.spec import Published
from ulmfit_lab.cli.runs import list_runs
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.pipeline.store import read_stage
from ulmfit_lab.report.new_metrics import measured_value
from ulmfit_lab.sweep.runner import check_metric_measured
from ulmfit_lab.tracking.records import restore_infinity
from ulmfit_lab.training.metrics import find_metric
from ulmfit_lab.utils.errors import ConfigError, IncompleteError, TrainingError
from ulmfit_lab.utils.files import json_text, parse_number


def strict(text: str) -> Any:
    """Read JSON as other programs do, which know no NaN and no Infinity."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_what_json_does_not_have_is_null(value: float) -> None:
    found = strict(json_text({"a": [value, 1.5, "NaN"], "b": (value, {"c": value, "d": True})}))
    assert found == {"a": [None, 1.5, "NaN"], "b": [None, {"c": None, "d": True}]}
    assert math.isnan(parse_number(found["a"][0])) and parse_number(found["a"][1]) == 1.5


def test_a_run_without_a_finite_measure_is_no_result(
    new_lab: Callable[[str], Any], experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow's database keeps the largest float in place of an infinite one."""
    lab = new_lab("infinite")
    parent = lab.tracker.open_sweep("starts", "tiny", "d", "?", {})
    tags = {"experiment": "starts", "scale": "tiny", "variant": "random", "level": "", "seed": "0", "lab.cell": "c"}
    with lab.tracker.start_cell(parent, "random, seed 0", {}, tags) as log:
        log.log_final({"final/error": math.inf, "final/loss": math.nan, "final/accuracy": 0.5})
    (run,) = lab.tracker.runs("starts", "tiny", "FINISHED")
    assert run.metrics["final/error"] == math.inf and math.isnan(run.metrics["final/loss"])
    for name in ("final/error", "final/loss"):
        with pytest.raises(IncompleteError, match=f"no finite {name}"):
            measured_value(run, find_metric(name))
        with pytest.raises(TrainingError, match=f"{name} of this run is"):
            check_metric_measured(replace(experiment, metric=name), run.metrics)
    assert list_runs(experiment, "tiny", lab.tracker, "json") == 0
    (printed,) = strict(capsys.readouterr().out)
    assert printed["metrics"] == {"final/error": None, "final/loss": None, "final/accuracy": 0.5}


def test_the_largest_float_of_a_database_was_an_infinite_one() -> None:
    assert restore_infinity(sys.float_info.max) == math.inf and restore_infinity(-sys.float_info.max) == -math.inf
    assert restore_infinity(1e300) == 1e300 and math.isnan(restore_infinity(math.nan))


def test_a_stage_writes_json_that_every_program_reads(tmp_path: Path) -> None:
    from ulmfit_lab.pipeline.store import Observer, Stage, StageContext, StageStore
    from ulmfit_lab.training.progress import Point

    def compute(work: StageContext) -> dict[str, Any]:
        work.record(Point(1, 0.5, {"loss": math.inf}))
        return {"final": {"loss": math.nan}}

    stage = Stage("tokens", {"a": 1}, {}, compute)
    stored = StageStore(tmp_path).get_or_compute(stage, Observer())
    assert strict((stored.folder / "stage.json").read_text())["summary"] == {"final": {"loss": None}}
    assert [strict(line)["values"] for line in (stored.folder / "points.jsonl").read_text().splitlines()]
    assert math.isnan(stored.points()[0].values["loss"]) and read_stage(stored.folder, reused=True)


def test_a_published_value_is_a_finite_number(experiment: Experiment) -> None:
    row = Published(variant="random", against="fine-tuned", what="error", value=math.inf, source="?")
    with pytest.raises(ConfigError, match="published value inf of error must be a finite number"):
        replace(experiment, report=replace(experiment.report, published=(row,)))
