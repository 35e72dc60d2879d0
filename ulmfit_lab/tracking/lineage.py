"""Lineage of stages: each stage folder names the run that computed it, for links between MLflow's pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ulmfit_lab.config.paths import fingerprint
from ulmfit_lab.utils.files import atomic_write

SIGNATURE = "run.json"
"""File in a stage folder: the run that computed it, and the fingerprint of its tracking URI."""
SHOWN = 8
"""Number of digits of a fingerprint that are shown."""


def save_origin(folder: Path, name: str, page: str, uri: str) -> None:
    """Write name and page of the run that computed a stage into its folder."""
    with atomic_write(folder / SIGNATURE) as place:
        place.write_text(json.dumps({"name": name, "page": page, "store": fingerprint(uri)}), encoding="utf-8")


def read_origin(folder: Path, name: str, fresh: bool, uri: str) -> str:
    """Describe a stage: name, fingerprint, and a link to the run that computed it, if known in this store.

    fresh: whether the described run itself computed the stage
    """
    stage = f"{name} `{folder.name[:SHOWN]}`"
    if fresh:
        return f"{stage}, computed by this run"
    try:
        signed = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))
        if signed["store"] == fingerprint(uri):
            return f"{stage}, reused; computed by [{signed['name']}]({signed['page']})"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return f"{stage}, reused"


def add_origins(about: str, lines: Sequence[str]) -> str:
    """Append a list of stage origins to a run's description."""
    return "\n".join([about, "", "Came from:", "", *(f"- {line}" for line in lines)]) if lines else about
