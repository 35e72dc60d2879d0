"""The noise of a measure: over runs, over the language models that runs share, and over test documents."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Design, Experiment
from ulmfit_lab.runs.items import load_predictions
from ulmfit_lab.runs.noise import intraclass, language_models, measure_noise, power_words
from ulmfit_lab.training.metrics import find_metric


def test_the_intraclass_correlation_is_that_of_a_published_example_and_of_a_simulation() -> None:
    # Shrout & Fleiss 1979, table 2: six targets, four judges; ICC(1, 1) is .17
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    values = [float(rating) for target in ratings for rating in target]
    groups = [number for number, target in enumerate(ratings) for _ in target]
    assert intraclass(values, groups) == pytest.approx(0.17, abs=0.005)
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(200), 4)
    drawn = np.repeat(random.normal(0, 2, 200), 4) + random.normal(0, 1, 800)
    assert intraclass(list(drawn), list(clusters)) == pytest.approx(0.8, abs=0.05)
    assert math.isnan(intraclass([1.0, 2.0], [0, 1]))


def test_power_is_that_of_a_paired_t_test() -> None:
    # by hand: six pairs show 1.435 sds four times in five at 5%
    assert "6 seeds 2.87, 12 seeds" in power_words(2.0, 1)


@pytest.fixture(scope="module")
def nested(new_lab: Callable[[str], Any], experiment: Experiment) -> Any:
    """A lab with four seeds that share two language models, and the experiment."""
    lab = new_lab("noise")
    lab.experiment = replace(experiment, seeds=(0, 1, 2, 3), design=Design(language_models=2))
    assert not lab.sweep(lab.experiment).failures
    return lab


def test_a_row_is_what_the_runs_measured(nested: Any) -> None:
    runs = nested.tracker.runs("starts", "tiny", "FINISHED")
    rows = {row.variant: row for row in measure_noise(runs, find_metric("final/error"), nested.home)}
    for variant, row in rows.items():
        own = [run for run in runs if run.variant == variant]
        errors = [100 * run.metrics["final/error"] for run in own]
        assert (row.n, row.mean, row.sd) == (4, pytest.approx(mean(errors)), pytest.approx(stdev(errors)))
        shares = [1 - load_predictions(run, nested.home).right.mean() for run in own]
        expected = mean(100 * math.sqrt(share * (1 - share) / 60) for share in shares)
        assert row.document_sd == pytest.approx(expected)
    tuned = sorted((run for run in runs if run.variant == "fine-tuned"), key=lambda run: run.seed)
    assert language_models(tuned) == [0, 1, 0, 1]
    assert math.isnan(rows["random"].intraclass) and rows["random"].n == 4


def test_the_command_prints_the_rows_or_says_what_to_run(
    nested: Any, write_module: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    module = write_module(tmp_path / "starts.py", nested.experiment)
    source = module.read_text(encoding="utf-8").replace("import Experiment\n", "import Design, Experiment\n")
    module.write_text(source.replace("})\n", "}, design=Design(language_models=2))\n"), encoding="utf-8")
    options = ["--scale", "tiny", "--home", str(nested.home.root)]
    assert main(["noise", str(module), *options]) == 0
    out = capsys.readouterr().out
    assert "sd over test documents" in out and "fine-tuned" in out
    assert main(["noise", str(module), *options, "--classifier.lr", "0.7"]) == 2
    assert "run: ulmfit-lab sweep starts --scale tiny --seeds 3" in capsys.readouterr().err
