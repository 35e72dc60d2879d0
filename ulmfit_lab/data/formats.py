"""Readers of JSONL, plain text, WikiText and TREC files, and checks that all readers share.

Every reader raises DataError with file and row for bytes that are not valid in the format's encoding, NUL characters,
documents without text, missing columns and duplicate columns.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ulmfit_lab.data.rules import FIELD_BREAK, UNK
from ulmfit_lab.utils.errors import DataError, suggest_nearest

LONGEST = 2**24
"""Largest line in bytes and document in characters, about three million words; longer texts are not cut but refused."""
LONGEST_LABEL = 1000
"""Longest label in characters; a longer one is text."""
COLUMNS_SHOWN = 20
"""Columns that an error message lists."""


@dataclass(frozen=True)
class Document:
    """A text and its label, if any; several text fields are joined by `rules.FIELD_BREAK`."""

    text: str
    label: str | None = None
    where: str = field(default="", compare=False)
    """File and row, for error messages."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The text fields, in the order in which they were given."""
        return tuple(self.text.split(FIELD_BREAK))


@dataclass(frozen=True)
class Columns:
    """Columns of a table that hold text and label.

    `text` names one column, or several separated by commas. The column "label" may be missing unless `labelled`; a
    label column with another name must exist. `label=None` reads no labels.
    """

    text: str = "text"
    label: str | None = "label"
    keep_empty: bool = False
    """Keep blank lines and rows without text as documents; otherwise blank lines are skipped and such rows raise."""
    labelled: bool = False
    """Raise if a table has no label column."""

    @property
    def numbered(self) -> bool:
        """Whether the text columns are numbers (from 0) of a CSV or TSV file without a header."""
        return all(name.isdecimal() for name in self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The text columns."""
        return tuple(name.strip() for name in self.text.split(","))

    def found(self, present: Sequence[str], where: str) -> tuple[list[str], str | None]:
        """Return the text columns and the label column (None without one).

        Raises DataError for a missing or duplicate column.
        """
        texts = [self.text] if self.text in present else list(self.names)
        asked = [self.label] if self.label and self.label != "label" else []
        for name in [*texts, *asked]:
            if name not in present:
                hint = suggest_nearest(name, present) or COLUMN_HINT
                raise DataError(f"{where}: no column {name!r}; found {_shown(present)}. {hint}")
        if self.labelled and self.label and self.label not in present:
            others = [name for name in present if name not in texts]
            example = (difflib.get_close_matches(self.label, others, n=1, cutoff=0.5) or others or ["NAME"])[0]
            hint = f"set the label column, for example --target.label-column {shlex.quote(example[:50])}"
            raise DataError(f"{where}: no column {self.label!r}; found {_shown(present)}; {hint}.")
        label = self.label if self.label in present else None
        for name in (*texts, *([label] if label else [])):
            if present.count(name) > 1:
                raise DataError(f"{where}: {present.count(name)} columns are named {name!r}; rename them.")
        return texts, label


COLUMN_HINT = (
    "Name the columns with --target.text-column and --target.label-column; without a header, by numbers from 0."
)


def _shown(present: Sequence[str]) -> str:
    more = f" and {len(present) - COLUMNS_SHOWN} more" if len(present) > COLUMNS_SHOWN else ""
    names = (name if name == name.strip() else repr(name) for name in present[:COLUMNS_SHOWN])
    return (", ".join(names) or "none") + more


def decoded_lines(path: Path, encoding: str = "utf-8", *, whole: bool = False) -> Iterator[str]:
    """Yield the lines of a text file with their line ends.

    whole: the file is one text; any line ends are accepted

    Raises DataError for bytes that cannot be decoded and for line ends that are carriage returns only.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
                if number == 1 and not whole and not line.endswith(b"\n") and b"\r" in line.strip(b"\r"):
                    raise DataError(f"{path}: its lines end in carriage returns (CR) only; save it with LF or CRLF.")
                if len(line) > LONGEST:
                    raise too_long(f"{path}, line {number}")
                yield _decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, encoding, path, number)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def too_long(where: str) -> DataError:
    """Return the error for a text that exceeds the maximum length."""
    size = f"{LONGEST // 2**20} MB"
    return DataError(f"{where}: more than {size} of text in one document; check its line ends.")


class Held:
    """Lines of one document; raises DataError once their total length exceeds the maximum."""

    def __init__(self, lines: Iterable[str], where: str) -> None:
        self.lines, self.where, self.size = lines, where, 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.size += len(line)
            if self.size > LONGEST:
                raise too_long(self.where)
            yield line


def _decode(line: bytes, encoding: str, path: Path, number: int) -> str:
    if b"\0" in line:
        raise DataError(f"{path}, line {number}: a NUL byte; the file is damaged or not {encoding} text.")
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise DataError(f"{path}, line {number}: byte 0x{byte:02x} is not {encoding}; save it as utf-8.") from None


def make_document(texts: Sequence[Any], label: Any, where: str, *, keep_empty: bool = False) -> Document:
    """Return a document of one or several text fields.

    Raises DataError for fields that are not text and, without keep_empty, for documents without text.
    """
    fields = [_clean(text, where) for text in texts]
    if not keep_empty and not any(field.strip() for field in fields):
        raise DataError(f"{where}: the text is empty; fill it in or remove the row.")
    return Document(FIELD_BREAK.join(fields), _clean_label(label, where), where)


