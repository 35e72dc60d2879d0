"""Files of texts: finding the user's own, and telling their content apart by a digest."""

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
from ulmfit_lab.data.formats import (
    Columns,
    Document,
    read_articles,
    read_jsonl,
    read_lines,
    read_trec,
    read_whole,
)
from ulmfit_lab.data.parquet import parquet_text_bytes, read_parquet
from ulmfit_lab.data.splits import SPLITS
from ulmfit_lab.utils.errors import DataError, suggest
from ulmfit_lab.utils.files import file_digest

READING = 1
"""Version of all readers together; raised when a change to what they share can change a document."""


@dataclass(frozen=True)
class Reader:
    """A reader of one format; its version is raised when a change to it can change a document."""

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
"""Ending of a file's name -> its reader."""
NO_COLUMNS = (".txt", ".tokens", ".label")
"""Endings of files that have no columns: a document is one text."""
HEADERS = (".csv", ".tsv")
"""Formats whose first line names the columns, or does not where they are asked for by number."""
ACL_IMDB = frozenset({"unsup", "urls_pos.txt", "urls_neg.txt", "labeledBow.feat"})
"""What lies beside `pos` and `neg` in the folders of aclImdb (Maas et al. 2011)."""


@dataclass(frozen=True)
class TextSource:
    """Documents that were found but not read yet: the files they lie in, how those are read, and their reader.

    root is the folder whose sub-folders are the documents' labels, if they are; cure is what to do about a document
    without a label.
    """

    files: tuple[Path, ...]
    reader_id: str
    """Stands for what the reader makes of the files' bytes, and for nothing else: equal ones give equal documents."""
    read: Callable[[], Iterator[Document]]
    n_bytes: Callable[[], int]
    root: Path | None = None
    hint: str = "give texts that are labelled"


def find_own(path: str, columns: Columns, split: str | None = None) -> TextSource:
    """The user's own texts: one file, all files below a folder, or those that match a glob.

    A single `.txt` is a document a line; several are a document each, labelled by the sub-folder they lie in. Of a
    folder that has train and test texts, those of the split are taken, and all where none is given. Raises DataError
    if there are none, or files of several kinds.
    """
    given = Path(path).expanduser()
    if split is not None and has_splits(given):
        given = _part(given, split)
    files = matching_files(given)
    suffix = _common_suffix(files, path)
    if suffix == ".txt" and not given.is_file():
        return _own_text_folder(files, given if given.is_dir() else None, columns)
    size = partial(parquet_text_bytes, columns=columns) if suffix == ".parquet" else file_bytes
    hint = f"fill in its column {columns.label!r}, or drop it"
    if suffix in NO_COLUMNS:
        hint = "lines hold none: give a table with a column of labels, or a folder with a sub-folder of files a class"
    read = partial(_read_files, files, READERS[suffix].read, columns)
    return TextSource(files, _recipe(suffix, columns), read, lambda: sum(map(size, files)), hint=hint)


def _recipe(suffix: str, columns: Columns) -> str:
    parts: list[Any] = [suffix, columns.text, columns.label]
    version = READERS[suffix].version
    parts += [version] if version != 1 else []
    return json.dumps(parts + (["no header"] if suffix in HEADERS and columns.numbered else []))


def has_splits(given: Path) -> bool:
    """Whether a folder has train and test texts: as sub-folders, or as files."""
    try:
        names = {path.stem if path.is_file() else path.name for path in given.iterdir()}
    except (OSError, ValueError):  # no folder, or one that its reading will tell of
        return False
    return {"train", "test"} <= names


def _part(folder: Path, split: str) -> Path:
    """The file or sub-folder of a folder's split; aclImdb has its unlabelled reviews below those that train."""
    beside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    parts = [path for path in beside if split == (path.stem if path.is_file() else path.name)]
    if not parts and (folder / "train" / split).is_dir():
        parts = [folder / "train" / split]
    if len(parts) == 1:
        return parts[0]
    if parts:
        raise DataError(f"{folder}: {' and '.join(sorted(p.name for p in parts))} both name a split; name one of them.")
    raise DataError(f"{folder} has no split {split!r}. {suggest(split, (path.stem for path in beside))}")


def _own_text_folder(files: tuple[Path, ...], root: Path | None, columns: Columns) -> TextSource:
    """Text files of a user; of aclImdb's folders the labelled reviews alone, without `unsup` and lists of addresses."""
    if root and columns.label is not None and _is_acl_imdb(root):
        files = tuple(file for file in files if file.parent in (root / "pos", root / "neg"))
    if columns.labelled and root:
        _check_folder_labels(files, root)
    return text_folder(files, root, keep_empty=columns.keep_empty)


def _is_acl_imdb(root: Path) -> bool:
    names = {path.name for path in root.iterdir()}
    return {"pos", "neg"} <= names and bool(names & ACL_IMDB)


def _check_folder_labels(files: Sequence[Path], root: Path) -> None:
    """Raise DataError where sub-folders are no classes."""
    for file in files:
        folders = file.relative_to(root).parts[:-1]
        if len(folders) > 1:
            hint = f"name the folder that holds a sub-folder for each class, such as {file.parent.parent}"
            raise DataError(f"{file} lies {len(folders)} folders below {root}, so that its class is not clear; {hint}.")
        if folders and folders[0].lower() in SPLITS:
            hint = "give target.path and target.test_path a folder of classes each"
            raise DataError(f"{file}: the sub-folder {folders[0]!r} has the name of a split, not of a class; {hint}.")


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
    return f"there is no such file or folder. {suggest(given.name, beside[:1000])}"


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


def text_folder(files: Sequence[Path], root: Path | None, *, keep_empty: bool = False) -> TextSource:
    """Text files that are a document each; the name of the sub-folder of root that holds one is its label."""

    def read() -> Iterator[Document]:
        return (read_whole(file, _folder_label(file, root), keep_empty=keep_empty) for file in files)

    hint = f"put it in a sub-folder of {root} that its class names" if root else "name the folder of its class's folder"
    return TextSource(tuple(files), "whole files", read, lambda: sum(map(file_bytes, files)), root, hint)


def _folder_label(file: Path, root: Path | None) -> str | None:
    return file.parent.name if root is not None and file.parent != root else None


def file_bytes(path: Path) -> int:
    """Size of a file."""
    return path.stat().st_size


def texts_digest(texts: TextSource) -> str:
    """64 hex digits that stand for the bytes of all files, in order, and for how they are read.

    Equal content gives equal digits wherever the files lie; sub-folders count where they are labels.
    """
    digest = hashlib.sha256(json.dumps([READING, texts.reader_id]).encode())
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
