"""How many independent realisations of a treatment the runs of a contrast have.

The arms of a contrast may differ in a stage that several runs share: a language model that was trained once and under
which six classifiers were trained is one realisation of the treatment "pretrained language model", not six. Runs that
share such a stage form a cluster, and clusters are what a test counts (Hurlbert 1984, "Pseudoreplication and the design
of ecological field experiments").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TRAINED: Mapping[str, str] = {
    "vectors": "word-vector table",
    "pretrained": "language model",
    "fine-tuned": "fine-tuned language model",
}
"""Kinds of stages that several runs can share and that are trained with a seed, from the first to the last, in words.

A run's own stage, its classifier or language model, is not shared; features are computed without a seed.
"""
STAGE = "stage/"
SUFFIXES: Mapping[str, str] = {"backwards": "_backwards", "second": "_second"}
"""Second input of an ensemble -> what is put behind the names of its stages, so that a run's names differ."""
FIXED = (("pretrained", "param/imported", None), ("vectors", "param/classifier.init", "glove"))
"""Kind, column and value (None: any) of stages that are given, not trained: they are part of what is compared."""


@dataclass(frozen=True)
class Replicates:
    """The clusters of a contrast's pairs of runs."""

    clusters: tuple[int, ...]
    """For each seed the number of its cluster, from 0."""
    shared: str = ""
    """The kind of stage that pairs share, in words; empty where every pair is its own cluster."""

    @property
    def count(self) -> int:
        """Independent realisations of the treatment."""
        return len(set(self.clusters))


def kind_of(name: str) -> str:
    """The kind of a run's stage, from its name in the run.

    >>> kind_of("fine-tuned_backwards")
    'fine-tuned'
    """
    for suffix in SUFFIXES.values():
        name = name.removesuffix(suffix)
    return name


def find_replicates(runs: pd.DataFrame, variant: str, against: str, level: str, seeds: Sequence[int]) -> Replicates:
    """Clusters of the pairs of runs that share a stage in which the arms differ.

    seeds: those with which both arms have a run at the level
    """
    columns = ("variant", "level", "seed", *(column for _, column, _ in FIXED))  # pandas selects rows of few sooner
    read = runs[[name for name in map(str, runs) if name in columns or name.startswith(STAGE)]]
    arms = [
        read[(read["variant"] == name) & (read["level"] == level)].set_index("seed").loc[list(seeds)]
        for name in (variant, against)
    ]
    clusters, shared = list(range(len(seeds))), ""
    for kind, words in TRAINED.items():
        for column in (f"{STAGE}{kind}{suffix}" for suffix in ("", *SUFFIXES.values())):
            made = [trained_stages(arm, kind, column) for arm in arms]
            if made[0] == made[1]:
                continue
            merged = merge_shared(clusters, made)
            if merged != clusters:
                clusters, shared = merged, words
    return Replicates(tuple(clusters), shared)


def trained_stages(arm: pd.DataFrame, kind: str, column: str) -> list[str]:
    """The fingerprint of each run's stage; empty where it has none, or one that is given."""
    found = list(arm[column]) if column in arm.columns else [""] * len(arm)
    for fixed, name, value in FIXED:
        if fixed == kind and name in arm.columns:
            given = [text not in ("", "None") if value is None else text == value for text in arm[name]]
            found = ["" if is_given else text for text, is_given in zip(found, given, strict=True)]
    return found


def merge_shared(clusters: Sequence[int], made: Sequence[Sequence[str]]) -> list[int]:
    """Clusters joined where two pairs have the same stage in either arm; numbered anew from 0.

    >>> merge_shared([0, 1, 2, 3], [["a", "b", "a", "c"], ["", "", "", ""]])
    [0, 1, 0, 2]
    """
    parent = list(clusters)
    for arm in made:
        first: dict[str, int] = {}
        for place, stage in enumerate(arm):
            if not stage:
                continue
            kept, joined = parent[first.setdefault(stage, place)], parent[place]
            parent = [kept if each == joined else each for each in parent]
    numbers: dict[int, int] = {}
    return [numbers.setdefault(each, len(numbers)) for each in parent]
