"""Views of an experiment's runs in MLflow's UI, which stores shared views as tags of the experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ulmfit_lab.tracking.names import NOTE
from ulmfit_lab.training.metrics import find_metric, prediction_metrics

VIEW = "mlflow.sharedViewState."
"""How the tags begin that hold a view of an experiment, with the view's key behind: "means" or "runs" for the lab's."""
SUMMARY = "lab.summary"
"""Tag of an experiment: the page of the comparison, below the experiment's runs."""
VERDICT_PAGE = "verdict.html"
"""Artifact of a parent run: verdict, tables and figure (MLflow folds a run's description after four lines)."""
CELLS = "tags.`lab.kind` = 'cell'"


def view_tags(measure: str, about: str, experiment: str, parent: str) -> dict[str, str]:
    """Tags of an experiment (by id): views of its means and runs, a description that leads to the comparison."""
    page = f"{parent}/artifacts/{VERDICT_PAGE}"
    return {
        f"{VIEW}means": json.dumps(means_view(measure)),
        f"{VIEW}runs": json.dumps(runs_view(measure)),
        NOTE: f"{about}\n\n[Verdict, table and figures]({page_of(experiment, page)})",
        SUMMARY: page,
    }


def means_view(measure: str) -> dict[str, Any]:
    """The state of MLflow's list of runs that shows the means of variants, best first, with their verdicts."""
    return {
        "searchFilter": "tags.`lab.kind` = 'mean'",
        "orderByKey": f"metrics.`{measure}`",
        "orderByAsc": find_metric(measure).lower_is_better,
        "selectedColumns": [*(f"metrics.`{name}`" for name in ("mean", "low", "high", "n")), "tags.`verdict`"],
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
    views = {key: f"{page_of(experiment)}&viewStateShareKey={key}" for key in ("means", "runs") if VIEW + key in tags}
    return {**summary, **(views or {"runs": page_of(experiment)})}


def page_of(experiment: str, run: str = "") -> str:
    """Path of a run's page, or of an experiment's list of runs, relative to the UI's address.

    run: its id, with "/artifacts/" and a file's name for the page of an artifact

    The workflow type selects MLflow's pages for training, which show a run's description first.
    """
    return f"#/experiments/{experiment}/runs" + (f"/{run}" if run else "") + "?workflowType=machine_learning"
