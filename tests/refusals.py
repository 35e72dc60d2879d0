"""What every test of damaged files asks for: a result, or one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ulmfit_lab.utils.errors import LabError


def reads_or_refuses(read: Callable[[], Any], path: Path) -> None:
    """A result, or one line that names the file."""
    try:
        read()
    except LabError as error:
        told = str(error)
    else:
        return
    assert str(path) in told
    assert "\n" not in told
