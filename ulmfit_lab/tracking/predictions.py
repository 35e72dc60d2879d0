"""A run's test predictions: kept by its last stage, as an artifact of the run, and in exports.

The artifact is JSON: `labels` and `predicted` are class numbers, `probability` that of the predicted class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit_lab.pipeline.store import read_stage
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.home import Home

FILE = "predictions.json"
KINDS = ("classifier", "ensemble")
"""Kinds of the stages that keep predictions."""
LARGEST_CLASS = 2**31


@dataclass(frozen=True)
class Predictions:
    """Predictions for test documents, in the order of the test set."""

    labels: np.ndarray
    """Class numbers (n,)."""
    predicted: np.ndarray
    """Numbers of the most probable classes (n,)."""
    probability: np.ndarray
    """Their probabilities (n,)."""

    @property
    def right(self) -> np.ndarray:
        """Whether the predicted class is the label, (n,) bool."""
        return np.asarray(self.predicted == self.labels)

    def to_fields(self) -> dict[str, list[Any]]:
        """Return JSON fields; probabilities have 4 digits."""
        return {
            "labels": self.labels.tolist(),
            "predicted": self.predicted.tolist(),
            "probability": [round(float(each), 4) for each in self.probability],
        }


def parse_predictions(found: Mapping[str, Any]) -> Predictions:
    """Predictions from their JSON fields; raises KeyError, TypeError or ValueError if they are invalid."""
    labels, predicted, probability = (list(found[name]) for name in ("labels", "predicted", "probability"))
    if not len(labels) == len(predicted) == len(probability):
        raise ValueError("labels, predictions and probabilities of a run differ in number")
    if any(type(each) is not int or not 0 <= each < LARGEST_CLASS for each in (*labels, *predicted)):
        raise ValueError("a class of a prediction is no class number")
    if any(type(each) not in (int, float) or not 0 <= each <= 1 for each in probability):
        raise ValueError("a probability of a prediction is not between 0 and 1")
    return Predictions(np.array(labels, int), np.array(predicted, int), np.array(probability, float))


def stored_predictions(folder: Path) -> Predictions | None:
    """Test predictions of a stage's folder; None if it has none."""
    files = [folder / f"test_{what}.npy" for what in ("labels", "predictions")]
    if not (all(file.is_file() for file in files) and read_stage(folder, reused=True)):
        return None
    labels, probabilities = (np.load(file, allow_pickle=False) for file in files)
    return Predictions(labels, probabilities.argmax(1), probabilities.max(1))


def find_predictions(run: TrackedRun, home: Home) -> Predictions | None:
    """A run's test predictions, from its stage or its artifact in the home; None if neither is there.

    Raises DataError if the artifact is damaged.
    """
    for kind in KINDS:
        if found := stored_predictions(home.stages / kind / run.fingerprint):
            return found
    path = home.artifacts / run.run_id / "artifacts" / FILE
    if not path.is_file():
        return None
    try:
        return parse_predictions(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no predictions of a run ({error}); delete it.") from error
