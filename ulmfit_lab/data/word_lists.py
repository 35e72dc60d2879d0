"""Reader of word lists from other programs: JSON, text or pickle (which is never executed)."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

from ulmfit_lab.data.vocabulary import read_words
from ulmfit_lab.utils.errors import DataError

LARGEST = 2**26
"""Largest file in bytes; the quarter of a million words of WikiText-103 take 4 million."""

MARK = object()
STRINGS = frozenset({"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
REMEMBER = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
RECALL = frozenset({"GET", "BINGET", "LONG_BINGET"})
STARTS: dict[str, Any] = {"MARK": MARK, "EMPTY_LIST": [], "EMPTY_TUPLE": []}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_word_list(path: Path) -> tuple[str, ...]:
    """Read the words of a JSON list (.json), a text file with one word per line (.txt) or a pickled list or tuple.

    Raises DataError for anything else, and for a file of more than LARGEST bytes.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} has more than {LARGEST:,} bytes, too many for a list of words; use a smaller one.")
        if path.suffix == ".json":
            return read_words(path)
        if path.suffix == ".txt":
            return tuple(path.read_text(encoding="utf-8").splitlines())
        return pickled_words(path.read_bytes())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path} cannot be read as a list of words ({why}); save it as a JSON list.") from error


def pickled_words(content: bytes) -> tuple[str, ...]:
    """Return the strings of a pickled list or tuple.

    The pickle is not loaded: only the opcodes that put strings into a list or tuple are interpreted, so nothing is
    executed or imported. Raises ValueError for any other opcode.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                break
            _apply(opcode.name, argument, stack, memo)
    except (IndexError, KeyError):
        raise ValueError("it is a damaged pickle") from None
    if len(stack) != 1 or not isinstance(stack[0], list):
        raise ValueError("it is not a pickled list")
    return tuple(stack[0])


def _apply(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in ("PROTO", "FRAME"):
        return
    if name in STRINGS:
        stack.append(argument)
    elif name in STARTS:
        start = STARTS[name]
        stack.append([] if isinstance(start, list) else start)
    elif name in REMEMBER or name == "MEMOIZE":
        memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
    elif name in RECALL:
        stack.append(memo[argument])
    elif name in ("LIST", "TUPLE"):
        stack.append(_strings(_above_mark(stack)))
    elif name in TUPLES:
        items = [stack.pop() for _ in range(TUPLES[name])][::-1]
        stack.append(_strings(items))
    elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else _above_mark(stack)
        if not isinstance(stack[-1], list):
            raise ValueError("it appends words to something that is not a list")
        stack[-1].extend(_strings(items))
    else:
        raise ValueError(f"it contains {name}, which no list of words needs")


def _above_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not MARK:
        items.append(item)
    return items[::-1]


def _strings(items: list[Any]) -> list[str]:
    if not all(isinstance(item, str) for item in items):
        raise ValueError("it contains items that are not words")
    return items
