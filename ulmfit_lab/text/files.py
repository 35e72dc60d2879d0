"""Files of texts: finding the user's own, and telling their content apart by a digest."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from ulmfit_lab.errors import DataError, nearest
from ulmfit_lab.files import file_digest
from ulmfit_lab.text.formats import (
    Columns,
    Document,
    read_articles,
    read_csv,
    read_jsonl,
    read_lines,
    read_trec,
    read_whole,
)
from ulmfit_lab.text.parquet import parquet_text_bytes, read_parquet

READING = 1
"""Version of all readers together; raised when a change to one can change a document."""

READERS: Mapping[str, Callable[[Path, Columns], Iterator[Document]]] = {
    ".csv": read_csv,
    ".tsv": partial(read_csv, delimiter="\t"),
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
    ".txt": lambda path, columns: read_lines(path, keep_empty=columns.keep_empty),
    ".tokens": lambda path, _: read_articles(path),
    ".label": lambda path, columns: read_trec(path, keep_empty=columns.keep_empty),
}
"""Ending of a file's name -> its reader."""
NO_COLUMNS = (".txt", ".tokens", ".label")
"""Endings of files that have no columns: a document is one text."""


@dataclass(frozen=True)
class Texts:
    """Documents that were found but not read yet: the files they lie in, how those are read, and their reader.

    root is the folder whose sub-folders are the documents' labels, if they are.
    """

    files: tuple[Path, ...]
    recipe: str
    read: Callable[[], Iterator[Document]]
    n_bytes: Callable[[], int]
    root: Path | None = None


def find_own(path: str, columns: Columns) -> Texts:
    """The user's own texts: one file, all files below a folder, or those that match a glob.

    A single `.txt` is a document a line; several are a document each, labelled by the sub-folder they lie in.
    Raises DataError if there are none, or files of several kinds.
    """
    given = Path(path).expanduser()
    files = matching_files(given)
    suffix = _common_suffix(files, path)
    if suffix == ".txt" and not given.is_file():
        return text_folder(files, given if given.is_dir() else None, keep_empty=columns.keep_empty)
    read = partial(_read_files, files, READERS[suffix], columns)
    size = partial(parquet_text_bytes, columns=columns) if suffix == ".parquet" else file_bytes
    recipe = json.dumps([suffix, columns.text, columns.label])
    return Texts(files, recipe, read, lambda: sum(map(size, files)))


def matching_files(given: Path) -> tuple[Path, ...]:
    """The file, the files below the folder or the matches of the glob, sorted; hidden ones are passed over."""
    try:
        if given.is_file():
            return (given,)
        if given.is_dir():
            found = [p for p in given.rglob("*") if p.suffix.lower() in READERS and not _hidden(p.relative_to(given))]
        else:
            found = matches(given)
        files = tuple(sorted(p for p in found if p.is_file()))
        why = "" if files else _why_none(given)
    except OSError as error:  # such as a name that is too long
        raise DataError(f"{given} cannot be looked up: {error.strerror or error}.") from error
    if not files:
        raise DataError(f"{given}: {why}")
    return files


def matches(pattern: Path) -> list[Path]:
    """What a glob matches; a wildcard finds nothing hidden, and `**` follows no links, which may lead in circles."""
    try:
        found = list(Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor))))
    except ValueError as error:
        raise DataError(f"{pattern} is no pattern of files: {error}.") from error
    return [path for path in found if all(part in pattern.parts or part[0] != "." for part in path.parts)]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _why_none(given: Path) -> str:
    if given.is_dir():
        return f"no file below this folder ends in {', '.join(READERS)}; name one that does."
    if glob.has_magic(str(given)):
        return "no file matches this pattern."
    beside = [p.name for p in given.parent.iterdir()] if given.parent.is_dir() else []
    return f"there is no such file or folder. {nearest(given.name, beside[:1000])}"


def _common_suffix(files: Sequence[Path], path: str) -> str:
    suffixes = sorted({file.suffix.lower() for file in files})
    if len(suffixes) > 1:
        raise DataError(f"{path}: files of several kinds ({', '.join(suffixes)}); pick one, as in '*{suffixes[0]}'.")
    if suffixes[0] not in READERS:
        raise DataError(f"{files[0]}: files that end in {suffixes[0]!r} cannot be read, only {', '.join(READERS)}.")
    return suffixes[0]


def _read_files(
    files: Sequence[Path], reader: Callable[[Path, Columns], Iterator[Document]], columns: Columns
) -> Iterator[Document]:
    for file in files:
        yield from reader(file, columns)


def text_folder(files: Sequence[Path], root: Path | None, *, keep_empty: bool = False) -> Texts:
    """Text files that are a document each; the name of the sub-folder of root that holds one is its label."""

    def read() -> Iterator[Document]:
        return (read_whole(file, _folder_label(file, root), keep_empty=keep_empty) for file in files)

    return Texts(tuple(files), "whole files", read, lambda: sum(map(file_bytes, files)), root)


def _folder_label(file: Path, root: Path | None) -> str | None:
    return file.parent.name if root is not None and file.parent != root else None


def file_bytes(path: Path) -> int:
    """Size of a file."""
    return path.stat().st_size


def texts_digest(texts: Texts) -> str:
    """64 hex digits that stand for the bytes of all files, in order, and for how they are read.

    Equal content gives equal digits wherever the files lie; sub-folders count where they are labels.
    """
    digest = hashlib.sha256(json.dumps([READING, texts.recipe]).encode())
    for file in texts.files:
        digest.update((_folder_label(file, texts.root) or "").encode(errors="surrogateescape") + b"\0")
        digest.update(_stored_digest(file).encode())
    return digest.hexdigest()


def _stored_digest(file: Path) -> str:
    try:
        stat = file.stat()
        return _file_digest(file, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error


# A plan asks for the same digest many times; a file that has not been touched is not read again.
@cache
def _file_digest(file: Path, size: int, mtime_ns: int) -> str:
    return file_digest(file)
