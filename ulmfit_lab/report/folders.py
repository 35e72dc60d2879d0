"""Where the results of an experiment lie."""

from __future__ import annotations

from pathlib import Path


def folder_of(root: Path, name: str, scale: str) -> Path:
    """ROOT/EXPERIMENT at the small scale, ROOT/SCALE/EXPERIMENT at another."""
    return root / name if scale == "small" else root / scale / name
