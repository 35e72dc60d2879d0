"""Finding files of texts, and digests of their content."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from ulmfit_lab.data.csv_files import read_csv, read_tsv
from ulmfit_lab.data.formats import Columns, Document, read_articles, read_jsonl, read_lines, read_trec, read_whole
from ulmfit_lab.data.parquet import parquet_text_bytes, read_parquet
from ulmfit_lab.data.splits import SPLITS
from ulmfit_lab.utils.errors import DataError, suggest
from ulmfit_lab.utils.files import file_digest

READING = 1
"""Version of what all readers share; raise it when a change can change a document."""


@dataclass(frozen=True)
class Reader:
    """A reader of one format; raise its version when a change can change a document."""

    read: Callable[[Path, Columns], Iterator[Document]]
    version: int = 1


READERS: Mapping[str, Reader] = {
    ".csv": Reader(read_csv),
    ".tsv": Reader(read_tsv, version=2),
    ".jsonl": Reader(read_jsonl),
    ".ndjson": Reader(read_jsonl),
    ".parquet": Reader(read_parquet, version=2),
    ".txt": Reader(lambda path, columns: read_lines(path, keep_empty=columns.keep_empty)),
    ".tokens": Reader(lambda path, _: read_articles(path)),
    ".label": Reader(lambda path, columns: read_trec(path, keep_empty=columns.keep_empty)),
}
"""File extension -> reader."""
NO_COLUMNS = (".txt", ".tokens", ".label")
"""Extensions of files without columns."""
HEADERS = (".csv", ".tsv")
"""Formats with a header, unless columns are given by number."""
ACL_IMDB = frozenset({"unsup", "urls_pos.txt", "urls_neg.txt", "labeledBow.feat"})
"""Files beside `pos` and `neg` in aclImdb (Maas et al. 2011)."""


@dataclass(frozen=True)
class TextSource:
    """Documents that have been found but not read.

    root is the folder whose sub-folders are the labels, if they are; hint says what to do about a document without a
    label.
    """

    files: tuple[Path, ...]
    reader_id: str
    """Identifies how the files are read: equal files and equal ids give equal documents."""
    read: Callable[[], Iterator[Document]]
    n_bytes: Callable[[], int]
    root: Path | None = None
    hint: str = "use labelled texts"


def find_own(path: str, columns: Columns, split: str | None = None) -> TextSource:
    """Find the user's texts: a file, all files below a folder, or the matches of a glob.

    A single `.txt` file has one document per line; several have one document each, labelled by their sub-folder. From
    a folder with train and test texts only `split` is read. Raises DataError for no files or files of several formats.
    """
    given = Path(path).expanduser()
    if split is not None and has_splits(given):
        given = _part(given, split)
    files = matching_files(given)
    suffix = _common_suffix(files, path)
    if suffix == ".txt" and not given.is_file():
        return _own_text_folder(files, given if given.is_dir() else None, columns)
    size = partial(parquet_text_bytes, columns=columns) if suffix == ".parquet" else file_bytes
    hint = f"fill in its column {columns.label!r}, or remove the row"
    if suffix in NO_COLUMNS:
        hint = "use a table with a label column, or a folder with one sub-folder per class"
    reader = READERS[suffix].read
    return TextSource(
        files,
        _recipe(suffix, columns),
        lambda: (document for file in files for document in reader(file, columns)),
        lambda: sum(map(size, files)),
        hint=hint,
    )


def _recipe(suffix: str, columns: Columns) -> str:
    parts: list[Any] = [suffix, columns.text, columns.label]
    version = READERS[suffix].version
    parts += [version] if version != 1 else []
    return json.dumps(parts + (["no header"] if suffix in HEADERS and columns.numbered else []))


def has_splits(given: Path) -> bool:
    """Return whether a folder has train and test texts, as sub-folders or files."""
    try:
        names = {path.stem if path.is_file() else path.name for path in given.iterdir()}
    except (OSError, ValueError):  # not a folder, or an error that reading will report
        return False
    return {"train", "test"} <= names


def _part(folder: Path, split: str) -> Path:
    """Return the file or sub-folder of a split; the unlabelled reviews of aclImdb are in train/unsup."""
    beside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    parts = [path for path in beside if split == (path.stem if path.is_file() else path.name)]
    if not parts and (folder / "train" / split).is_dir():
        parts = [folder / "train" / split]
    if len(parts) == 1:
        return parts[0]
    if parts:
        raise DataError(f"{folder}: {' and '.join(sorted(p.name for p in parts))} are the same split; give one path.")
    raise DataError(f"{folder} has no split {split!r}. {suggest(split, (path.stem for path in beside))}")


def _own_text_folder(files: tuple[Path, ...], root: Path | None, columns: Columns) -> TextSource:
    """Return the user's text files; from aclImdb with labels, only `pos` and `neg`."""
    if root and columns.label is not None:
        names = {path.name for path in root.iterdir()}
        if {"pos", "neg"} <= names and names & ACL_IMDB:
            files = tuple(file for file in files if file.parent in (root / "pos", root / "neg"))
    if columns.labelled and root:
        _check_folder_labels(files, root)
    return text_folder(files, root, keep_empty=columns.keep_empty)


