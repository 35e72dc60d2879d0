"""Readers of text files, one document at a time: JSONL, plain text, WikiText and TREC; and what all readers share.

Every reader raises DataError, in one line that names the file and the row, for bytes that are not text in the
format's encoding, NUL characters, a document without text, a missing column, two columns of one name and whatever the
format refuses.
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
from ulmfit_lab.utils.errors import DataError, suggest

LONGEST = 2**24
"""Bytes of a line and characters of a document, about three million words: more is a file that lacks its line ends.

Nothing is cut: which part of a text counts is the user's to say (see target.max_length).
"""
LONGEST_LABEL = 1000
"""Characters of a label: more is a column of texts."""
COLUMNS_SHOWN = 20
"""Columns of a table that a message names."""


@dataclass(frozen=True)
class Document:
    """A text, and its label where it has one; several text fields are joined by `rules.FIELD_BREAK`."""

    text: str
    label: str | None = None
    where: str = field(default="", compare=False)
    """File and row that it was read from, for messages."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The text fields: one, or several in the order in which they were named."""
        return tuple(self.text.split(FIELD_BREAK))


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold the text and the label, and whether rows without text are documents.

    `text` names one column, or several text fields with commas between them. The column `label` may be absent, unless
    the texts must be labelled; one of any other name was asked for, and must be there. With None no label is read.
    """

    text: str = "text"
    label: str | None = "label"
    keep_empty: bool = False
    """Whether every row and line gives a document, without text too; otherwise blank lines are passed over and a row
    without text is an error."""
    labelled: bool = False
    """Whether a table without the label column is refused."""

    @property
    def numbered(self) -> bool:
        """Whether the text columns are numbers: places, from 0, in a CSV or TSV file without a header."""
        return all(name.isdecimal() for name in self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The text columns that `text` names."""
        return tuple(name.strip() for name in self.text.split(","))

    def found(self, present: Sequence[str], where: str) -> tuple[list[str], str | None]:
        """The text columns, and the label column if there is one.

        Raises DataError for a column that is missing, or that is there twice.
        """
        texts = [self.text] if self.text in present else list(self.names)
        asked = [self.label] if self.label and self.label != "label" else []
        for name in [*texts, *asked]:
            if name not in present:
                raise DataError(
                    f"{where}: there is no column {name!r} among {_shown(present)}. {suggest(name, present)}"
                )
        if self.labelled and self.label and self.label not in present:
            others = [name for name in present if name not in texts]
            example = (difflib.get_close_matches(self.label, others, n=1, cutoff=0.5) or others or ["NAME"])[0]
            hint = f"name the labels' column, as with --target.label-column {shlex.quote(example[:50])}"
            raise DataError(f"{where}: there is no column {self.label!r} among {_shown(present)}; {hint}.")
        label = self.label if self.label in present else None
        for name in (*texts, *([label] if label else [])):
            if present.count(name) > 1:
                hint = "give each column a name of its own"
                raise DataError(f"{where}: {present.count(name)} columns are named {name!r}; {hint}.")
        return texts, label


def _shown(present: Sequence[str]) -> str:
    more = f" and {len(present) - COLUMNS_SHOWN} more" if len(present) > COLUMNS_SHOWN else ""
    names = (name if name == name.strip() else repr(name) for name in present[:COLUMNS_SHOWN])
    return (", ".join(names) or "none") + more


# Checks that all formats share


