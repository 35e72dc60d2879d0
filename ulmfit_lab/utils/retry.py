"""Retries of calls to a tracking store that is temporarily unavailable, so that no metric is lost.

Causes are a restart of a database or server, a full disk or a network file system. What is to be written waits in
memory for a limited time; a warning is logged once, and Ctrl-C ends the wait.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import Timeout
from sqlalchemy.exc import DBAPIError, OperationalError

from ulmfit_lab.utils.errors import LabError, first_line
from ulmfit_lab.utils.home import redact

P = ParamSpec("P")
T = TypeVar("T")

LONGEST = 600.0
"""Longest wait of a call in seconds."""
PAUSES = (1.0, 30.0)
"""Seconds before the first retry, doubled for each further one, and their maximum."""
AWAY = {errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH}
PASSING = ("is locked", "is full", "disk I/O error", "unable to open database file")
"""Parts of SQLite's messages for temporary errors."""

logger = logging.getLogger(__name__)


def retry(call: Callable[P, T], longest: float = LONGEST) -> Callable[P, T]:
    """Return the function with retries for `longest` seconds while its store is unavailable.

    The function must be safe to call twice. Raises LabError when the time is over.
    """

    @wraps(call)
    def trying(*args: P.args, **kwargs: P.kwargs) -> T:
        began, pause = time.monotonic(), PAUSES[0]
        while True:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not is_connection_error(error):
                    raise
                waited, why = time.monotonic() - began, redact(first_line(error))
                if waited + pause > longest:
                    raise LabError(
                        f"The tracking store did not answer for {waited:.0f} s: {why}; check that it runs and its "
                        "disk has space, then run the command again."
                    ) from error
                if pause == PAUSES[0]:
                    logger.warning(
                        "The tracking store does not answer (%s); retrying for up to %.0f s, nothing is lost.",
                        why,
                        longest,
                    )
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    return trying


def is_connection_error(error: BaseException) -> bool:
    """Return whether an error, or its cause, means that a store is temporarily unavailable."""
    if isinstance(error, DBAPIError):
        if isinstance(error.orig, sqlite3.Error):
            return any(words in str(error.orig) for words in PASSING)
        return isinstance(error, OperationalError) or error.connection_invalidated
    if isinstance(error, (ConnectionError, NoConnection, Timeout)):
        return True
    if isinstance(error, OSError):
        return error.errno in AWAY
    behind = error.__cause__ or error.__context__
    if behind is None:  # a server's error about its database
        return getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE"
    return is_connection_error(behind)
