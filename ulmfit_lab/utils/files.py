"""Atomic writes, JSON and digests of files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ulmfit_lab.utils.errors import DataError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def write_output(path: Path) -> Iterator[Path]:
    """As `atomic_write`, for a file that the user names; raises DataError if it cannot be written."""
    check_writable(path)
    try:
        with atomic_write(path) as temporary:
            yield temporary
    except OSError as error:
        raise unwritable(path, f": {error.strerror or error}") from error


def check_writable(path: Path) -> None:
    """Raise DataError unless a file can be written at a path."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise unwritable(path)


def unwritable(path: Path, why: str = "") -> DataError:
    """Return the error of a file that cannot be written."""
    return DataError(f"{path} cannot be written{why}; give a file in a folder that exists and is writable.")


INFLATED, INFLATION = 2**28, 100
"""Limit of a file's unpacked size: the larger of these bytes and this multiple of its size.

Text and numbers are compressed 2 to 10 times.
"""


def unpacked_limit(path: Path) -> int:
    """Return the maximum unpacked size of a compressed file in bytes."""
    return max(INFLATED, INFLATION * path.stat().st_size)


def json_text(value: Any, **options: Any) -> str:
    """Return a value as JSON, with null for numbers that are not finite; options are those of json.dumps."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def parse_number(value: Any) -> float:
    """Read a number written by `json_text`, null as nan; raises TypeError or ValueError for anything else."""
    return math.nan if value is None else float(value)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
