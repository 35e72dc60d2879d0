"""Where the parts of a run came from: a stage's folder names the run that computed it.

The name is a convenience for readers of MLflow's pages: a stage without one, or from another store, has no link.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ulmfit_lab.config.paths import fingerprint
from ulmfit_lab.utils.files import atomic_write

SIGNATURE = "run.json"
"""File in a stage's folder: the run that computed it, and the digest of the URI of the store that holds the run."""
SHOWN = 8
"""Digits of a fingerprint that are shown."""


def save_origin(folder: Path, name: str, page: str, uri: str) -> None:
    """Note in a stage's folder the name of the run that computed it, and the run's page in the UI of its store."""
    with atomic_write(folder / SIGNATURE) as place:
        place.write_text(json.dumps({"name": name, "page": page, "store": fingerprint(uri)}), encoding="utf-8")


def read_origin(folder: Path, name: str, fresh: bool, uri: str) -> str:
    """A line on a stage: its name, its fingerprint's first digits, and the run that computed it, as a link if known.

    fresh: the run that the line is for computed it.
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
    """A run's description with a list of what it came from, if there is anything."""
    return "\n".join([about, "", "Came from:", "", *(f"- {line}" for line in lines)]) if lines else about
