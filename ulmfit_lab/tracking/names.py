"""What MLflow shows of a run, in words and names that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ulmfit_lab.tracking.records import ALSO, decode_other_names
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import mlflow_command

REPRODUCTIONS = "reproductions"
"""The MLflow experiment of runs that make others again."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""What MLflow's UI takes for experiments with runs to compare, and not with traces of agents."""
NOTE = "mlflow.note.content"
"""Tag that the UI shows as a description, in Markdown."""
LONGEST_TAG = 7900  # characters; MLflow refuses tags of more than 8,000


def format_title(experiment: str, scale: str) -> str:
    """Name of the MLflow experiment; without a slash, which the UI takes for a folder."""
    return f"{experiment} ({scale})" if scale else experiment


def deleted_experiment(title: str, experiment_id: object, uri: str) -> LabError:
    """The error for an MLflow experiment that is in MLflow's trash, with the command that restores it."""
    hint = mlflow_command(uri, "experiments", "restore", "--experiment-id", str(experiment_id))
    return LabError(f"{title} was deleted in MLflow; restore it: {hint}")


def describe_cell(tags: Mapping[str, str]) -> str:
    """A run's description, in a sentence."""
    names = [
        (tags.get("variant", ""), tags.get("level", ""), tags.get("seed", "")),
        *decode_other_names(tags.get(ALSO, "")),
    ]
    cells = [f"**{v}**{f' at level {level}' if level else ''}, seed {seed}" for v, level, seed in names]
    return f"Variant {'; also '.join(cells)}, of `{tags.get('experiment', '')}`, scale {tags.get('scale', '')}."


def truncate(text: str) -> str:
    """As many whole lines of a description as MLflow takes."""
    if len(text) <= LONGEST_TAG:
        return text
    return text[: LONGEST_TAG - 40].rpartition("\n")[0] + "\n\n(cut; the whole is among the files)"


def metric_names(names: Iterable[str]) -> list[str]:
    """A name that MLflow takes for each name, no two the same, and the same ones every time."""
    taken: list[str] = []
    for name in names:
        parts = re.sub(r"[^\w\-. :/]", "_", name).split("/")
        plain = "/".join(part for part in parts if part not in ("", ".", "..")).lstrip(".")[:240] or "_"
        while plain in taken:
            plain += "_"
        taken.append(plain)
    return taken
