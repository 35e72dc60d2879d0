"""What goes to and comes from a terminal whose encoding is not UTF-8: shown in ASCII, never a UnicodeError."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable
from io import TextIOWrapper

from ulmfit_lab.utils.errors import ConfigError

ASCII = {
    "±": "+/-", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "↵": "\\n", "�": "?",
    "·": ".", "•": "*", "≤": "<=", "≥": ">=", "≈": "~", "‘": "'", "’": "'", "“": '"', "”": '"', "\xa0": " ",
}  # fmt: skip
"""How a character is written where it cannot be encoded; any other is written as its escape, such as \\u0439."""
HANDLER = "ulmfit-lab-ascii"


def in_ascii(error: UnicodeError) -> tuple[bytes, int]:
    """Error handler of an encoder; the bytes of a file name that were not decoded are written as they were.

    >>> "0.1 ± 0.2 ж".encode("latin-1", HANDLER), "0.1 ± 0.2 ж".encode("ascii", HANDLER)
    (b'0.1 \\xb1 0.2 \\\\u0436', b'0.1 +/- 0.2 \\\\u0436')
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return b"".join(map(_bytes_of, error.object[error.start : error.end])), error.end


def _bytes_of(character: str) -> bytes:
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00])
    return ASCII.get(character, character).encode("ascii", "backslashreplace")


codecs.register_error(HANDLER, in_ascii)


def show_in_ascii() -> None:
    """Have standard output and error write in ASCII what they cannot encode; standard input is never read as ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
    if isinstance(sys.stdin, TextIOWrapper) and codecs.lookup(sys.stdin.encoding).name == "ascii":
        sys.stdin.reconfigure(encoding="utf-8")  # of which ASCII is a part


def shows_unicode() -> bool:
    """Whether standard output can encode every character."""
    return codecs.lookup(sys.stdout.encoding or "utf-8").name.startswith("utf-8")


def check_decoded(arguments: Iterable[str]) -> None:
    """Raise ConfigError for an argument that the locale could not decode: neither MLflow nor a file could hold it."""
    for argument in arguments:
        if any("\udc80" <= character <= "\udcff" for character in argument):
            raise ConfigError(
                f"The argument {argument!r} is no text in this locale's encoding ({sys.getfilesystemencoding()}); set "
                "LC_ALL=C.UTF-8 or PYTHONUTF8=1, or rename the file."
            )
