"""What MLflow's pages of an experiment show at first sight: views of its runs, as tags that the UI reads.

MLflow's list of runs opens with a folded sweep and no metric. A view that somebody shared is kept by the UI as a tag of
the experiment, and opened by the key in the tag's name; the lab writes such tags itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ulmfit_lab.tracking.names import NOTE
from ulmfit_lab.training.metrics import find_metric, prediction_metrics

VIEW = "mlflow.sharedViewState."
"""How the tags begin that hold a view of an experiment, with the view's key behind: "means" or "runs" for the lab's."""
SUMMARY = "lab.summary"
"""Tag of an experiment: the run that holds the comparison of its variants."""
CELLS = "tags.`lab.kind` = 'cell'"


def view_tags(measure: str, about: str, experiment: str, parent: str) -> dict[str, str]:
    """Tags of an experiment (by id): views of its means and runs, a description that leads to the comparison."""
    return {
        f"{VIEW}means": json.dumps(means_view(measure)),
        f"{VIEW}runs": json.dumps(runs_view(measure)),
        NOTE: f"{about}\n\n[Verdict, table and figures]({page_of(experiment, parent)})",
        SUMMARY: parent,
    }


def means_view(measure: str) -> dict[str, Any]:
    """The state of MLflow's list of runs that shows the means of variants, best first, with their verdicts."""
    columns = [f"tags.`{name}`" for name in ("variant", "level", "verdict")]
    return {
        "searchFilter": "tags.`lab.kind` = 'mean'",
        "orderByKey": f"metrics.`{measure}`",
        "orderByAsc": find_metric(measure).lower_is_better,
        "selectedColumns": [*columns, *(f"metrics.`{name}`" for name in ("mean", "sd", "low", "high", "n", "p"))],
    }


def runs_view(measure: str) -> dict[str, Any]:
    """The state of MLflow's list of runs, by the names of its user interface.

    It shows them best first, with variant, level, seed and what the experiment measures.
    """
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
    """What there is to see of an experiment (by id) -> page, relative to the UI's address; best first."""
    summary = {"verdict": page_of(experiment, tags[SUMMARY])} if tags.get(SUMMARY) else {}
    views = {key: f"{page_of(experiment)}?viewStateShareKey={key}" for key in ("means", "runs") if VIEW + key in tags}
    return {**summary, "runs": page_of(experiment), **views}


def page_of(experiment: str, run: str = "") -> str:
    """A run's page, or that of an experiment's runs, relative to the UI's address."""
    return f"#/experiments/{experiment}/runs" + (f"/{run}" if run else "")
