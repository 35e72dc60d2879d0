"""Functions shared by the commands: opening the home, the tracking store and the data folder; error messages."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ulmfit_lab.tracking.records import TrackedRun
    from ulmfit_lab.tracking.sqlite_reader import RunReader
    from ulmfit_lab.utils.home import Home


def open_lab(args: argparse.Namespace, *, write: bool = True) -> tuple[Home, Any]:
    """Return the home and a tracker of its store.

    write: whether the home must be writable
    """
    from ulmfit_lab.tracking.tracker import open_tracker
    from ulmfit_lab.utils.home import open_home

    home = open_home(args.home, args.tracking_uri, write=write)
    return home, open_tracker(home, args.tracking_uri)


def open_runs(args: argparse.Namespace, *, write: bool = False) -> tuple[Home, RunReader]:
    """Return the home and a reader of its tracked runs; faster than `open_lab`.

    write: whether the home must be writable
    """
    from ulmfit_lab.tracking.sqlite_reader import open_reader
    from ulmfit_lab.utils.home import open_home

    home = open_home(args.home, args.tracking_uri, write=write)
    return home, open_reader(home, args.tracking_uri)


def choose_run(args: argparse.Namespace, name: str) -> tuple[Home, TrackedRun]:
    """Return the home and the run with this name."""
    from ulmfit_lab.runs.lookup import find_named_run

    home, reader = open_runs(args)
    return home, find_named_run(name, reader, Path(args.results))


def data_of(args: argparse.Namespace) -> Path | None:
    """Return the folder of named data sets, or None if it is not set."""
    from ulmfit_lab.utils.home import data_dir

    return data_dir(args.data_dir)


def describe_file_error(error: OSError) -> str:
    """Return a message for an error of permissions, paths or disk space; empty for other errors.

    >>> describe_file_error(PermissionError(errno.EACCES, "Permission denied", "/lab/stages"))
    '/lab/stages: Permission denied; set ULMFIT_LAB_HOME, --home or --results to a writable folder.'
    >>> describe_file_error(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    ''
    """
    hints = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free disk space")
    folders = errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST
    hints |= dict.fromkeys(folders, "set ULMFIT_LAB_HOME, --home or --results to a writable folder")
    hint = hints.get(error.errno or 0)
    return f"{error.filename or 'A file'}: {error.strerror}; {hint}." if hint else ""


def print_failures(failures: Iterable[tuple[str, str]], what: str = "FAILED") -> None:
    """Print failures (name, reason) to standard error, one line per reason."""
    names: dict[str, list[str]] = {}
    for name, reason in failures:
        names.setdefault(reason, []).append(name)
    for reason, failed in names.items():
        print(f"{what} {'; '.join(failed)}: {' '.join(reason.split())}", file=sys.stderr)
