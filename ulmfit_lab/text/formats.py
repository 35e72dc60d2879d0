"""Readers of text files, one document at a time: CSV, TSV, JSONL, parquet, plain text, WikiText and TREC.

Every reader raises DataError, in one line that names the file and the row, for bytes that are not text in the
format's encoding, NUL characters, a document without text, a missing column and whatever the format refuses.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_lab.errors import DataError, nearest
from ulmfit_lab.text.rules import FIELD_BREAK, UNK

ROWS_AT_A_TIME = 1000
"""Rows of a parquet file held in memory; documents can be long."""


@dataclass(frozen=True)
class Document:
    """A text, and its label where it has one; several text fields are joined by `rules.FIELD_BREAK`."""

    text: str
    label: str | None = None


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold the text and the label.

    `text` names one column, or several text fields with commas between them. The column `label` may be absent;
    one of any other name was asked for, and must be there.
    """

    text: str = "text"
    label: str = "label"

    def found(self, present: Sequence[str], where: str) -> tuple[list[str], str | None]:
        """The text columns, and the label column if there is one; raises DataError for what is missing."""
        texts = [self.text] if self.text in present else [name.strip() for name in self.text.split(",")]
        required = texts if self.label in present or self.label == "label" else [*texts, self.label]
        for name in required:
            if name not in present:
                columns = ", ".join(present) or "none"
                raise DataError(f"{where}: there is no column {name!r} among {columns}. {nearest(name, present)}")
        return texts, self.label if self.label in present else None


# Checks that all formats share


def decoded_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a text file with their line ends; raises DataError for bytes that are no text."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield _decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, encoding, path, number)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


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


def make_document(texts: Sequence[Any], label: Any, where: str) -> Document:
    """A document of one or several text fields; raises DataError if they are no text, or blank."""
    fields = [_clean(text, where) for text in texts]
    if not any(field.strip() for field in fields):
        raise DataError(f"{where}: the text is empty; fill it in or drop the row.")
    return Document(FIELD_BREAK.join(fields), label_name(label))


def _clean(text: Any, where: str) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        raise DataError(f"{where}: the text is of type {type(text).__name__}; name a column that holds text.")
    if "\0" in text:
        raise DataError(f"{where}: the text has a NUL character; remove it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: the text has half of a surrogate pair, which is no character; remove it.") from None
    return text.replace(FIELD_BREAK, " ")


def label_name(label: Any) -> str | None:
    """A label as text; None for a missing one. Whole numbers that pandas made floats lose their `.0`."""
    if label is None or label != label:
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip() or None


# Tables


def read_csv(
    path: Path, columns: Columns, delimiter: str = ",", keep: Callable[[Mapping[str, str]], bool] | None = None
) -> Iterator[Document]:
    """Documents of a CSV file with a header (UTF-8, fields quoted by `"`); `keep` selects rows by all their columns."""
    rows = csv.reader(decoded_lines(path), delimiter=delimiter, strict=True)
    header = next(_csv_rows(rows, path), None)
    if header is None:
        raise DataError(f"{path} is empty; its first line must name the columns.")
    texts, label = columns.found(header, str(path))
    for number, row in enumerate(_csv_rows(rows, path), 1):
        where = f"{path}, row {number}"
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} fields under {len(header)} columns; a quote or delimiter is amiss.")
        record = dict(zip(header, row, strict=True))
        if keep is None or keep(record):
            yield make_document([record[name] for name in texts], label and record[label], where)


def _csv_rows(rows: Any, path: Path) -> Iterator[list[str]]:
    """The rows that are not blank, with csv's complaints turned into DataError."""
    try:
        yield from filter(None, rows)
    except csv.Error as error:
        cure = "close the quotes; longer texts belong in JSONL or parquet"
        raise DataError(f"{path}, line {rows.line_num}: {error}; {cure}.") from None


def read_jsonl(path: Path, columns: Columns) -> Iterator[Document]:
    """Documents of a file with one JSON object a line; blank lines are skipped."""
    for number, line in enumerate(decoded_lines(path), 1):
        if line.strip():
            where = f"{path}, line {number}"
            record = _json_object(line, where)
            texts, label = columns.found(list(record), where)
            yield make_document([record[name] for name in texts], label and record[label], where)


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); write one JSON object on each line.") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: a JSON {type(record).__name__}, not an object; write one JSON object on each line.")
    return record


def read_parquet(path: Path, columns: Columns) -> Iterator[Document]:
    """Documents of a parquet file, its text and label columns alone; the number -1 as a label means none."""
    try:
        file = pq.ParquetFile(path)
        texts, label = columns.found(file.schema_arrow.names, str(path))
        wanted = list(dict.fromkeys(texts + [label] * (label is not None)))
        number = 0
        for batch in file.iter_batches(ROWS_AT_A_TIME, columns=wanted):
            for row in range(batch.num_rows):
                number += 1
                where = f"{path}, row {number}"
                values = {name: _value(batch.column(name), row, where) for name in wanted}
                yield make_document([values[name] for name in texts], _unless_minus_1(label and values[label]), where)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error


def _value(column: Any, row: int, where: str) -> Any:
    try:
        return column[row].as_py()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: bytes that are not utf-8 ({error.reason}); write the file again.") from None


def _unless_minus_1(label: Any) -> Any:
    return None if isinstance(label, int) and label == -1 else label


def parquet_text_bytes(path: Path, columns: Columns) -> int:
    """Bytes of a parquet file's text columns before compression."""
    metadata = pq.read_metadata(path)
    texts, _ = columns.found(metadata.schema.to_arrow_schema().names, str(path))
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in texts)


# Plain text


def read_lines(path: Path) -> Iterator[Document]:
    """A document for each line of a text file that is not blank."""
    for number, line in enumerate(decoded_lines(path), 1):
        if line.strip():
            yield make_document([line.strip()], None, f"{path}, line {number}")


def read_whole(path: Path, label: str | None = None) -> Document:
    """A whole text file as one document."""
    return make_document(["".join(decoded_lines(path))], label, str(path))


# Formats of two data sets

_ARTICLE = re.compile(r"= [^=].* =")
_ESCAPED = re.compile(r" @([-,.])@(?: |$)")


def read_articles(path: Path) -> Iterator[Document]:
    """A document for each article of a WikiText `.tokens` file."""
    articles = split_articles(decoded_lines(path))
    return (make_document([text], None, f"{path}, article {number}") for number, text in enumerate(articles, 1))


def split_articles(lines: Iterable[str]) -> Iterator[str]:
    """The articles among WikiText's lines: one begins at each ` = Title = ` that has a blank line on both sides.

    (A few lines of running text look like a title, but stand right above or below other text.) Blank lines are
    left out, and the words restored as `restore_words` says.
    """
    article: list[str] = []
    before, pending = "", ""
    for line in chain(map(str.strip, lines), [""]):
        starts = bool(_ARTICLE.fullmatch(pending)) and not before and not line
        if starts and article:
            yield "\n".join(article)
            article = []
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


def read_trec(path: Path) -> Iterator[Document]:
    """Questions of a TREC `.label` file, one `COARSE:fine question` a line in ISO-8859-1; the label is COARSE."""
    for number, line in enumerate(decoded_lines(path, "iso-8859-1"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            label, _, question = line.partition(" ")
            if ":" not in label:
                raise DataError(f"{where}: the line must begin with COARSE:fine, as in DESC:manner.")
            yield make_document([question.strip()], label.partition(":")[0], where)
