"""The words a model knows, and their ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ulmfit_lab.errors import ConfigError, DataError
from ulmfit_lab.text.rules import SPECIALS, UNK_ID


@dataclass(frozen=True)
class Vocabulary:
    """Distinct words in the order of their ids; the markers come first, `xxunk` with id 0 and `xxpad` with id 1.

    Raises DataError for words that do not begin with the markers, or that repeat.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.words[: len(SPECIALS)] != SPECIALS:
            raise DataError(f"A vocabulary begins with its markers, {' '.join(SPECIALS)}.")
        if len(set(self.words)) < len(self.words):
            raise DataError("A vocabulary holds each word once; this one repeats some.")

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Word -> id."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def digest(self) -> str:
        """16 hex digits that stand for the words and their order."""
        text = json.dumps(self.words, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def encode(self, words: Sequence[str]) -> np.ndarray:
        """Ids of words, (n,) int32; unknown ones get the id of `xxunk`."""
        return np.fromiter((self.ids.get(word, UNK_ID) for word in words), dtype=np.int32, count=len(words))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words of ids."""
        return [self.words[number] for number in ids]

    def save(self, path: Path) -> None:
        """Write the words as a JSON list, one on each line."""
        path.write_text(json.dumps(self.words, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote; raises DataError for anything else."""
        return cls(read_words(path))


def build_vocabulary(counts: Mapping[str, int], max_size: int = 60_000, min_freq: int = 2) -> Vocabulary:
    """The markers, then the words met at least min_freq times by falling count, equal counts in alphabetical order.

    The vocabulary has at most max_size words, markers included; raises ConfigError where those alone are more.
    """
    if max_size < len(SPECIALS):
        raise ConfigError(f"vocabulary.max_size = {max_size} has no room for the {len(SPECIALS)} marker words.")
    frequent = (word for word, count in counts.items() if count >= min_freq and word not in SPECIALS)
    ranked = sorted(frequent, key=lambda word: (-counts[word], word))
    return Vocabulary(SPECIALS + tuple(ranked[: max_size - len(SPECIALS)]))


def read_words(path: Path) -> tuple[str, ...]:
    """A JSON list of words from a file; raises DataError that names it."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a list of words ({error}); make it again.") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"{path} is not a JSON list of words; make it again.")
    return tuple(words)
