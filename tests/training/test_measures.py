"""The metrics by hand and beside scikit-learn's; what an experiment may measure, and that docs list it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from ulmfit_lab.training.metrics import METRICS, classification_metrics, find_metric, metric_names, metrics_table
from ulmfit_lab.utils.errors import ConfigError

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6], [0.3, 0.4, 0.3], [0.5, 0.25, 0.25]])
LABELS = np.array([0, 2, 0, 1])


def test_metrics_by_hand() -> None:
    """Guesses 0, 2, 1, 0 of 0, 2, 0, 1: F1 is 1/2, 0 and 1; squared distances .14, .24, .74 and .875."""
    found = classification_metrics(PROBABILITIES, LABELS)
    assert found["accuracy"] == 0.5 and found["error"] == 0.5
    assert found["macro_f1"] == pytest.approx(0.5)
    assert found["loss"] == pytest.approx(-np.log([0.7, 0.6, 0.3, 0.25]).mean())
    assert found["brier"] == pytest.approx((0.14 + 0.24 + 0.74 + 0.875) / 4)
    # two of four labels are 0, and two of four guesses are right: no better than the majority class
    assert found["above_majority"] == 0.0
    assert classification_metrics(np.eye(3)[LABELS], LABELS)["above_majority"] == 0.5


@pytest.mark.parametrize("n_classes", [2, 5])
def test_metrics_are_those_of_scikit_learn(n_classes: int) -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(n_classes), 200), rng.integers(0, n_classes, 200)
    found = classification_metrics(probabilities.astype(np.float32), labels)
    assert found["loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, probabilities.argmax(1), average="macro"))
    distances = ((probabilities - np.eye(n_classes)[labels]) ** 2).sum(1)
    assert found["brier"] == pytest.approx(distances.mean(), rel=1e-5)


def test_a_certain_mistake_has_a_finite_loss_and_no_number_has_none() -> None:
    certain = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert np.isfinite(classification_metrics(certain, np.array([1, 1]))["loss"])
    assert classification_metrics(certain[:, ::-1], np.array([1, 0]))["brier"] == 0
    unknown = classification_metrics(np.full((2, 2), np.nan, np.float32), np.array([1, 0]))
    assert np.isnan(unknown["loss"]) and np.isnan(unknown["brier"])


def test_a_measure_is_a_metric_of_a_part_of_the_data() -> None:
    shown = {
        name: (m.label, m.scale, m.lower_is_better)
        for name, m in ((name, find_metric(name)) for name in metric_names())
    }
    assert shown["final/error"] == ("Test error (%)", 100, True)
    assert shown["final/perplexity"] == ("Test perplexity", 1, True)
    assert shown["final/valid_macro_f1"] == ("Validation macro F1 (%)", 100, False)
    assert shown["final/brier"] == ("Test Brier score", 1, True)
    for wrong, meant in (("final/macrof1", "final/macro_f1"), ("error", "final/error"), ("final/breir", "final/brier")):
        with pytest.raises(ConfigError, match=f"Did you mean '{meant}'"):
            find_metric(wrong)


def test_each_metric_stands_once_in_the_table_and_docs_list_them_all() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert metrics_table() in page.read_text(encoding="utf-8")


def test_an_experiment_is_declared_without_what_computes_metrics() -> None:
    heavy = (
        "import sys, ulmfit_lab.experiment.declaration; print(sorted({'torch', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
