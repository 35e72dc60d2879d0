"""Texts and batches: tokenizing beside spaCy alone, opening a corpus, loading windows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import spacy

from benchmarks.paired import Ratio, in_turns, ratio
from benchmarks.rows import Row, compared, with_ratio
from benchmarks.setting import Bench
from ulmfit_lab.data.corpus import open_corpus
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.data.tokenizer import splitter, tokenize


def texts(bench: Bench) -> list[Row]:
    """All three."""
    return [*tokenizing(bench), opening(bench), loading(bench)]


def tokenizing(bench: Bench) -> list[Row]:
    """spaCy's tokens/s on the same texts in one process, each turn with nothing remembered from the one before."""
    name, reviews = bench.reviews
    documents = [review.text for review in reviews[: bench.sizes.texts]]
    nlp = spacy.blank("en")
    n_tokens = sum(map(len, map(nlp.tokenizer, documents)))
    sides = {"ours": our_tokenizer, "nlp.pipe": spacy_pipe, "tokenizer": spacy_tokenizer}
    turns = {side: partial(rate_of, n_tokens, prepare, documents) for side, prepare in sides.items()}
    found = in_turns(turns, bench.sizes.rounds)
    about, unit = f"Tokenizing {len(documents):,} {name} reviews, ULMFiT's rules included", "tokens/s"
    each = {side: {"unit": unit, "against": f"spaCy's {side}"} for side in ("tokenizer", "nlp.pipe")}
    return [
        compared(about, found["ours"], found["tokenizer"], target="tokenizing", **each["tokenizer"]),
        compared(about, found["ours"], found["nlp.pipe"], **each["nlp.pipe"]),
    ]


Read = Callable[[list[str]], Iterable[Any]]


def our_tokenizer() -> Read:
    """Ours, new."""
    splitter.cache_clear()
    splitter("en", False)
    return tokenize


def spacy_pipe() -> Read:
    """A new blank pipeline."""
    return spacy.blank("en").pipe


def spacy_tokenizer() -> Read:
    """A new blank pipeline's tokenizer."""
    return partial(map, spacy.blank("en").tokenizer)


def rate_of(units: int, prepare: Callable[[], Read], documents: list[str]) -> float:
    """Units a second of reading documents with what was prepared before the clock began."""
    read = prepare()
    with clock() as seconds:
        for _ in read(documents):
            pass
    return units / seconds[0]


@contextmanager
def clock() -> Iterator[list[float]]:
    """A list that holds the seconds once the block is done."""
    seconds: list[float] = []
    began = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - began)


def opening(bench: Bench) -> Row:
    """Milliseconds until a tokenised corpus can be read."""
    _, corpus, _ = bench.text
    times = []
    for _ in range(max(bench.sizes.rounds, 5)):
        with clock() as seconds:
            open_corpus(corpus.folder)
        times.append(1000 * seconds[0])
    name = f"Opening a tokenised corpus of {corpus.n_tokens:,} tokens"
    return with_ratio(Row(name, form="ms", target="opening"), spread(times))


def loading(bench: Bench) -> Row:
    """Tokens/s of laying a stream out in columns and reading all its windows."""
    sizes = bench.sizes
    stream = np.load(bench.streams(sizes.small.words)["train"], allow_pickle=False)
    found = []
    for _ in range(max(sizes.rounds, 5)):
        with clock() as seconds:
            batches = StreamBatches(stream, batch_size=sizes.batch_size, bptt=sizes.bptt)
            tokens = sum(batch.n_tokens for batch in batches.epoch(0))
        found.append(tokens / seconds[0])
    return with_ratio(
        Row("Loading an epoch of a language model's windows", form="rate", target="loading"), spread(found)
    )


def spread(values: list[float]) -> Ratio:
    """Median and range of values that are held against nothing."""
    return ratio(values, [1.0] * len(values))
