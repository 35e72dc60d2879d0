"""Contrasts over seeds and test documents together, from the runs' stored test predictions.

They are kept as `documents.json` beside a report's runs.csv, so that a clone without the predictions makes the same
tables.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ulmfit_lab.analysis.comparisons import paired_seeds, replicates_at
from ulmfit_lab.analysis.crossed import compare_crossed
from ulmfit_lab.analysis.interim import Cell
from ulmfit_lab.analysis.spec import DocumentInterval, ReportSpec
from ulmfit_lab.config.paths import fingerprint
from ulmfit_lab.tracking.predictions import Predictions, find_predictions
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.files import json_text
from ulmfit_lab.utils.home import Home

FILE = "documents.json"
MEASURES = {"final/error": False, "final/accuracy": True}
"""Metrics that are a mean over test documents -> whether a right answer counts as 1."""
DIGITS = 6


def find_document_intervals(
    runs: pd.DataFrame, spec: ReportSpec, tracked: Sequence[TrackedRun], home: Home
) -> tuple[DocumentInterval, ...]:
    """Return the intervals of the contrasts of a complete grid whose runs all have predictions in the home."""
    if spec.metric not in MEASURES:
        return ()
    found = {(run.variant, run.level, run.seed): find_predictions(run, home) for run in tracked}
    predictions = {cell: each for cell, each in found.items() if each is not None}
    places = [(level, variant, against) for variant, against in spec.pairs for level in spec.levels]
    rows = [compare_documents(runs, spec, place, predictions) for place in places]
    return tuple(row for row in rows if row)


def compare_documents(
    runs: pd.DataFrame, spec: ReportSpec, place: tuple[str, str, str], predictions: Mapping[Cell, Predictions]
) -> DocumentInterval | None:
    """Compare two variants at a level; None without two replicates whose predictions are of the same documents."""
    level, variant, against = place
    seeds, clusters = paired_seeds(runs, spec, place), np.array(replicates_at(runs, spec, place).clusters)
    cells = [[(side, level, seed) for seed in seeds] for side in (variant, against)]
    if len(set(clusters)) < 2 or any(cell not in predictions for side in cells for cell in side):
        return None
    first, *others = [predictions[cell].labels for side in cells for cell in side]
    if len(first) < 2 or any(not np.array_equal(first, labels) for labels in others):
        return None
    sides = [np.array([predictions[cell].right == MEASURES[spec.metric] for cell in side], float) for side in cells]
    differences = spec.metric_scale * (sides[0] - sides[1])
    by_replicate = np.array([differences[clusters == each].mean(axis=0) for each in np.unique(clusters)])
    numbers = dataclasses.asdict(compare_crossed(by_replicate))
    rounded: dict[str, Any] = {
        name: round(value, DIGITS) if isinstance(value, float) else value for name, value in numbers.items()
    }
    return DocumentInterval(level=level, variant=variant, against=against, **rounded)


def runs_digest(runs: pd.DataFrame) -> str:
    """Return a digest of the ids of the runs."""
    return fingerprint(sorted(map(str, runs["run_id"])))


def document_intervals_json(spec: ReportSpec, runs: pd.DataFrame) -> bytes:
    """Return the content of documents.json."""
    rows = [dataclasses.asdict(each) for each in spec.documents]
    content = {"runs": runs_digest(runs), "metric": spec.metric, "contrasts": rows}
    return f"{json_text(content, indent=1)}\n".encode()


def read_document_intervals(folder: Path, runs: pd.DataFrame, spec: ReportSpec) -> tuple[DocumentInterval, ...]:
    """Return the intervals of the contrasts in a report's documents.json.

    None if it has no such file, or one of other runs or of another metric. Raises DataError if the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = [DocumentInterval(**each) for each in found["contrasts"]]
        same = (found["runs"], found["metric"]) == (runs_digest(runs), spec.metric)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); make the report again.") from error
    wanted = {(variant, against, level) for variant, against in spec.pairs for level in spec.levels}
    return tuple(row for row in rows if same and (row.variant, row.against, row.level) in wanted)
