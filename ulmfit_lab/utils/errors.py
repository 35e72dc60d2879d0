"""The errors a user can cause or cure; the command line shows each as one line.

Every message says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

LONGEST = 2000
"""Characters of a message: what a hostile file holds may stand in it, whatever its length."""


NEAREST_OF = 1000
"""Names that are looked through for the nearest, which takes milliseconds a name where they are long."""


class LabError(Exception):
    """Base of all errors that are reported in one line, without a traceback; of a long one the middle is left out."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        half = LONGEST // 2
        super().__init__(line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}")


class ConfigError(LabError):
    """A config value or name that cannot be used; names the field's dotted path."""


class DataError(LabError):
    """A file or data set that cannot be read as asked; names the file, and the row where there is one."""


class MismatchError(LabError):
    """A checkpoint, vocabulary or direction that does not belong with what it is used for."""


class TrainingError(LabError):
    """Training that cannot go on, such as a loss that is not finite."""


class IncompleteError(LabError):
    """A report asked of a grid that has holes."""


def first_line(error: BaseException) -> str:
    """What an error says, without what follows its first line, such as the statement that a database refused."""
    return str(error).partition("\n")[0]


def suggest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known name, or lists the known ones."""
    names = sorted(islice(known, NEAREST_OF))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(names) or 'none'}."
