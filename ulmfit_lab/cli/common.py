"""What the commands share: the lab's home with its tracking store, and the folder of data sets."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ulmfit_lab.tracking.sqlite_reader import RunReader
    from ulmfit_lab.utils.home import Home


def open_lab(args: argparse.Namespace, *, write: bool = True) -> tuple[Home, Any]:
    """The home folder and the tracker on its store; to be read alone, where nothing will be written."""
    from ulmfit_lab.tracking.tracker import open_tracker
    from ulmfit_lab.utils.home import open_home

    home = open_home(args.home, args.tracking_uri, write=write)
    return home, open_tracker(home, args.tracking_uri)


def open_runs(args: argparse.Namespace, *, write: bool = False) -> tuple[Home, RunReader]:
    """The home folder and the reader of its store's runs; write: whether the command may write to the home."""
    from ulmfit_lab.tracking.sqlite_reader import open_reader
    from ulmfit_lab.utils.home import open_home

    home = open_home(args.home, args.tracking_uri, write=write)
    return home, open_reader(home, args.tracking_uri)


def data_of(args: argparse.Namespace) -> Path | None:
    """The folder of named data sets, if the user has said one."""
    from ulmfit_lab.utils.home import data_dir

    return data_dir(args.data_dir)


def trouble_with_files(error: OSError) -> str:
    """What is wrong with a folder or a disk, and what to do; empty for an error that is not one of them.

    >>> trouble_with_files(PermissionError(errno.EACCES, "Permission denied", "/lab/stages"))
    '/lab/stages: Permission denied; set ULMFIT_LAB_HOME, --home or --results to a folder that you may write.'
    >>> trouble_with_files(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    ''
    """
    hints = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room on the disk")
    folders = errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST
    hints |= dict.fromkeys(folders, "set ULMFIT_LAB_HOME, --home or --results to a folder that you may write")
    hint = hints.get(error.errno or 0)
    return f"{error.filename or 'A file'}: {error.strerror}; {hint}." if hint else ""


def print_failures(failures: Iterable[tuple[str, str]], what: str = "FAILED") -> None:
    """List what failed, or what else became of runs, on standard error: names that share a reason on one line."""
    names: dict[str, list[str]] = {}
    for name, reason in failures:
        names.setdefault(reason, []).append(name)
    for reason, failed in names.items():
        print(f"{what} {'; '.join(failed)}: {' '.join(reason.split())}", file=sys.stderr)