def _clean_label(label: Any, where: str) -> str | None:
    if isinstance(label, (list, tuple, dict, bytes)):
        kind = type(label).__name__
        raise DataError(f"{where}: the label has type {kind}; use a string, number or boolean.")
    name = label_name(label)
    if name is not None and len(name) > LONGEST_LABEL:
        raise DataError(f"{where}: a label of {len(name)} characters; use a column that holds labels.")
    return None if name is None else _encodable(name, where, "label")


def _clean(text: Any, where: str) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        raise DataError(f"{where}: the text has type {type(text).__name__}; use a column that holds text.")
    if len(text) > LONGEST:
        raise too_long(where)
    return _encodable(text, where, "text").replace(FIELD_BREAK, " ")


def _encodable(text: str, where: str, what: str) -> str:
    if "\0" in text:
        raise DataError(f"{where}: the {what} has a NUL character; remove it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: the {what} has an unpaired surrogate, not a character; remove it.") from None
    return text


def label_name(label: Any) -> str | None:
    """Return a label as text, None if missing; integers that pandas stores as floats lose their `.0`."""
    if label is None or label != label:
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip() or None


def read_jsonl(path: Path, columns: Columns) -> Iterator[Document]:
    """Yield the documents of a file with one JSON object per line."""
    for number, line in enumerate(decoded_lines(path), 1):
        where = f"{path}, line {number}"
        if line.strip():
            record = _json_object(line, where)
            texts, label = columns.found(list(record), where)
            values = [record[name] for name in texts]
            yield make_document(values, label and record[label], where, keep_empty=columns.keep_empty)
        elif columns.keep_empty:
            yield make_document([""] * len(columns.names), None, where, keep_empty=True)


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); write one JSON object on each line.") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: a JSON {type(record).__name__}, not an object; write one JSON object on each line.")
    return record


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate key {twice!r}")
    return record


def read_lines(path: Path, *, keep_empty: bool = False) -> Iterator[Document]:
    """Yield one document per line of a text file; blank lines are skipped unless keep_empty."""
    lines = _text_lines(path, keep_empty=keep_empty)
    return (make_document([line], None, where, keep_empty=keep_empty) for line, where in lines)


def _text_lines(path: Path, encoding: str = "utf-8", *, keep_empty: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each stripped line and its location; blank lines are skipped unless keep_empty."""
    for number, line in enumerate(decoded_lines(path, encoding), 1):
        text, where = line.strip(), f"{path}, line {number}"
        if "\r" in text:
            raise DataError(f"{where}: a carriage return inside the line; save the file with LF or CRLF line ends.")
        if text or keep_empty:
            yield text, where


def read_whole(path: Path, label: str | None = None, *, keep_empty: bool = False) -> Document:
    """Return a text file as one document."""
    text = "".join(Held(decoded_lines(path, whole=True), str(path)))
    return make_document([text], label, str(path), keep_empty=keep_empty)


_ARTICLE = re.compile(r"= [^=].* =")
_ESCAPED = re.compile(r" @([-,.])@(?: |$)")


def read_articles(path: Path) -> Iterator[Document]:
    """Yield the articles of a WikiText `.tokens` file as documents."""
    articles = split_articles(decoded_lines(path), str(path))
    return (make_document([text], None, f"{path}, article {number}") for number, text in enumerate(articles, 1))


def split_articles(lines: Iterable[str], where: str = "the texts") -> Iterator[str]:
    """Yield the articles of WikiText, each starting at a line ` = Title = ` between two blank lines.

    Blank lines are dropped and words restored (see `restore_words`).
    """
    article: list[str] = []
    before, pending = "", ""
    held = Held(chain(map(str.strip, lines), [""]), where)
    for line in held:
        starts = bool(_ARTICLE.fullmatch(pending)) and not before and not line
        if starts and article:
            yield "\n".join(article)
            article, held.size = [], 0
        if pending:
            article.append(restore_words(pending))
        before, pending = pending, line
    if article:
        yield "\n".join(article)


def restore_words(line: str) -> str:
    """Convert WikiText's tokens to ordinary text: remove `@` from `@-@`, `@,@` and `@.@`; `<unk>` becomes `xxunk`.

    >>> restore_words("a <unk> @-@ like 1 @,@ 000 @.@ 5")
    'a xxunk-like 1,000.5'
    """
    return _ESCAPED.sub(r"\1", line).replace("<unk>", UNK)


def read_trec(path: Path, *, keep_empty: bool = False) -> Iterator[Document]:
    """Yield the questions of a TREC `.label` file: lines `COARSE:fine question` in ISO-8859-1, labelled COARSE."""
    for line, where in _text_lines(path, "iso-8859-1", keep_empty=keep_empty):
        label, _, question = line.partition(" ")
        if line and ":" not in label:
            raise DataError(f"{where}: the line must begin with COARSE:fine, for example DESC:manner.")
        yield make_document([question.strip()], label.partition(":")[0], where, keep_empty=keep_empty)
