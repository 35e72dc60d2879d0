"""Tokenization: spaCy's tokenizer for the language, then ULMFiT's rules.

spaCy's rule-based tokenizer splits at whitespace and treats each piece separately. The rules do the same, so the
result for each distinct piece is cached. Tokenizers of languages without spaces need the context and read whole lines.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ulmfit_lab.data.rules import (
    BOS,
    FIELD,
    FIELD_BREAK,
    NEWLINE,
    Unit,
    fix_markup,
    mark_repeat,
    mark_repeated_words,
    mark_word,
    separate,
    split_repeats,
)
from ulmfit_lab.utils.errors import DataError, suggest

REMEMBERED, REMEMBERED_CHARACTERS = 2**18, 2**26
"""Size of the cache in pieces and characters, about 100 MB."""
LONGEST_PIECE = 1000
"""Characters passed to spaCy at once; its time for repeated brackets is quadratic. Longer pieces are split."""
PACKAGES = {
    "ja": "pip install sudachipy sudachidict_core",
    "ko": "install mecab-ko with mecab-ko-dic, and pip install natto-py",
    "th": "pip install pythainlp",
    "vi": "pip install pyvi",
}
"""Packages that spaCy's tokenizers need. Chinese is split into characters and needs none."""


def tokenize(texts: Iterable[str], language: str = "en", *, mark_capitals: bool = False) -> Iterator[list[str]]:
    r"""Yield the tokens of each text, in order; the first is always `xxbos`.

    Words are lower-cased; with mark_capitals, capitalised words follow `xxmaj`. Each line break is one "\n". Raises
    DataError, before the first text, if the language is not available.

    >>> list(tokenize(["Soooo GOOD!<br />No no no."]))
    [['xxbos', 's', 'xxrep', '4', 'o', 'xxup', 'good', '!', '\n', 'xxwrep', '3', 'no', '.']]
    """
    split = splitter(language, mark_capitals)
    return (tokenize_text(text, split) for text in texts)


def has_words(tokens: Sequence[str]) -> bool:
    """Return whether a document has tokens besides the markers of its beginning and its fields.

    >>> has_words(["xxbos", "xxfld", "1", "xxfld", "2"]), has_words(["xxbos", "."])
    (False, True)
    """
    return len(tokens) > 1 + 2 * tokens.count(FIELD)


# Cached, so that texts share the splitter's cache of pieces.
@cache
def splitter(language: str, mark_capitals: bool) -> SubwordSplitter | LineSplitter:
    """Return the line splitter of a language; raises DataError if the language is not available."""
    tokenizer = load_tokenizer(language)
    if is_rule_based(tokenizer):
        return SubwordSplitter(tokenizer, mark_capitals)
    return LineSplitter(tokenizer, mark_capitals)


def check_language(language: str) -> None:
    """Raise DataError if the language is not available; imports spaCy only if it may be missing."""
    found = importlib.util.find_spec("spacy")
    folders = [Path(place) / "lang" / language for place in found.submodule_search_locations or ()] if found else []
    if language in PACKAGES or not language or not any((folder / "__init__.py").is_file() for folder in folders):
        load_tokenizer(language)


def load_tokenizer(language: str) -> Callable[[str], Any]:
    """Return spaCy's tokenizer of a language code such as `en` or `de`.

    Raises DataError for an unknown language or a missing package.
    """
    # slow to import, and not needed for training
    import spacy
    import spacy.lang

    known = sorted(module.name for module in pkgutil.iter_modules(spacy.lang.__path__) if module.ispkg)
    if language not in known:
        raise DataError(f"spaCy has no language {language!r}. {suggest(language, known)}")
    try:
        blank = spacy.blank(language)
    except ImportError as error:
        hint = PACKAGES.get(language, f"pip install 'spacy[{language}]'")
        raise DataError(f"Language {language!r} needs a package: {hint}.") from error
    tokenizer: Callable[[str], Any] = blank.tokenizer
    if is_rule_based(tokenizer):
        # The tokenizer needs the text only; without this, spaCy computes shape, norm and other attributes of each word.
        blank.vocab.lex_attr_getters = {}
    return tokenizer


