"""Reader of parquet files, one document at a time; the unpacked size is limited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_lab.data.formats import Columns, Document, make_document
from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.files import INFLATED, INFLATION

ROWS_AT_A_TIME = 1000
"""Rows of a parquet file held in memory."""


def read_parquet(path: Path, columns: Columns) -> Iterator[Document]:
    """Yield the documents of a parquet file, reading its text and label columns only."""
    with _reading_parquet(path):
        schema = pq.read_schema(path)
        texts, label = columns.found(schema.names, str(path))
        wanted = list(dict.fromkeys(texts + [label] * (label is not None)))
        # as dictionaries, repeated texts take memory once
        shared = [n for n in wanted if schema.types[schema.names.index(n)] in (pa.string(), pa.large_string())]
        file = pq.ParquetFile(path, read_dictionary=shared)
        _check_inflation(file.metadata, wanted, path)
        number = 0
        for batch in file.iter_batches(ROWS_AT_A_TIME, columns=wanted):
            for row in range(batch.num_rows):
                number += 1
                where = f"{path}, row {number}"
                values = {name: _value(batch.column(name), row, where) for name in wanted}
                fields = [values[name] for name in texts]
                yield make_document(fields, label and values[label], where, keep_empty=columns.keep_empty)


@contextmanager
def _reading_parquet(path: Path) -> Iterator[None]:
    """Convert the errors of pyarrow to DataError; damaged names and values raise types other than its own."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise DataError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error


def _check_inflation(metadata: Any, wanted: Sequence[str | None], path: Path) -> None:
    for number, chunk in _chunks(metadata, wanted):
        if chunk.total_uncompressed_size > max(INFLATED, INFLATION * chunk.total_compressed_size):
            size = chunk.total_uncompressed_size // 2**20
            raise DataError(
                f"{path}, row group {number + 1}: column {chunk.path_in_schema} unpacks to {size} MB, over {INFLATION} "
                "times its size; write the file again."
            )


def _chunks(metadata: Any, wanted: Sequence[str | None]) -> Iterator[tuple[int, Any]]:
    """Yield the row group number and metadata of each chunk of some columns."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = (group.column(place) for place in range(group.num_columns))
        yield from ((number, chunk) for chunk in chunks if chunk.path_in_schema.partition(".")[0] in wanted)


def _value(column: Any, row: int, where: str) -> Any:
    try:
        return column[row].as_py()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: bytes that are not utf-8 ({error.reason}); write the file again.") from None


def parquet_text_bytes(path: Path, columns: Columns) -> int:
    """Return the bytes of a parquet file's text columns before compression."""
    with _reading_parquet(path):
        metadata = pq.read_metadata(path)
        texts, _ = columns.found(metadata.schema.to_arrow_schema().names, str(path))
        return sum(chunk.total_uncompressed_size for _, chunk in _chunks(metadata, texts))
