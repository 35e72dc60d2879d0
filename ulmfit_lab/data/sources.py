"""Documents of a source: the user's own files or a named set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ulmfit_lab.config.schema import SourceConfig
from ulmfit_lab.data.files import TextSource, find_own, has_splits, texts_digest
from ulmfit_lab.data.formats import Columns, Document
from ulmfit_lab.data.named_sets import find_named_set
from ulmfit_lab.data.splits import splits_of
from ulmfit_lab.utils.errors import DataError

__all__ = ["Document", "find_texts", "has_split", "read_documents", "read_labelled", "source_bytes", "source_digest"]


def read_documents(source: SourceConfig, data_dir: Path | None) -> Iterator[Document]:
    """Yield the documents of a source; labels are strings, or None for a document without one.

    data_dir is the folder of the named sets. Raises DataError, immediately if the source does not exist, and while
    reading for a file that cannot be read.
    """
    return find_texts(source, data_dir).read()


def read_labelled(source: SourceConfig, data_dir: Path | None) -> Iterator[Document]:
    """Yield labelled documents; raises DataError, with file and row, for one without a label."""
    texts = find_texts(source, data_dir, labelled=True)
    for document in texts.read():
        if document.label is None:
            raise DataError(f"{document.where}: the text has no label; {texts.hint}.")
        yield document


def source_digest(source: SourceConfig, data_dir: Path | None) -> str:
    """Return 64 hex digits that identify the bytes of a source's files and how they are read."""
    return texts_digest(find_texts(source, data_dir))


def source_bytes(source: SourceConfig, data_dir: Path | None) -> int:
    """Return the bytes of a source's text with markup, estimated for compressed files."""
    return find_texts(source, data_dir).n_bytes()


def find_texts(source: SourceConfig, data_dir: Path | None, *, labelled: bool = False) -> TextSource:
    """Find a source: the user's own files if it has a path, else a named set.

    Raises DataError if it is empty or missing, or, with labelled, if a table or folder has no labels.
    """
    if source.path:
        columns = Columns(source.text_column, source.label_column, labelled=labelled)
        return find_own(source.path, columns, source.split)
    if not source.name:
        raise DataError("The source is empty; give the name of a set or the path of a file.")
    return find_named_set(source.name, source.split, data_dir)


def has_split(source: SourceConfig, split: str) -> bool:
    """Return whether a named set, or the folder of a path, has a split; raises DataError for an unknown set."""
    if source.path:
        return has_splits(Path(source.path).expanduser())
    return split in splits_of(source.name)
