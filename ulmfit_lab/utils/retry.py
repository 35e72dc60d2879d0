"""Calls to a store that is away for a while are made again until it is back, so that no metric is lost.

A database that is being restarted, a server that was stopped, a file system that is full or does not answer: what was
to be written waits in memory meanwhile. The wait has a bound, is told of once, and Ctrl-C ends it.
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
"""Seconds that a call waits at most."""
PAUSES = (1.0, 30.0)
"""Seconds between two tries: the first pause, which doubles, and the longest."""
AWAY = {errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH}
PASSING = ("is locked", "is full", "disk I/O error", "unable to open database file")
"""What an SQLite database says of trouble that passes; it says the like of a statement that it cannot read."""

logger = logging.getLogger(__name__)


def retry(call: Callable[P, T], longest: float = LONGEST) -> Callable[P, T]:
    """The same function, called again as long as what it calls is away, for `longest` seconds at most.

    The function must be one that does no harm when it is called twice. Raises LabError when the time is over.
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
                        f"The tracking store did not answer for {waited:.0f} s: {why}; see that it runs and its disk "
                        "has room, then give the same command again."
                    ) from error
                if pause == PAUSES[0]:
                    logger.warning(
                        "The tracking store does not answer (%s); nothing is lost, trying for %.0f s.", why, longest
                    )
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    return trying


def is_connection_error(error: BaseException) -> bool:
    """Whether an error tells of a store that may come back: itself, or what it was raised from."""
    if isinstance(error, DBAPIError):
        if isinstance(error.orig, sqlite3.Error):
            return any(words in str(error.orig) for words in PASSING)
        return isinstance(error, OperationalError) or error.connection_invalidated
    if isinstance(error, (ConnectionError, NoConnection, Timeout)):
        return True
    if isinstance(error, OSError):
        return error.errno in AWAY
    behind = error.__cause__ or error.__context__
    if behind is None:  # a server's word on its own database
        return getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE"
    return is_connection_error(behind)
