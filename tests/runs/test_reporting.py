"""From runs to published results, at the tiny scale of an experiment of the house."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.experiment.declaration import Experiment, load_experiment
from ulmfit_lab.report.publish import publish
from ulmfit_lab.report.write import read_runs

MODELS = ("base", "no pretraining", "one pass of fine-tuning", "kept by loss")


@pytest.fixture
def associating() -> Experiment:
    """`accuracy_vs_perplexity` with fewer models and seeds."""
    whole = load_experiment("accuracy_vs_perplexity")
    assert whole.report.associations is not None
    variants = {name: whole.variants[name] for name in (*MODELS, "kept by accuracy")}
    return replace(
        whole,
        variants=variants,
        seeds=(0, 1),
        report=replace(whole.report, associations=replace(whole.report.associations, variants=MODELS)),
    )


def test_a_tiny_sweep_tells_how_steady_its_language_models_were(
    lab: Any, new_lab: Callable[[str], Any], associating: Experiment, tmp_path: Path
) -> None:
    assert lab.sweep(associating).finished == 10
    folder = tmp_path / "results"
    publish(associating, "tiny", None, lab.home, None, lab.tracker, folder)
    runs = read_runs(folder / "runs.csv").set_index(["variant", "seed"])

    # what a run tells of its last epochs is what its curves show; after one epoch there is nothing to tell
    for tracked in lab.tracker.runs(associating.name, "tiny", "FINISHED"):
        row = runs.loc[(tracked.variant, tracked.seed)]
        for name, curve in (("perplexity", "loss"), ("accuracy", "accuracy")):
            points = lab.tracker.client.get_metric_history(tracked.run_id, f"fine_tuning/valid_{curve}")
            values = [point.value for point in sorted(points, key=lambda point: point.step)]
            expected = np.std(values[len(values) // 2 :], ddof=1) if len(values) > 2 else np.nan
            np.testing.assert_allclose(row[f"final/lm_{name}_epoch_sd"], expected)

    assert runs["final/lm_perplexity"].nunique() >= 8  # models of one variant differ by seed
    text = (folder / "table.md").read_text()
    assert "## Variability" in text and "## Correlation with the outcome" in text
    assert "no claim from 4 variants (at least 6 are needed)" in text
    assert [line.split(" | ")[-1] for line in text.splitlines() if line.startswith("| last epochs")] == ["3 |"] * 2

    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    clone = new_lab("clone")
    publish(associating, "tiny", None, clone.home, None, clone.tracker, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
