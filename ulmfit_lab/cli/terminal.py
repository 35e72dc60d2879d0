"""Output to terminals that are not UTF-8: other characters are replaced by ASCII and never raise UnicodeError."""

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
"""Replacements of characters that cannot be encoded; others are written as an escape such as \\u0439."""
HANDLER = "ulmfit-lab-ascii"


def replace_with_ascii(error: UnicodeError) -> tuple[bytes, int]:
    """Replace characters that cannot be encoded; undecodable bytes of file names are written unchanged.

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


codecs.register_error(HANDLER, replace_with_ascii)


def show_in_ascii() -> None:
    """Make standard output and error use the replacements; read standard input as UTF-8 if the locale is ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
    if isinstance(sys.stdin, TextIOWrapper) and codecs.lookup(sys.stdin.encoding).name == "ascii":
        sys.stdin.reconfigure(encoding="utf-8")  # a superset of ASCII


def shows_unicode() -> bool:
    """Whether standard output can encode every character."""
    return codecs.lookup(sys.stdout.encoding or "utf-8").name.startswith("utf-8")


def check_decoded(arguments: Iterable[str]) -> None:
    """Raise ConfigError for an argument that the locale cannot decode."""
    for argument in arguments:
        if any("\udc80" <= character <= "\udcff" for character in argument):
            raise ConfigError(
                f"The argument {argument!r} cannot be decoded with the locale's {sys.getfilesystemencoding()}; set "
                "LC_ALL=C.UTF-8 or PYTHONUTF8=1, or rename the file."
            )
