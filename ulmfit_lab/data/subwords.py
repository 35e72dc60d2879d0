"""Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) of words, with Hugging Face's tokenizers.

A word is its characters and `END`, the paper's end-of-word symbol; the pairs that are most frequent over all words
are merged, one after the other. So the last piece of a word ends in a blank, and no other piece does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ulmfit_lab.data.rules import SPECIALS, UNK
from ulmfit_lab.utils.errors import ConfigError

Merges = tuple[tuple[str, str], ...]
"""Pairs of pieces that become one, in the order in which they were learnt."""

END = " "
"""A word ends here; no word holds a blank, since texts are split at those."""
CHUNK = 10_000
"""Repetitions of a word that the trainer, which counts words itself, is handed at a time."""


def learn_subwords(counts: Mapping[str, int], max_size: int, min_freq: int) -> tuple[tuple[str, ...], Merges]:
    """At most max_size pieces of counted words, markers left out, and the merges that make them.

    Single characters come first, then what each merge makes. Pairs met fewer than min_freq times are not merged, and
    characters met less often are unknown, as are those beyond the most frequent that fill half of max_size. Equal
    counts give equal pieces. Raises ConfigError where max_size has no room for a character and the end of a word.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if max_size < 2:
        raise ConfigError(f"vocabulary.max_size leaves room for {max_size} pieces beside the markers; raise it.")
    # a piece of a word that holds a marker's letters could be spelt like the marker
    words = {word: count for word, count in counts.items() if not any(marker in word for marker in SPECIALS)}
    alphabet = frequent_characters(words, max_size // 2, min_freq)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(END, "merged_with_previous")
    trainer = trainers.BpeTrainer(
        vocab_size=max_size,
        min_frequency=min_freq,
        initial_alphabet=sorted(alphabet | {END}),
        show_progress=False,
    )
    known = ((word, count) for word, count in words.items() if alphabet.issuperset(word))
    tokenizer.train_from_iterator(repeated(known), trainer)
    learnt = tokenizer.get_vocab()
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return tuple(sorted(learnt, key=learnt.__getitem__)), tuple((left, right) for left, right in merges)


def frequent_characters(counts: Mapping[str, int], most: int, min_freq: int) -> frozenset[str]:
    """The characters met at least min_freq times in counted words, at most so many, the most frequent ones."""
    found: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            found[character] += count
    frequent = (character for character, count in found.items() if count >= min_freq and character != END)
    return frozenset(sorted(frequent, key=lambda character: (-found[character], character))[:most])


def repeated(counts: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Each word with its end as often as it was counted, a bounded number of times in one string."""
    for word, count in counts:
        for start in range(0, count, CHUNK):
            yield (word + END) * min(CHUNK, count - start)


def split_words(words: Iterable[str], ids: Mapping[str, int], merges: Merges) -> Iterator[Sequence[int]]:
    """The ids of each word's pieces, by the merges in their order; a marker is one piece, whatever was learnt.

    Unknown characters side by side are one `xxunk`.
    """
    from tokenizers import models

    model = models.BPE(vocab=dict(ids), merges=list(merges), unk_token=UNK, fuse_unk=True)
    for word in words:
        yield [ids[word]] if word in SPECIALS else [token.id for token in model.tokenize(word + END)]
