"""A classifier as MLflow model; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ulmfit_lab.config.paths import non_defaults, override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.inference.predict import TrainedClassifier, labels_of, load_member, predict, read_plain, read_rows
from ulmfit_lab.models.checkpoint import save_checkpoint
from ulmfit_lab.pipeline.build_models import stamp
from ulmfit_lab.utils.errors import DataError

FACTS = "classifier.json"
LABEL, PROBABILITY = "label", "p_"
"""Column of the most probable class, and prefix of the columns of probabilities."""


class ServedClassifier:
    """The model that `mlflow.pyfunc.load_model` wraps."""

    def __init__(self, trained: TrainedClassifier) -> None:
        self.trained = trained

    def predict(self, texts: pd.DataFrame | Sequence[str], params: Any = None) -> pd.DataFrame:
        """Label and class probabilities of each text, with the index of the table.

        The run's text columns are read by name. A row without words has no label and nan as probabilities. Raises
        DataError if columns are missing, or for plain texts if the run has several text columns.
        """
        if isinstance(texts, pd.DataFrame):
            rows = texts.astype(object).where(texts.notna(), None).itertuples(index=False, name=None)
            documents, index = read_rows(self.trained, [str(name) for name in texts.columns], rows), texts.index
        else:
            documents, index = read_plain(self.trained, list(texts)), pd.RangeIndex(len(texts))
        scores, classes = predict(self.trained, documents), self.trained.classes
        found: dict[str, Any] = {LABEL: labels_of(self.trained, scores)}
        found |= {f"{PROBABILITY}{name}": column.astype(float) for name, column in zip(classes, scores.T, strict=True)}
        return pd.DataFrame(found, index=index)


def inputs(trained: TrainedClassifier) -> list[str]:
    """Input columns of `ServedClassifier.predict`."""
    return list(trained.columns.names)


def columns(classes: Sequence[str]) -> dict[str, str]:
    """Output column of `ServedClassifier.predict` -> MLflow's type."""
    return {LABEL: "string"} | {f"{PROBABILITY}{name}": "double" for name in classes}


def write_served(trained: TrainedClassifier, folder: Path) -> None:
    """Write weights, vocabularies, configs and classes of a classifier into a new folder."""
    for number, (model, config) in enumerate(trained.members):
        own = folder / str(number)
        own.mkdir(parents=True)
        save_checkpoint(own / "model.safetensors", model, stamp("classifier", trained.vocabulary, config))
        trained.vocabulary.save(own / "vocabulary.json")
    facts = {"classes": trained.classes, "configs": [non_defaults(config) for _, config in trained.members]}
    (folder / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")


def read_served(folder: Path) -> TrainedClassifier:
    """Read a folder of `write_served`; raises DataError if it is invalid."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        classes, configs = tuple(facts["classes"]), [override(RunConfig(), changes) for changes in facts["configs"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{folder / FACTS} is not a valid classifier ({error}); register the run again.") from error
    loaded = [load_member(folder / str(number), config, len(classes)) for number, config in enumerate(configs)]
    members = tuple((model, config) for (model, _), config in zip(loaded, configs, strict=True))
    return TrainedClassifier(members, loaded[0][1], classes)


def _load_pyfunc(path: str) -> ServedClassifier:
    """Called by MLflow to load a model."""
    return ServedClassifier(read_served(Path(path)))
