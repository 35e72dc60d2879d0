"""The words or subwords that a model knows, and their ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ulmfit_lab.data.rules import SPECIALS, UNK, UNK_ID
from ulmfit_lab.data.subwords import Merges, learn_subwords, split_words
from ulmfit_lab.utils.errors import ConfigError, DataError

BLOCK = 2**22
"""Words expanded at a time."""


@dataclass(frozen=True)
class Table:
    """Ids of a list of words: word i has ids[offsets[i]:offsets[i + 1]], at least one.

    ids      (n,)            int32
    offsets  (n_words + 1,)  int64
    """

    ids: np.ndarray
    offsets: np.ndarray

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of ids of each word, (n_words,) int64."""
        return np.diff(self.offsets)

    def expand(self, places: np.ndarray) -> np.ndarray:
        """Return the ids (m,) int32 of the words at these indices (n,), end to end."""
        if len(self.ids) == len(self.lengths):
            found: np.ndarray = self.ids[places]
            return found
        starts = range(0, max(len(places), 1), BLOCK)
        return np.concatenate([self._expand(places[start : start + BLOCK]) for start in starts])

    def _expand(self, places: np.ndarray) -> np.ndarray:
        lengths = self.lengths[places]
        ends = np.cumsum(lengths)
        # position of each word's ids in self.ids minus their position in the result
        shifts = self.offsets[places] - (ends - lengths)
        found: np.ndarray = self.ids[np.repeat(shifts, lengths) + np.arange(lengths.sum())]
        return found


@dataclass(frozen=True)
class Vocabulary:
    """Distinct words in the order of their ids; the markers come first, `xxunk` with id 0 and `xxpad` with id 1.

    With merges the words are the pieces of byte-pair encoding (see `subwords`), and a word of a text has one or more
    ids. Raises DataError if the markers do not come first, a word repeats, or a merge needs an unknown piece.
    """

    words: tuple[str, ...]
    merges: Merges | None = None

    def __post_init__(self) -> None:
        if self.words[: len(SPECIALS)] != SPECIALS:
            raise DataError(f"A vocabulary must begin with its markers, {' '.join(SPECIALS)}.")
        if len(set(self.words)) < len(self.words):
            raise DataError("The vocabulary repeats words; each must occur once.")
        if not {piece for a, b in self.merges or () for piece in (a, b, a + b)} <= self.ids.keys():
            raise DataError("The vocabulary merges pieces that it does not contain.")

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Word -> id."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def digest(self) -> str:
        """16 hex digits that identify the words, their order and the merges."""
        text = json.dumps(self._plain(), ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def encode(self, words: Sequence[str]) -> np.ndarray:
        """Return the ids of words, (n,) int32, or of their pieces (m,); unknown ones have the id of `xxunk`."""
        return self.table(words).ids

    def table(self, words: Sequence[str]) -> Table:
        """Return the ids of each of these words."""
        if self.merges is None:
            ids = np.fromiter((self.ids.get(word, UNK_ID) for word in words), dtype=np.int32, count=len(words))
            return Table(ids, np.arange(len(words) + 1))
        split = list(split_words(words, self.ids, self.merges))
        offsets = np.cumsum([0, *map(len, split)], dtype=np.int64)
        return Table(np.fromiter(chain.from_iterable(split), dtype=np.int32, count=int(offsets[-1])), offsets)

    def coverage(self, counts: Mapping[str, int]) -> float:
        """Return the share of counted words that are known; a word with an unknown piece is not."""
        words = list(counts)
        table = self.table(words)
        unknown = np.add.reduceat(table.ids == UNK_ID, table.offsets[:-1]) if words else np.zeros(0)
        known = sum(counts[word] for word, holes in zip(words, unknown, strict=True) if word == UNK or not holes)
        return known / max(sum(counts.values()), 1)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the words or pieces of ids."""
        return [self.words[number] for number in ids]

    def save(self, path: Path) -> None:
        """Write the words as a JSON list, or pieces and merges as an object of two lists."""
        path.write_text(json.dumps(self._plain(), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    def _plain(self) -> Any:
        return self.words if self.merges is None else {"pieces": self.words, "merges": self.merges}

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a vocabulary written by `save`; raises DataError for anything else."""
        found = read_json(path)
        words = words_of(found.get("pieces") if isinstance(found, dict) else found, path)
        merges = pairs_of(found.get("merges"), path) if isinstance(found, dict) else None
        try:
            return cls(words, merges)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def build_vocabulary(
    counts: Mapping[str, int], max_size: int = 60_000, min_freq: int = 2, units: Literal["words", "subwords"] = "words"
) -> Vocabulary:
    """Return the markers and the words that occur at least min_freq times, by decreasing count, then alphabetically.

    With subwords: the markers and the pieces of byte-pair encoding (see `learn_subwords`). max_size includes the
    markers; raises ConfigError if it is smaller than their number.
    """
    if max_size < len(SPECIALS):
        raise ConfigError(f"vocabulary.max_size = {max_size} is less than the {len(SPECIALS)} marker words; raise it.")
    if units == "subwords":
        pieces, merges = learn_subwords(counts, max_size - len(SPECIALS), min_freq)
        return Vocabulary(SPECIALS + pieces, merges)
    frequent = (word for word, count in counts.items() if count >= min_freq and word not in SPECIALS)
    ranked = sorted(frequent, key=lambda word: (-counts[word], word))
    return Vocabulary(SPECIALS + tuple(ranked[: max_size - len(SPECIALS)]))


def read_words(path: Path) -> tuple[str, ...]:
    """Read a JSON list of words; raises DataError for anything else."""
    return words_of(read_json(path), path)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises DataError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as a list of words ({error}); make it again.") from error


def words_of(words: Any, path: Path) -> tuple[str, ...]:
    """Return a list of words read from a file; raises DataError for anything else."""
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"{path} is not a JSON list of words; make it again.")
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path} has an unpaired surrogate, which is not a character; make it again.") from None
    return tuple(words)


def pairs_of(merges: Any, path: Path) -> Merges:
    """Return a list of pairs read from a file; raises DataError for anything else."""
    pairs = [words_of(merge, path) for merge in merges] if isinstance(merges, list) else [()]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"{path} has merges that are not pairs; make it again.")
    return tuple((left, right) for left, right in pairs)