def is_rule_based(tokenizer: Callable[[str], Any]) -> bool:
    """Return whether a tokenizer is spaCy's rule-based one."""
    from spacy.tokenizer import Tokenizer

    return type(tokenizer) is Tokenizer


class SubwordSplitter:
    """Splits at whitespace and caches the units of each piece; for spaCy's rule-based tokenizer."""

    def __init__(self, tokenizer: Callable[[str], Any], mark_capitals: bool) -> None:
        self.tokenizer = tokenizer
        self.mark = lru_cache(REMEMBERED)(partial(mark_word, mark_capitals=mark_capitals))
        self.known: dict[str, tuple[Unit, ...]] = {NEWLINE: ((NEWLINE,),)}
        self.characters = 0

    def __call__(self, lines: Iterable[str]) -> Iterator[Unit]:
        """The units of a text's lines."""
        pieces = [piece for line in lines for piece in (NEWLINE, *line.split())]
        if len(self.known) > REMEMBERED or self.characters > REMEMBERED_CHARACTERS:
            self.known, self.characters = {NEWLINE: ((NEWLINE,),)}, 0
        known = self.known  # another thread may replace self.known
        new = set(pieces).difference(known)
        if new:
            self.characters += sum(map(len, new))
            known.update(self.learn(new))
        return islice(chain.from_iterable(map(known.__getitem__, pieces)), 1, None)

    def learn(self, new: Iterable[str]) -> Iterator[tuple[str, tuple[Unit, ...]]]:
        """Compute the units of new pieces."""
        parts = {
            piece: [
                part
                for word in separate(piece).split()
                for pair in split_repeats(word)
                for part in split_long_texts(*pair)
            ]
            for piece in new
        }
        words = iter(split_words([plain for pairs in parts.values() for plain, _ in pairs if plain], self.tokenizer))
        for piece, pairs in parts.items():
            units: list[Unit] = []
            for plain, run in pairs:
                units += map(self.mark, next(words) if plain else ())
                units += [mark_repeat(run)] if run else []
            yield piece, tuple(units)


def split_long_texts(plain: str, run: str) -> Iterator[tuple[str, str]]:
    """Split text into parts of at most LONGEST_PIECE characters; the last part comes with the run."""
    last = max(len(plain) - 1, 0) // LONGEST_PIECE * LONGEST_PIECE
    for start in range(0, last, LONGEST_PIECE):
        yield plain[start : start + LONGEST_PIECE], ""
    yield plain[last:], run


def split_words(pieces: Sequence[str], tokenizer: Callable[[str], Any]) -> list[list[str]]:
    """Return the tokenizer's words of each piece, in one call; pieces are not empty and contain no whitespace."""
    words: list[list[str]] = [[]]
    for token in tokenizer("\n".join(pieces)):
        text = token.text
        if text == "\n":
            words.append([])
        else:
            words[-1].append(text)
    return words


class LineSplitter:
    """Splits line by line; for tokenizers that need the context."""

    def __init__(self, tokenizer: Callable[[str], Any], mark_capitals: bool) -> None:
        self.tokenizer = tokenizer
        self.mark_capitals = mark_capitals

    def __call__(self, lines: Iterable[str]) -> Iterator[Unit]:
        """The units of a text's lines."""
        for number, line in enumerate(lines):
            if number:
                yield (NEWLINE,)
            for plain, run in split_repeats(separate(line)):
                words = (token.text for token in self.tokenizer(plain))
                yield from (mark_word(word, self.mark_capitals) for word in words if not word.isspace())
                if run:
                    yield mark_repeat(run)


def tokenize_text(text: str, split: SubwordSplitter | LineSplitter) -> list[str]:
    """Return the tokens of one text."""
    fields = fix_markup(text).split(FIELD_BREAK)
    units: list[Unit] = [(BOS,)]
    for number, field in enumerate(fields, 1):
        if len(fields) > 1:
            units.append((FIELD, str(number)))
        units += split(line for line in field.splitlines() if line and not line.isspace())
    return list(chain.from_iterable(mark_repeated_words(units)))
