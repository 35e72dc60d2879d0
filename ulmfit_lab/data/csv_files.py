"""Readers of CSV and TSV files: one document per row.

CSV fields are quoted with `"`. In a TSV file quotes are either ordinary characters or enclose fields, as csv, pandas, R
and Excel write them; `quotes_enclose` decides which for the whole file and refuses ambiguous files. Column numbers
instead of names mean that the file has no header.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Literal

from ulmfit_lab.data import formats
from ulmfit_lab.data.formats import Columns, Document, Held, decoded_lines, make_document
from ulmfit_lab.utils.errors import DataError

Keep = Callable[[Mapping[str, str]], bool]

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
HINTS = {
    "unexpected end of data": "close the quotes",
    "expected after": "double the quotes that belong to a quoted field",
    "new-line character": "put quotes around a field with a carriage return in it",
}
"""Part of an error message of the csv module -> what to do."""
OPENING = re.compile(r'(?:^|\t)"')
"""A field that begins with a quote."""
ENCLOSED = re.compile(r'"(?:[^"]|"")*"')
"""A quoted field; if it contains doubled quotes, a CSV writer quoted it."""
FIELD = re.compile(r'(?:^|\t)(?:"((?:[^"]|"")*)"(?=\t|$)|[^\t]*)')
"""A field; the group is the content of a quoted one."""
NEEDS_QUOTES = re.compile(r'["\t\r\n,]')
"""Characters for which writers quote a field (Excel also quotes for a comma)."""


def read_csv(path: Path, columns: Columns, keep: Keep | None = None) -> Iterator[Document]:
    """Read the documents of a CSV file (UTF-8, fields quoted with `"`); `keep` selects rows by all their columns."""
    return _documents(path, columns, ",", True, keep)


def read_tsv(path: Path, columns: Columns) -> Iterator[Document]:
    """Read the documents of a TSV file (UTF-8)."""
    return _documents(path, columns, "\t", quotes_enclose(path))


def _documents(
    path: Path, columns: Columns, delimiter: str, quoted: bool, keep: Keep | None = None
) -> Iterator[Document]:
    rows = _rows(path, delimiter, quoted, keep_empty=columns.keep_empty)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} is empty; its first line must name the columns.")
    header = first
    if columns.numbered:
        header = [str(place) for place in range(len(first))]
        rows = rows if first == header else chain([first], rows)
    _check_delimiter(first, header, delimiter, columns, path)
    texts, label = columns.found(header, str(path))
    if header != first:
        _check_header(first, texts, path)
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        if not row:
            yield make_document([""] * len(texts), None, where, keep_empty=True)
            continue
        if len(row) != len(header):
            found = _count(row)
            raise DataError(f"{where}: {found} but {len(header)} columns; check the row's quotes and delimiters.")
        record = dict(zip(header, row, strict=True))
        if keep is None or keep(record):
            values = [record[name] for name in texts]
            yield make_document(values, label and record[label], where, keep_empty=columns.keep_empty)


def _count(row: list[str]) -> str:
    return f"{len(row)} field{'s' * (len(row) != 1)}"


def _rows(
    path: Path, delimiter: str, quoted: bool, *, keep_empty: bool = False, seen: list[str] | None = None
) -> Iterator[list[str]]:
    """Yield the rows of a file. If it has several columns, blank lines are skipped, or empty rows with keep_empty.

    seen: filled with the lines of each row

    Raises DataError, with the line number, for what csv refuses.
    """
    lines = Held(decoded_lines(path), f"{path}, a row that quotes keep open")
    csv.field_size_limit(max(csv.field_size_limit(), formats.LONGEST))
    source = _noted(lines, seen)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    rows = csv.reader(source, delimiter=delimiter, strict=quoted, quoting=quoting)
    columns = 0
    try:
        for row in rows:
            lines.size = 0
            columns = columns or len(row)
            if row or columns == 1 or (columns and keep_empty):
                yield row or [""] * (columns == 1)
            if seen is not None:
                seen.clear()
    except csv.Error as error:
        hint = next((hint for words, hint in HINTS.items() if words in str(error)), "fix the line")
        raise DataError(f"{path}, line {rows.line_num}: {str(error).partition(' - ')[0]}; {hint}.") from None


def _noted(lines: Held, seen: list[str] | None) -> Iterator[str]:
    for line in lines:
        if seen is not None:
            seen.append(line)
        yield line


def _check_header(first: list[str], texts: list[str], path: Path) -> None:
    """Raise DataError if the first line looks like column names although columns were given by number."""
    names = {"text", "label"} & {name.strip().lower() for name in first} or {
        first[int(place)] for place in texts if first[int(place)].strip().isdecimal()
    }
    if names:
        hint = "give columns by these names, or remove the line"
        raise DataError(f"{path}, line 1: {min(names)!r} looks like a column name; {hint}.")


def _check_delimiter(first: list[str], header: list[str], delimiter: str, columns: Columns, path: Path) -> None:
    """Raise DataError if the first line is one field that another delimiter splits."""
    if len(first) > 1 or columns.text in header:
        return
    for other, name in DELIMITERS.items():
        if other != delimiter and other in first[0]:
            again = f"pandas.read_csv({path.name!r}, sep={other!r}).to_csv('texts.csv', index=False)"
            raise DataError(f"{path} is separated by {name}, not {DELIMITERS[delimiter]}; convert it: {again}.")


def quotes_enclose(path: Path) -> bool:
    """Return whether the quotes of a TSV file enclose fields.

    They do not if all lines have the same number of fields without them and no field is quoted with doubled quotes
    inside. They do if csv finds the same number of fields in all rows and no field is quoted without need, unless all
    fields of the first line are quoted. Raises DataError if both or neither hold.
    """
    opening = next((n for n, line in enumerate(decoded_lines(path), 1) if OPENING.search(line)), None)
    if opening is None:
        return False
    against_plain, against_quoted = _first_error(_check_plain, path), _first_error(_check_quoted, path)
    if not against_plain and not against_quoted:
        raise DataError(
            f"{path}, line {opening}: the quotes may enclose a field or be part of its text; "
            "save the file as CSV, JSONL or parquet."
        )
    if against_plain and against_quoted:
        raise DataError(f"{against_plain} If quotes enclose fields: {against_quoted}")
    return not against_quoted


def _first_error(check: Callable[[Path], None], path: Path) -> str:
    try:
        check(path)
    except DataError as error:
        return str(error)
    return ""


def _check_plain(path: Path) -> None:
    """Raise DataError if quotes cannot be ordinary characters."""
    width = 0
    for number, row in enumerate(_rows(path, "\t", quoted=False)):
        width = width or len(row)
        if len(row) != width:
            raise DataError(f"{path}, row {number}: {_count(row)} but {width} columns.")
        if any('""' in field[1:-1] and ENCLOSED.fullmatch(field) for field in row) or (not number and _all_quoted(row)):
            raise DataError(f"{path}, row {number}: quotes enclose a field.")


def _check_quoted(path: Path) -> None:
    """Raise DataError if quotes cannot enclose fields."""
    width, any_may_be, seen = 0, False, list[str]()
    for number, row in enumerate(_rows(path, "\t", True, seen=seen)):
        line = "".join(seen).rstrip("\r\n")
        width, any_may_be = width or len(row), any_may_be or (not number and _all_quoted(line.split("\t")))
        if len(row) != width:
            raise DataError(f"{path}, row {number}: {_count(row)} but {width} columns.")
        needless = [field for field in FIELD.findall(line) if field and not NEEDS_QUOTES.search(field)]
        if needless and not any_may_be:
            raise DataError(f"{path}, row {number}: quotes around {needless[0][:50]!r}, which needs none.")


def _all_quoted(fields: list[str]) -> bool:
    return all(len(field) > 1 and field[0] == field[-1] == '"' for field in fields)
