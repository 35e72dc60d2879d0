"""Where documents come from: the user's own files, or a named set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ulmfit_lab.config import Source
from ulmfit_lab.errors import DataError
from ulmfit_lab.text.files import Texts, find_own, texts_digest
from ulmfit_lab.text.formats import Columns, Document
from ulmfit_lab.text.named_sets import find_named, named_set

__all__ = ["Document", "find_texts", "has_split", "read_documents", "source_bytes", "source_digest"]


def read_documents(source: Source, data_dir: Path | None) -> Iterator[Document]:
    """The documents a source names, one at a time; labels are text, and None for a document without one.

    data_dir is the folder that named sets lie in. Raises DataError, at once for what is not there, and on the way
    for a file that cannot be read as asked.
    """
    return find_texts(source, data_dir).read()


def source_digest(source: Source, data_dir: Path | None) -> str:
    """64 hex digits that stand for the bytes of all files a source names, and for how they are read."""
    return texts_digest(find_texts(source, data_dir))


def source_bytes(source: Source, data_dir: Path | None) -> int:
    """Bytes of text that a source names, markup included; a close estimate where files are compressed."""
    return find_texts(source, data_dir).n_bytes()


def find_texts(source: Source, data_dir: Path | None) -> Texts:
    """What a source names: the user's own files where it gives a path, else a named set.

    Raises DataError if it names nothing, or what is not there.
    """
    if source.path:
        return find_own(source.path, Columns(source.text_column, source.label_column))
    if not source.name:
        raise DataError("The source names no texts; give it the name of a set, or the path of a file.")
    return find_named(source.name, source.split, data_dir)


def has_split(name: str, split: str) -> bool:
    """Whether a named set has a split of that name; raises DataError for a set there is not."""
    return split in named_set(name).splits