def decoded_lines(path: Path, encoding: str = "utf-8", *, whole: bool = False) -> Iterator[str]:
    """The lines of a text file with their line ends.

    whole: the file is one text, whatever ends its lines

    Raises DataError for bytes that are no text, and for a file whose lines end in carriage returns alone.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
                if number == 1 and not whole and not line.endswith(b"\n") and b"\r" in line.strip(b"\r"):
                    raise DataError(f"{path}: its lines end in carriage returns alone (CR); save it with LF or CRLF.")
                if len(line) > LONGEST:
                    raise too_long(f"{path}, line {number}")
                yield _decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, encoding, path, number)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def too_long(where: str) -> DataError:
    """The error for a text that no document can be as long as."""
    size = f"{LONGEST // 2**20} MB"
    return DataError(f"{where}: more than {size} of text in one document; end lines and documents where they end.")


class Held:
    """Lines of a document that is being put together; raises DataError once they are longer than a document can be."""

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
        raise DataError(f"{path}, line {number}: a NUL byte; this is no {encoding} text file, or a damaged one.")
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise DataError(
            f"{path}, line {number}: byte 0x{byte:02x} is not {encoding}; save the file as utf-8."
        ) from None


def make_document(texts: Sequence[Any], label: Any, where: str, *, keep_empty: bool = False) -> Document:
    """A document of one or several text fields, the only way from a text to what is tokenised.

    Raises DataError for fields that are no text and, unless empty documents are to be kept, for blank ones.
    """
    fields = [_clean(text, where) for text in texts]
    if not keep_empty and not any(field.strip() for field in fields):
        raise DataError(f"{where}: the text is empty; fill it in or drop the row.")
    return Document(FIELD_BREAK.join(fields), _clean_label(label, where), where)


def _clean_label(label: Any, where: str) -> str | None:
    if isinstance(label, (list, tuple, dict, bytes)):
        kind = type(label).__name__
        raise DataError(f"{where}: the label is of type {kind}; a text has one label, a string, number or boolean.")
    name = label_name(label)
    if name is not None and len(name) > LONGEST_LABEL:
        raise DataError(f"{where}: a label of {len(name)} characters; name a column that holds labels.")
    return None if name is None else _encodable(name, where, "label")


def _clean(text: Any, where: str) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        raise DataError(f"{where}: the text is of type {type(text).__name__}; name a column that holds text.")
    if len(text) > LONGEST:
        raise too_long(where)
    return _encodable(text, where, "text").replace(FIELD_BREAK, " ")


def _encodable(text: str, where: str, what: str) -> str:
    if "\0" in text:
        raise DataError(f"{where}: the {what} has a NUL character; remove it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: the {what} has half of a surrogate pair, which is no character; remove it."
        ) from None
    return text


def label_name(label: Any) -> str | None:
    """A label as text; None for a missing one. Whole numbers that pandas made floats lose their `.0`."""
    if label is None or label != label:
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip() or None


# Lines


def read_jsonl(path: Path, columns: Columns) -> Iterator[Document]:
    """Documents of a file with one JSON object a line; blank lines are skipped, or are documents without text."""
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
        raise ValueError(f"the key {twice!r} is there twice")
    return record


def read_lines(path: Path, *, keep_empty: bool = False) -> Iterator[Document]:
    """A document for each line of a text file that is not blank, or for every line."""
    lines = _text_lines(path, keep_empty=keep_empty)
    return (make_document([line], None, where, keep_empty=keep_empty) for line, where in lines)


def _text_lines(path: Path, encoding: str = "utf-8", *, keep_empty: bool = False) -> Iterator[tuple[str, str]]:
    """Each line that is not blank, or every one, without the blanks around it, and where it stands."""
    for number, line in enumerate(decoded_lines(path, encoding), 1):
        text, where = line.strip(), f"{path}, line {number}"
        if "\r" in text:
            raise DataError(f"{where}: a carriage return inside the line; end each line with LF or CRLF.")
        if text or keep_empty:
            yield text, where


def read_whole(path: Path, label: str | None = None, *, keep_empty: bool = False) -> Document:
    """A whole text file as one document."""
    text = "".join(Held(decoded_lines(path, whole=True), str(path)))
    return make_document([text], label, str(path), keep_empty=keep_empty)


# Formats of two data sets

_ARTICLE = re.compile(r"= [^=].* =")
_ESCAPED = re.compile(r" @([-,.])@(?: |$)")


def read_articles(path: Path) -> Iterator[Document]:
    """A document for each article of a WikiText `.tokens` file."""
    articles = split_articles(decoded_lines(path), str(path))
    return (make_document([text], None, f"{path}, article {number}") for number, text in enumerate(articles, 1))


def split_articles(lines: Iterable[str], where: str = "the texts") -> Iterator[str]:
    """The articles among WikiText's lines: one begins at each ` = Title = ` that has a blank line on both sides.

    (A few lines of running text look like a title, but stand right above or below other text.) Blank lines are
    left out, and the words restored as `restore_words` says.
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
    """WikiText's tokens as ordinary text: `@-@`, `@,@` and `@.@` join what they stand between, `<unk>` is `xxunk`.

    >>> restore_words("a <unk> @-@ like 1 @,@ 000 @.@ 5")
    'a xxunk-like 1,000.5'
    """
    return _ESCAPED.sub(r"\1", line).replace("<unk>", UNK)


def read_trec(path: Path, *, keep_empty: bool = False) -> Iterator[Document]:
    """Questions of a TREC `.label` file, one `COARSE:fine question` a line in ISO-8859-1; the label is COARSE."""
    for line, where in _text_lines(path, "iso-8859-1", keep_empty=keep_empty):
        label, _, question = line.partition(" ")
        if line and ":" not in label:
            raise DataError(f"{where}: the line must begin with COARSE:fine, as in DESC:manner.")
        yield make_document([question.strip()], label.partition(":")[0], where, keep_empty=keep_empty)
