"""Files: replaced whole or not at all, and told apart by a digest of their bytes."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A place to write what takes the place of a file, once it is whole and on the disk."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


INFLATED, INFLATION = 2**28, 100
"""Bytes, and times its size, that a file may unpack to, whichever is more.

Text and numbers are packed 2 to 10 times; only what was made to fill a memory is packed more than 100 times.
"""


def unpacked_limit(path: Path) -> int:
    """Bytes that a packed file may unpack to."""
    return max(INFLATED, INFLATION * path.stat().st_size)


def json_text(value: Any, **options: Any) -> str:
    """A value as JSON; numbers that are not finite, which JSON does not have, become null. Options are json.dumps's."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def parse_number(value: Any) -> float:
    """A number that `json_text` wrote; nan for null. Raises TypeError or ValueError for what is none."""
    return math.nan if value is None else float(value)


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
