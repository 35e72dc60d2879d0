"""Location of results."""

from __future__ import annotations

from pathlib import Path


def folder_of(root: Path, name: str, scale: str) -> Path:
    """Return ROOT/EXPERIMENT at the small scale, ROOT/SCALE/EXPERIMENT at other scales."""
    return root / name if scale == "small" else root / scale / name
