"""Texts to tokens: spaCy's tokenizer for the language, then ULMFiT's rules.

spaCy's rule-based tokenizer splits at whitespace and then treats each piece alone. So do the rules, and both are
worked out once for each distinct piece: most of a text is pieces that were met before, and costs a look-up.
Languages written without spaces, whose tokenizers need the context, go through their tokenizer line by line.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias

import spacy
import spacy.lang
from spacy.tokenizer import Tokenizer

from ulmfit_lab.errors import DataError, nearest
from ulmfit_lab.text.rules import (
    BOS,
    FIELD,
    FIELD_BREAK,
    NEWLINE,
    Unit,
    fix_breaks,
    fix_markup,
    mark_repeat,
    mark_repeated_words,
    mark_word,
    split_repeats,
)

REMEMBERED = 2**19
"""Distinct pieces that are remembered, about 150 MB; a bound on memory, without effect on the tokens."""
PACKAGES = {
    "ja": "pip install sudachipy sudachidict_core",
    "ko": "install mecab-ko with mecab-ko-dic, and pip install natto-py",
    "th": "pip install pythainlp",
    "vi": "pip install pyvi",
    "zh": "pip install jieba",
}
"""What the tokenizers need that spaCy does not bring (Chinese is split into characters, which needs nothing)."""

LineSplitter: TypeAlias = Callable[[str], Iterable[Unit]]


def tokenize(texts: Iterable[str], language: str = "en", *, mark_capitals: bool = False) -> Iterator[list[str]]:
    r"""The tokens of each text, in order; the first is always `xxbos`.

    Words are in lower case. With mark_capitals a word that began with a capital follows `xxmaj`. A change of line is
    one "\n", other whitespace only separates. Raises DataError, at once, for a language that cannot be had.

    >>> list(tokenize(["Soooo GOOD!<br />No no no."]))
    [['xxbos', 's', 'xxrep', '4', 'o', 'xxup', 'good', '!', '\n', 'xxwrep', '3', 'no', '.']]
    """
    split = line_splitter(load_tokenizer(language), mark_capitals)
    return (_tokens(text, split) for text in texts)


def load_tokenizer(language: str) -> Callable[[str], Any]:
    """spaCy's tokenizer of a language, by its code such as `en` or `de`.

    Raises DataError that names the nearest language, or the packages the language needs.
    """
    known = sorted(module.name for module in pkgutil.iter_modules(spacy.lang.__path__) if module.ispkg)
    if language not in known:
        raise DataError(f"spaCy has no language {language!r}. {nearest(language, known)}")
    try:
        tokenizer = spacy.blank(language).tokenizer
    except ImportError as error:
        cure = PACKAGES.get(language, f"pip install 'spacy[{language}]'")
        raise DataError(f"Language {language!r} needs a package that is not installed: {cure}.") from error
    if type(tokenizer) is Tokenizer:
        # A new word's shape, norm and so on cost more than its splitting, which looks at the text alone.
        tokenizer.vocab.lex_attr_getters = {}
    return tokenizer


def line_splitter(tokenizer: Callable[[str], Any], mark_capitals: bool) -> LineSplitter:
    """What splits a line into units: remembered piece by piece where the tokenizer works so, else line by line."""

    def units(text: str) -> tuple[Unit, ...]:
        return tuple(_units(fix_markup(text), tokenizer, mark_capitals))

    if type(tokenizer) is not Tokenizer:
        return units
    remembered = lru_cache(REMEMBERED)(units)
    return lambda line: chain.from_iterable(map(remembered, line.split()))


def _units(text: str, tokenizer: Callable[[str], Any], mark_capitals: bool) -> Iterator[Unit]:
    for plain, run in split_repeats(text):
        for token in tokenizer(plain):
            if not token.text.isspace():
                yield mark_word(token.text, mark_capitals)
        if run:
            yield mark_repeat(run)


def _tokens(text: str, split: LineSplitter) -> list[str]:
    fields = text.split(FIELD_BREAK)
    units: list[Unit] = [(BOS,)]
    for number, field in enumerate(fields, 1):
        if len(fields) > 1:
            units.append((FIELD, str(number)))
        units += _lines(field, split)
    return list(chain.from_iterable(mark_repeated_words(units)))


def _lines(text: str, split: LineSplitter) -> list[Unit]:
    units: list[Unit] = []
    for line in fix_breaks(text).splitlines():
        before = len(units)
        units += split(line)
        if 0 < before < len(units):
            units.insert(before, (NEWLINE,))
    return units
