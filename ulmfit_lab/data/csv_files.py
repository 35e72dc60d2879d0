"""Readers of CSV and TSV files, one document for each row.

A CSV file's fields are quoted by `"`. A TSV file's quotes are characters like any other, as most tools for texts write
them, or they enclose fields, as csv, pandas, R and Excel do; which of the two is decided for the whole file (see
`quotes_enclose`), and a file that could be either is refused. Numbers as columns mean a table without a header.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from ulmfit_lab.data import formats
from ulmfit_lab.data.formats import Columns, Document, Held, decoded_lines, make_document
from ulmfit_lab.utils.errors import DataError

Keep = Callable[[Mapping[str, str]], bool]

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
CURES = {
    "unexpected end of data": "close the quotes",
    "expected after": "double the quotes that belong to a quoted field",
    "new-line character": "put quotes around a field with a carriage return in it",
}
"""Words of an error of csv -> what to do about it."""
OPENING = re.compile(r'(?:^|\t)"')
"""A field that begins with a quote."""
ENCLOSED = re.compile(r'"(?:[^"]|"")*"')
"""A field in quotes; with doubled ones inside nothing but a writer of quoted fields writes it."""
FIELD = re.compile(r'(?:^|\t)(?:"((?:[^"]|"")*)"(?=\t|$)|[^\t]*)')
"""A field, and what is inside its quotes where it has any."""
NEEDS_QUOTES = re.compile(r'["\t\r\n,]')
"""What a writer quotes a field for; Excel does for a comma too."""


def read_csv(path: Path, columns: Columns, keep: Keep | None = None) -> Iterator[Document]:
    """Documents of a CSV file (UTF-8, fields quoted by `"`); `keep` selects rows by all their columns."""
    return _documents(path, columns, ",", True, keep)


def read_tsv(path: Path, columns: Columns) -> Iterator[Document]:
    """Documents of a TSV file (UTF-8)."""
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
    _refuse_other_delimiter(first, header, delimiter, columns, path)
    texts, label = columns.found(header, str(path))
    if header != first:
        _refuse_header(first, texts, path)
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        if not row:
            yield make_document([""] * len(texts), None, where, keep_empty=True)
            continue
        if len(row) != len(header):
            raise DataError(f"{where}: {_count(row)} under {len(header)} columns; a quote or delimiter is amiss.")
        record = dict(zip(header, row, strict=True))
        if keep is None or keep(record):
            values = [record[name] for name in texts]
            yield make_document(values, label and record[label], where, keep_empty=columns.keep_empty)


def _count(row: list[str]) -> str:
    return f"{len(row)} field{'s' * (len(row) != 1)}"


def _rows(
    path: Path, delimiter: str, quoted: bool, *, keep_empty: bool = False, seen: list[str] | None = None
) -> Iterator[list[str]]:
    """The rows; those of blank lines, where there are several columns, have no field and are left out.

    keep_empty: blank lines below the first row are not left out
    seen: is given the lines of each row

    Raises DataError, with the line, for what csv refuses.
    """
    lines = Held(decoded_lines(path), f"{path}, a row that quotes keep open")
    csv.field_size_limit(max(csv.field_size_limit(), formats.LONGEST))
    source = _noted(lines, seen)
    rows = csv.reader(source, delimiter=delimiter, strict=True)
    if not quoted:
        rows = csv.reader(source, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    columns = 0
    try:
        for row in rows:
            lines.size = 0
            columns = columns or len(row)
            if row or columns == 1:
                yield row or [""]
            elif columns and keep_empty:
                yield row
            if seen is not None:
                seen.clear()
    except csv.Error as error:
        hint = next((hint for words, hint in CURES.items() if words in str(error)), "mend the line")
        raise DataError(f"{path}, line {rows.line_num}: {str(error).partition(' - ')[0]}; {hint}.") from None


def _noted(lines: Held, seen: list[str] | None) -> Iterator[str]:
    for line in lines:
        if seen is not None:
            seen.append(line)
        yield line


def _refuse_header(first: list[str], texts: list[str], path: Path) -> None:
    """Refuse a first line that looks like names of columns, where columns are asked for by number."""
    names = {"text", "label"} & {name.strip().lower() for name in first} or {
        first[int(place)] for place in texts if first[int(place)].strip().isdecimal()
    }
    if names:
        hint = "name the columns as it does, or drop it"
        raise DataError(f"{path}, line 1: it holds {min(names)!r} and looks like a header; {hint}.")


def _refuse_other_delimiter(first: list[str], header: list[str], delimiter: str, columns: Columns, path: Path) -> None:
    """Refuse a table whose first line is one field that another delimiter parts."""
    if len(first) > 1 or columns.text in header:
        return
    for other, name in DELIMITERS.items():
        if other != delimiter and other in first[0]:
            again = f"pandas.read_csv({path.name!r}, sep={other!r}).to_csv('texts.csv', index=False)"
            raise DataError(f"{path} looks separated by {name}, not {DELIMITERS[delimiter]}; write it again: {again}.")


# Whether a TSV file's quotes enclose fields


def quotes_enclose(path: Path) -> bool:
    """Whether the quotes of a TSV file enclose fields; they matter where a field begins with one.

    They do not if every line has as many fields as the first one, and none is in quotes with doubled ones inside.
    They do if csv reads the rows so, each with as many fields, and no field is in quotes that need not be; where the
    first line's fields are all in quotes, any may be. Raises DataError if both holds, or neither.
    """
    opening = next((n for n, line in enumerate(decoded_lines(path), 1) if OPENING.search(line)), None)
    if opening is None:
        return False
    against_plain, against_quoted = _first_error(_check_plain, path), _first_error(_check_quoted, path)
    if not against_plain and not against_quoted:
        raise DataError(
            f"{path}, line {opening}: the quotes may enclose a field or belong to its text, and nothing in the file "
            "tells which; write it as CSV, JSONL or parquet."
        )
    if against_plain and against_quoted:
        raise DataError(f"{against_plain} And if quotes enclose fields: {against_quoted}")
    return not against_quoted


def _first_error(check: Callable[[Path], None], path: Path) -> str:
    try:
        check(path)
    except DataError as error:
        return str(error)
    return ""


def _check_plain(path: Path) -> None:
    """Raise DataError where quotes cannot be characters like any other."""
    width = 0
    for number, row in enumerate(_rows(path, "\t", quoted=False)):
        width = width or len(row)
        if len(row) != width:
            raise DataError(f"{path}, row {number}: {_count(row)} under {width} columns.")
        if any('""' in field[1:-1] and ENCLOSED.fullmatch(field) for field in row) or (not number and _all_quoted(row)):
            raise DataError(f"{path}, row {number}: quotes enclose a field.")


def _check_quoted(path: Path) -> None:
    """Raise DataError where quotes cannot enclose fields."""
    width, any_may_be, seen = 0, False, list[str]()
    for number, row in enumerate(_rows(path, "\t", True, seen=seen)):
        line = "".join(seen).rstrip("\r\n")
        width, any_may_be = width or len(row), any_may_be or (not number and _all_quoted(line.split("\t")))
        if len(row) != width:
            raise DataError(f"{path}, row {number}: {_count(row)} under {width} columns.")
        needless = [field for field in FIELD.findall(line) if field and not NEEDS_QUOTES.search(field)]
        if needless and not any_may_be:
            raise DataError(f"{path}, row {number}: quotes around {needless[0][:50]!r}, which needs none.")


def _all_quoted(fields: list[str]) -> bool:
    return all(len(field) > 1 and field[0] == field[-1] == '"' for field in fields)
