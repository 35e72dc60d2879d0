"""Errors that the command line shows as one line: what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

LONGEST = 2000
"""Longest message in characters; messages may quote the content of a file."""


NEAREST_OF = 1000
"""Names searched for the nearest one."""


class LabError(Exception):
    """Base class of errors reported in one line without a traceback; the middle of a long message is cut out."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        half = LONGEST // 2
        super().__init__(line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}")


class ConfigError(LabError):
    """An invalid config value or name; the message names the field's dotted path."""


class DataError(LabError):
    """A file or data set that cannot be read; the message names the file and row."""


class MismatchError(LabError):
    """A checkpoint, vocabulary or direction that does not match its use."""


class TrainingError(LabError):
    """Training that cannot continue, for example because a loss is not finite."""


class IncompleteError(LabError):
    """A report of a sweep with unfinished runs."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error, without the statement that a database appends."""
    return str(error).partition("\n")[0]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest known name, or lists the known ones."""
    names = sorted(islice(known, NEAREST_OF))
    return suggest_nearest(name, names) or f"Known: {', '.join(names) or 'none'}."


def suggest_nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest known name; empty if none is near."""
    close = difflib.get_close_matches(name, sorted(islice(known, NEAREST_OF)), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""


def sweep_command(experiment: str, scale: str) -> str:
    """Return the command that makes the missing runs of an experiment."""
    return f"ulmfit-lab sweep {experiment} --scale {scale}"