def _check_folder_labels(files: Sequence[Path], root: Path) -> None:
    """Raise DataError if sub-folders are not classes."""
    for file in files:
        folders = file.relative_to(root).parts[:-1]
        if len(folders) > 1:
            hint = f"give the folder that has one sub-folder per class, such as {file.parent.parent}"
            raise DataError(f"{file} is {len(folders)} folders below {root}, so its class is ambiguous; {hint}.")
        if folders and folders[0].lower() in SPLITS:
            hint = "set target.path and target.test_path to folders with one sub-folder per class"
            raise DataError(f"{file}: the sub-folder {folders[0]!r} is a split, not a class; {hint}.")


def matching_files(given: Path) -> tuple[Path, ...]:
    """Return the file, the files below the folder, or the matches of the glob, sorted, without hidden files."""
    try:
        if given.is_file():
            return (given,)
        if given.is_dir():
            found = [p for p in given.rglob("*") if p.suffix.lower() in READERS and not _hidden(p.relative_to(given))]
        else:
            found = matches(given)
        files = tuple(sorted(p for p in found if p.is_file()))
        why = "" if files else _why_none(given)
    except OSError as error:  # for example a name that is too long
        raise DataError(f"{given} cannot be opened: {error.strerror or error}.") from error
    if not files:
        raise DataError(f"{given}: {why}")
    return files


def matches(pattern: Path) -> list[Path]:
    """Return the matches of a glob, without hidden files; `**` does not follow links."""
    try:
        found = list(Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor))))
    except ValueError as error:
        raise DataError(f"{pattern} is not a valid file pattern: {error}.") from error
    return [path for path in found if all(part in pattern.parts or part[0] != "." for part in path.parts)]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _why_none(given: Path) -> str:
    if given.is_dir():
        return f"no file in this folder ends in {', '.join(READERS)}."
    if glob.has_magic(str(given)):
        return "no file matches this pattern."
    beside = [p.name for p in given.parent.iterdir()] if given.parent.is_dir() else []
    return f"no such file or folder. {suggest(given.name, beside[:1000])}"


def _common_suffix(files: Sequence[Path], path: str) -> str:
    suffixes = sorted({file.suffix.lower() for file in files})
    if len(suffixes) > 1:
        raise DataError(f"{path}: files of several formats ({', '.join(suffixes)}); select one with '*{suffixes[0]}'.")
    if suffixes[0] not in READERS:
        raise DataError(f"{files[0]}: unknown format {suffixes[0]!r}; supported: {', '.join(READERS)}.")
    return suffixes[0]


def text_folder(files: Sequence[Path], root: Path | None, *, keep_empty: bool = False) -> TextSource:
    """Return text files as one document each, labelled by their sub-folder of root."""

    def read() -> Iterator[Document]:
        return (read_whole(file, _folder_label(file, root), keep_empty=keep_empty) for file in files)

    hint = f"move it to a sub-folder of {root} named after its class" if root else "give the folder above its class's"
    return TextSource(tuple(files), "whole files", read, lambda: sum(map(file_bytes, files)), root, hint)


def _folder_label(file: Path, root: Path | None) -> str | None:
    return file.parent.name if root is not None and file.parent != root else None


def file_bytes(path: Path) -> int:
    """Size of a file."""
    return path.stat().st_size


def texts_digest(texts: TextSource) -> str:
    """Return 64 hex digits that identify the bytes of all files, in order, and how they are read.

    The digest does not depend on the location of the files; sub-folders count if they are labels.
    """
    digest = hashlib.sha256(json.dumps([READING, texts.reader_id]).encode())
    for file in texts.files:
        digest.update((_folder_label(file, texts.root) or "").encode(errors="surrogateescape") + b"\0")
        try:
            stat = file.stat()
            digest.update(_file_digest(file, stat.st_size, stat.st_mtime_ns).encode())
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


# A plan needs the same digest many times.
@cache
def _file_digest(file: Path, size: int, mtime_ns: int) -> str:
    return file_digest(file)
