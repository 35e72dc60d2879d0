"""ULMFiT's text rules: markup is repaired, and what lower-casing would lose becomes a marker token.

Marker tokens begin with `xx`. No text can forge one: a word that is spelled like a marker, in any case, becomes
`xxunk`. Apart from `fix_markup` and `mark_repeated_words`, every rule looks at one word alone.
"""

from __future__ import annotations

import html
import operator
import re
from collections.abc import Iterator
from itertools import groupby, islice
from typing import TypeAlias

UNK = "xxunk"
"""A word that the vocabulary lacks."""
PAD = "xxpad"
"""Fills a batch; never read by a model."""
BOS = "xxbos"
"""A document begins."""
FIELD = "xxfld"
"""`xxfld n`: the n-th text field of the document begins (only where there are several)."""
REPEAT = "xxrep"
"""`xxrep n c`: the character c, n times."""
WORD_REPEAT = "xxwrep"
"""`xxwrep n w`: the word w, n times."""
UPPER = "xxup"
"""The next word was in capitals, at least two of them."""
CAPITAL = "xxmaj"
"""The next word began with a capital."""
SPECIALS = (UNK, PAD, BOS, FIELD, REPEAT, WORD_REPEAT, UPPER, CAPITAL)
"""All markers, in the order of their ids in every vocabulary."""
UNK_ID, PAD_ID = SPECIALS.index(UNK), SPECIALS.index(PAD)

NEWLINE = "\n"
"""The token between two lines that hold text, however many blank lines lie between them."""
FIELD_BREAK = "\x1f"
"""Separates the text fields of one document (ASCII's unit separator; readers remove it from what users wrote)."""

Unit: TypeAlias = tuple[str, ...]
"""A word with the markers before it; counted as one word by `xxwrep`."""

_BREAK = re.compile(r"<br\s*/?>|\\n", re.IGNORECASE)
_SEPARATE = re.compile(r"[/#]")
_REPEATED = re.compile(r"(\S)\1{2,}")
_MARKERS = frozenset(SPECIALS)
# What is left of HTML entities in sets such as AG News, whose ampersands were lost; html.unescape mends the others.
_BROKEN_ENTITIES = (("#39;", "'"), ("#146;", "'"), ("#36;", "$"), ("nbsp;", " "), ("quot;", '"'), ("amp;", "&"))


def fix_markup(text: str) -> str:
    r"""HTML entities become characters; HTML line breaks, and a backslash followed by n, become newlines.

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
    """The word with spaces around each `/` and `#`, and with `...` as one character.

    >>> separate("and/or...")
    'and / or … '
    """
    return _SEPARATE.sub(r" \g<0> ", word.replace("...", " … "))


def split_repeats(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of (ordinary text, the run of three or more equal characters behind it); the last run is empty.

    >>> list(split_repeats("soooo!"))
    [('s', 'oooo'), ('!', '')]
    """
    start = 0
    for run in _REPEATED.finditer(text):
        yield text[start : run.start()], run.group()
        start = run.end()
    yield text[start:], ""


def mark_repeat(run: str) -> Unit:
    """A run of one character as `xxrep n c`.

    >>> mark_repeat("oooo")
    ('xxrep', '4', 'o')
    """
    return (REPEAT, str(len(run)), run[0].lower())


def mark_word(word: str, mark_capitals: bool = False) -> Unit:
    """The word in lower case, behind the marker of its capitals; a word spelled like a marker is `xxunk`.

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
    """A word three or more times in a row as `xxwrep n w`; punctuation stays as it is.

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
