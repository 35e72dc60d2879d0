"""Names and descriptions in MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ulmfit_lab.tracking.records import ALSO, decode_other_names
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import mlflow_command

REPRODUCTIONS = "reproductions"
"""MLflow experiment of reproductions."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag that makes MLflow's UI open the experiment on its runs, not on traces."""
NOTE = "mlflow.note.content"
"""Tag shown as description, in Markdown."""
LONGEST_TAG = 7900  # characters; MLflow's limit is 8,000


def format_title(experiment: str, scale: str) -> str:
    """Name of the MLflow experiment."""
    return f"{experiment} ({scale})" if scale else experiment


def deleted_experiment(title: str, experiment_id: object, uri: str) -> LabError:
    """The error for an MLflow experiment that is in MLflow's trash, with the command that restores it."""
    hint = mlflow_command(uri, "experiments", "restore", "--experiment-id", str(experiment_id))
    return LabError(f"{title} was deleted in MLflow; restore it: {hint}")


def describe_cell(tags: Mapping[str, str]) -> str:
    """Description of a run."""
    names = [
        (tags.get("variant", ""), tags.get("level", ""), tags.get("seed", "")),
        *decode_other_names(tags.get(ALSO, "")),
    ]
    cells = [f"**{v}**{f' at level {level}' if level else ''}, seed {seed}" for v, level, seed in names]
    return f"Variant {'; also '.join(cells)}, of `{tags.get('experiment', '')}`, scale {tags.get('scale', '')}."


def truncate(text: str) -> str:
    """Truncate a description to MLflow's limit, at the end of a line."""
    if len(text) <= LONGEST_TAG:
        return text
    return text[: LONGEST_TAG - 40].rpartition("\n")[0] + "\n\n(cut; the whole is among the files)"


def metric_names(names: Iterable[str]) -> list[str]:
    """Convert names to unique valid MLflow metric names, deterministically."""
    taken: list[str] = []
    for name in names:
        parts = re.sub(r"[^\w\-. :/]", "_", name).split("/")
        plain = "/".join(part for part in parts if part not in ("", ".", "..")).lstrip(".")[:240] or "_"
        while plain in taken:
            plain += "_"
        taken.append(plain)
    return taken
