"""Views of an experiment's runs in MLflow's UI, which stores shared views as tags of the experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ulmfit_lab.tracking.names import NOTE
from ulmfit_lab.training.metrics import find_metric, prediction_metrics

KEY = "runs"
VIEW = f"mlflow.sharedViewState.{KEY}"
"""Tag of an experiment: the state of the lab's view."""
SUMMARY = "lab.summary"
"""Tag of an experiment: the parent run with the comparison."""
CELLS = "tags.`lab.kind` = 'cell'"


def view_tags(view: Mapping[str, Any], about: str, experiment: str, parent: str) -> dict[str, str]:
    """Tags of an experiment (by id): view of its runs, description with a link to the comparison, parent run."""
    return {
        VIEW: json.dumps(view),
        NOTE: f"{about}\n\n[Verdict, table and figures]({page_of(experiment, parent)})",
        SUMMARY: parent,
    }


def runs_view(measure: str) -> dict[str, Any]:
    """State of MLflow's list of runs: best first, with variant, level, seed and metrics."""
    others = (*(f"final/{metric.name}" for metric in prediction_metrics()), "final/lm_perplexity")
    return {
        "searchFilter": CELLS,
        "orderByKey": f"metrics.`{measure}`",
        "orderByAsc": find_metric(measure).lower_is_better,
        "selectedColumns": [
            *(f"tags.`{name}`" for name in ("variant", "level", "seed")),
            *(f"metrics.`{name}`" for name in dict.fromkeys([measure, *others])),
            "attributes.`Duration`",
        ],
    }


def pages_of(experiment: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Name -> path of the pages of an experiment (by id), relative to the UI's address."""
    summary = {"verdict": page_of(experiment, tags[SUMMARY])} if tags.get(SUMMARY) else {}
    return {**summary, "runs": page_of(experiment) + (f"?viewStateShareKey={KEY}" if VIEW in tags else "")}


def page_of(experiment: str, run: str = "") -> str:
    """Path of a run's page, or of an experiment's list of runs, relative to the UI's address."""
    return f"#/experiments/{experiment}/runs" + (f"/{run}" if run else "")
