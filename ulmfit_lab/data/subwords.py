"""Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) with Hugging Face tokenizers.

A word is its characters followed by `END`, the paper's end-of-word symbol; the most frequent pairs are merged first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ulmfit_lab.data.rules import SPECIALS, UNK
from ulmfit_lab.utils.errors import ConfigError

Merges = tuple[tuple[str, str], ...]
"""Pairs of pieces that are merged, in the order in which they were learnt."""

END = " "
"""End of a word; words contain no blanks."""
CHUNK = 10_000
"""Repetitions of a word passed to the trainer at a time, since the trainer counts words itself."""


def learn_subwords(counts: Mapping[str, int], max_size: int, min_freq: int) -> tuple[tuple[str, ...], Merges]:
    """Return at most max_size pieces of the counted words, without markers, and the merges that make them.

    Pairs that occur fewer than min_freq times are not merged. Characters that occur fewer than min_freq times, or
    exceed half of max_size, are unknown. The result is deterministic. Raises ConfigError if max_size is below 2.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if max_size < 2:
        raise ConfigError(f"vocabulary.max_size leaves {max_size} pieces besides the markers; raise it.")
    # Words that contain a marker could produce a piece that is spelt like it.
    words = {word: count for word, count in counts.items() if not any(marker in word for marker in SPECIALS)}
    alphabet = frequent_characters(words, max_size // 2, min_freq)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(END, "merged_with_previous")
    trainer = trainers.BpeTrainer(
        vocab_size=max_size, min_frequency=min_freq, initial_alphabet=sorted(alphabet | {END}), show_progress=False
    )
    known = ((word, count) for word, count in words.items() if alphabet.issuperset(word))
    tokenizer.train_from_iterator(repeated(known), trainer)
    learnt = tokenizer.get_vocab()
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return tuple(sorted(learnt, key=learnt.__getitem__)), tuple((left, right) for left, right in merges)


def frequent_characters(counts: Mapping[str, int], most: int, min_freq: int) -> frozenset[str]:
    """Return the `most` most frequent characters that occur at least min_freq times."""
    found: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            found[character] += count
    frequent = (character for character, count in found.items() if count >= min_freq and character != END)
    return frozenset(sorted(frequent, key=lambda character: (-found[character], character))[:most])


def repeated(counts: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Yield each word as often as it was counted, at most CHUNK times in one string."""
    for word, count in counts:
        for start in range(0, count, CHUNK):
            yield (word + END) * min(CHUNK, count - start)


def split_words(words: Iterable[str], ids: Mapping[str, int], merges: Merges) -> Iterator[Sequence[int]]:
    """Yield the ids of each word's pieces. A marker is one piece; adjacent unknown characters are one `xxunk`."""
    from tokenizers import models

    model = models.BPE(vocab=dict(ids), merges=list(merges), unk_token=UNK, fuse_unk=True)
    for word in words:
        yield [ids[word]] if word in SPECIALS else [token.id for token in model.tokenize(word + END)]
