"""ULMFiT's text rules: markup is fixed, and marker tokens keep what lower-casing would remove.

Markers begin with `xx`; a word of a text that is spelt like a marker, in any case, becomes `xxunk`. All rules but
`fix_markup` and `mark_repeated_words` look at one word.
"""

from __future__ import annotations

import html
import operator
import re
from collections.abc import Iterator
from itertools import groupby, islice
from typing import TypeAlias

UNK = "xxunk"
"""Unknown word."""
PAD = "xxpad"
"""Padding of a batch."""
BOS = "xxbos"
"""Beginning of a document."""
FIELD = "xxfld"
"""`xxfld n`: beginning of the n-th text field, in documents with several."""
REPEAT = "xxrep"
"""`xxrep n c`: character c, n times."""
WORD_REPEAT = "xxwrep"
"""`xxwrep n w`: word w, n times."""
UPPER = "xxup"
"""The next word is in capitals (at least two letters)."""
CAPITAL = "xxmaj"
"""The next word is capitalised."""
SPECIALS = (UNK, PAD, BOS, FIELD, REPEAT, WORD_REPEAT, UPPER, CAPITAL)
"""All markers, in the order of their ids in every vocabulary."""
UNK_ID, PAD_ID = SPECIALS.index(UNK), SPECIALS.index(PAD)

NEWLINE = "\n"
"""Token between two lines; blank lines are dropped."""
FIELD_BREAK = "\x1f"
"""Separates the text fields of a document (ASCII unit separator; readers remove it from texts)."""

Unit: TypeAlias = tuple[str, ...]
"""A word with its markers; `xxwrep` counts it as one word."""

_BREAK = re.compile(r"<br\s*/?>|\\n", re.IGNORECASE)
_SEPARATE = re.compile(r"[/#]")
_REPEATED = re.compile(r"(\S)\1{2,}")
_MARKERS = frozenset(SPECIALS)
# HTML entities that lost their ampersands, as in AG News; html.unescape converts the others.
_BROKEN_ENTITIES = (("#39;", "'"), ("#146;", "'"), ("#36;", "$"), ("nbsp;", " "), ("quot;", '"'), ("amp;", "&"))


def fix_markup(text: str) -> str:
    r"""Replace HTML entities by characters, and HTML line breaks and a backslash followed by n by newlines.

    >>> fix_markup("Rock &amp; roll.<br /><br />Bad.")
    'Rock & roll.\n\nBad.'
    """
    if "&" in text:
        text = html.unescape(text)
    if ";" in text:
        for broken, meant in _BROKEN_ENTITIES:
            text = text.replace(broken, meant)
    if "<" in text or "\\n" in text:
        text = _BREAK.sub("\n", text)
    return text


def separate(word: str) -> str:
    """Put spaces around each `/` and `#`, and replace `...` by one character.

    >>> separate("and/or...")
    'and / or … '
    """
    return _SEPARATE.sub(r" \g<0> ", word.replace("...", " … "))


def split_repeats(text: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of (ordinary text, the run of three or more equal characters after it); the last run is empty.

    >>> list(split_repeats("soooo!"))
    [('s', 'oooo'), ('!', '')]
    """
    start = 0
    for run in _REPEATED.finditer(text):
        yield text[start : run.start()], run.group()
        start = run.end()
    yield text[start:], ""


def mark_repeat(run: str) -> Unit:
    """Return a run of one character as `xxrep n c`.

    >>> mark_repeat("oooo")
    ('xxrep', '4', 'o')
    """
    return (REPEAT, str(len(run)), run[0].lower())


def mark_word(word: str, mark_capitals: bool = False) -> Unit:
    """Return the word in lower case after the marker of its capitals; a word spelt like a marker is `xxunk`.

    >>> mark_word("GREAT"), mark_word("Great"), mark_word("I"), mark_word("xxBOS")
    (('xxup', 'great'), ('great',), ('i',), ('xxunk',))
    """
    lower = word.lower()
    if lower in _MARKERS:
        return (UNK,)
    if word.isupper() and sum(map(str.isalpha, word)) > 1:
        return (UPPER, lower)
    if mark_capitals and word[0].isupper() and word[1:].islower():
        return (CAPITAL, lower)
    return (lower,)


def mark_repeated_words(units: list[Unit]) -> list[Unit]:
    """Replace three or more equal words in a row by `xxwrep n w`; punctuation is unchanged.

    >>> mark_repeated_words([("no",), ("no",), ("no",), ("!",)])
    [('xxwrep', '3', 'no'), ('!',)]
    """
    if True not in map(operator.eq, units, islice(units, 1, None)):
        return units
    marked: list[Unit] = []
    for unit, run in groupby(units):
        times = len(list(run))
        if times >= 3 and unit[-1][0].isalnum():
            marked.append((WORD_REPEAT, str(times), *unit))
        else:
            marked += [unit] * times
    return marked
