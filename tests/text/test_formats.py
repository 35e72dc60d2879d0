"""Every format gives the documents that were written, and names file and row of what it cannot read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit_lab.errors import DataError
from ulmfit_lab.text.formats import (
    Columns,
    Document,
    label_name,
    read_articles,
    read_csv,
    read_jsonl,
    read_lines,
    read_trec,
    read_whole,
    restore_words,
    split_articles,
)
from ulmfit_lab.text.parquet import parquet_text_bytes, read_parquet
from ulmfit_lab.text.rules import FIELD_BREAK

Reader = Callable[[Path, Columns], Iterator[Document]]
REVIEWS = Columns("review", "stars")


def write(path: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(read: Callable[[], Iterator[Document]]) -> str:
    """The one line that reading ends with."""
    with pytest.raises(DataError) as caught:
        list(read())
    message = str(caught.value)
    assert "\n" not in message
    return message


def as_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write as CSV."""
    frame.to_csv(path, index=False)


def as_tsv(path: Path, frame: pd.DataFrame) -> None:
    """Write as TSV."""
    frame.to_csv(path, index=False, sep="\t")


def as_jsonl(path: Path, frame: pd.DataFrame) -> None:
    """Write as JSONL."""
    path.write_text("".join(json.dumps(record) + "\n" for record in frame.to_dict("records")))


def as_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write as parquet."""
    frame.to_parquet(path)


def read_tsv(path: Path, columns: Columns) -> Iterator[Document]:
    """Read as TSV."""
    return read_csv(path, columns, delimiter="\t")


TABLES = [(as_csv, read_csv), (as_tsv, read_tsv), (as_jsonl, read_jsonl), (as_parquet, read_parquet)]
printable = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
texts = st.lists(printable, min_size=1, max_size=4).map("\n, \"'\t".join)


@pytest.mark.parametrize(("writer", "reader"), TABLES)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(texts, st.sampled_from(["pos", "neg", "ça va"])), min_size=1, max_size=5))
def test_tables_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    writer: Callable[[Path, pd.DataFrame], None],
    reader: Reader,
    rows: list[tuple[str, str]],
) -> None:
    path = tmp_path_factory.mktemp("table") / "reviews"
    writer(path, pd.DataFrame(rows, columns=["review", "stars"]))
    assert list(reader(path, REVIEWS)) == [Document(*row) for row in rows]


@pytest.mark.parametrize(("writer", "reader"), TABLES)
def test_labels_are_text_and_several_fields_are_joined(
    tmp_path: Path, writer: Callable[[Path, pd.DataFrame], None], reader: Reader
) -> None:
    frame = pd.DataFrame({"title": ["A", "B"], "body": ["one", "two"], "stars": [3, 1]})
    writer(tmp_path / "f", frame)
    documents = list(reader(tmp_path / "f", Columns("title, body", "stars")))
    assert documents == [Document(f"A{FIELD_BREAK}one", "3"), Document(f"B{FIELD_BREAK}two", "1")]


@pytest.mark.parametrize(("writer", "reader"), TABLES)
def test_a_missing_column_is_named_with_the_nearest_and_all_there_are(
    tmp_path: Path, writer: Callable[[Path, pd.DataFrame], None], reader: Reader
) -> None:
    writer(tmp_path / "f", pd.DataFrame({"reveiw": ["a"], "stars": [3]}))
    message = refusal(lambda: reader(tmp_path / "f", REVIEWS))
    assert f"{tmp_path / 'f'}" in message
    assert "no column 'review' among reveiw, stars. Did you mean 'reveiw'?" in message


@pytest.mark.parametrize(("writer", "reader"), TABLES)
def test_a_label_column_must_be_there_if_it_was_named(
    tmp_path: Path, writer: Callable[[Path, pd.DataFrame], None], reader: Reader
) -> None:
    writer(tmp_path / "f", pd.DataFrame({"text": ["a"]}))
    assert list(reader(tmp_path / "f", Columns())) == [Document("a", None)]
    assert "no column 'stars'" in refusal(lambda: reader(tmp_path / "f", Columns("text", "stars")))


@pytest.mark.parametrize(("writer", "reader"), TABLES)
@pytest.mark.parametrize("blank", ["", "  \n", None])
def test_an_empty_text_is_refused_by_its_row(
    tmp_path: Path, writer: Callable[[Path, pd.DataFrame], None], reader: Reader, blank: str | None
) -> None:
    writer(tmp_path / "f", pd.DataFrame({"text": ["a", blank, "c"], "label": ["x", "y", "z"]}, dtype=object))
    message = refusal(lambda: reader(tmp_path / "f", Columns()))
    assert ("row 2" in message or "line 2" in message) and "empty" in message


@pytest.mark.parametrize("reader", [read_csv, read_jsonl, lambda path, _: read_lines(path)])
def test_undecodable_bytes_are_refused_by_their_line(tmp_path: Path, reader: Reader) -> None:
    path = write(tmp_path / "f", b'{"text": "a"}\n{"text": "caf\xe9"}\n')
    message = refusal(lambda: reader(path, Columns('{"text": "a"}', "label") if reader is read_csv else Columns()))
    assert f"{path}, line 2: byte 0xe9 is not utf-8" in message


@pytest.mark.parametrize("reader", [read_csv, read_jsonl, lambda path, _: read_lines(path)])
def test_nul_bytes_are_refused_by_their_line(tmp_path: Path, reader: Reader) -> None:
    path = write(tmp_path / "f", b"text\n\0\n")
    columns = Columns()
    message = refusal(lambda: reader(path, columns)) if reader is not read_jsonl else None
    assert message is None or f"{path}, line 2: a NUL byte" in message


def test_nul_and_half_characters_inside_values_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f", '{"text": "a"}\n{"text": "b\\u0000"}')
    assert f"{path}, line 2: the text has a NUL character" in refusal(lambda: read_jsonl(path, Columns()))
    write(path, '{"text": "\\ud800"}')
    assert f"{path}, line 1: the text has half of a surrogate pair" in refusal(lambda: read_jsonl(path, Columns()))
    pd.DataFrame({"text": ["a\0"]}).to_parquet(path)
    assert f"{path}, row 1: the text has a NUL character" in refusal(lambda: read_parquet(path, Columns()))


def test_what_separates_fields_is_a_space_in_a_users_text(tmp_path: Path) -> None:
    path = write(tmp_path / "f", f"text\na{FIELD_BREAK}b\n")
    assert list(read_csv(path, Columns())) == [Document("a b")]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = write(tmp_path / "f", b"\xef\xbb\xbftext,label\r\na,1\r\n\r\n")
    assert list(read_csv(path, Columns())) == [Document("a", "1")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty; its first line must name the columns"),
        ("text,label\na,1\nb,2,3\n", "row 2: 3 fields under 2 columns"),
        ("text,label\na\n", "row 1: 1 fields under 2 columns"),
        ('text,label\n"a,1\n', "line 2: unexpected end of data"),
        ('text,label\n"a"b,1\n', "line 2: "),
        (f"text,label\n{'a' * 200_000},1\n", "line 2: field larger than field limit"),
    ],
)
def test_a_broken_csv_is_refused_by_its_row(tmp_path: Path, content: str, complaint: str) -> None:
    path = write(tmp_path / "f.csv", content)
    message = refusal(lambda: read_csv(path, Columns()))
    assert str(path) in message and complaint in message


def test_rows_are_kept_by_any_of_their_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "text,source\na,x\nb,y\n")
    assert list(read_csv(path, Columns(), keep=lambda row: row["source"] == "y")) == [Document("b")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"text": "a"}\n{"text": ', "line 2: not JSON"),
        ('["a"]', "line 1: a JSON list, not an object"),
        ('{"text": 3}', "line 1: the text is of type int"),
        ('\n{"text": "a"}\n\n{"txt": "b"}', "line 4: there is no column 'text' among txt"),
        ("[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_broken_jsonl_is_refused_by_its_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = write(tmp_path / "f.jsonl", content)
    message = refusal(lambda: read_jsonl(path, Columns()))
    assert str(path) in message and complaint in message


def test_minus_1_is_no_label_in_parquet(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a", "b"], "label": [-1, 0]}).to_parquet(tmp_path / "f")
    assert list(read_parquet(tmp_path / "f", Columns())) == [Document("a", None), Document("b", "0")]


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", "text\na\n")
    assert f"{path} cannot be read as parquet" in refusal(lambda: read_parquet(path, Columns()))


def test_bytes_that_are_no_text_in_parquet_are_refused_by_their_row(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xe9")
    column = pa.StringArray.from_buffers(2, offsets, data)
    pq.write_table(pa.table({"text": column}), tmp_path / "f")
    assert "row 2: bytes that are not utf-8" in refusal(lambda: read_parquet(tmp_path / "f", Columns()))


def test_the_size_of_a_parquet_files_text_is_close_to_its_bytes(tmp_path: Path) -> None:
    rows = [f"{number} some text that compresses well" for number in range(5000)]
    pd.DataFrame({"text": rows, "other": rows}).to_parquet(tmp_path / "f")
    assert parquet_text_bytes(tmp_path / "f", Columns()) == pytest.approx(sum(map(len, rows)), rel=0.2)


@pytest.mark.parametrize(
    ("label", "name"), [(None, None), (float("nan"), None), (" ", None), (2.0, "2"), (0.5, "0.5"), (True, "True")]
)
def test_labels_as_text(label: object, name: str | None) -> None:
    assert label_name(label) == name


def test_a_text_file_is_a_document_a_line_or_one_in_all(tmp_path: Path) -> None:
    path = write(tmp_path / "f.txt", "one\n\n  two \r\nthree")
    assert [document.text for document in read_lines(path)] == ["one", "two", "three"]
    assert read_whole(path, "x") == Document("one\n\n  two \r\nthree", "x")
    assert f"{path}: the text is empty" in refusal(lambda: iter([read_whole(write(path, " \n"))]))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for read in (lambda: read_lines(tmp_path / "none"), lambda: read_parquet(tmp_path / "none", Columns())):
        assert f"{tmp_path / 'none'} cannot be read" in refusal(read)


WIKI = """
 = Lobster =

 It is a <unk> @-@ like animal , 1 @,@ 000 to 2 @.@ 5 .
 = x = y =
 More .

 = = Size = =

 Big .

 = A =

 Short .
"""


def test_an_article_begins_at_each_title_of_the_first_level(tmp_path: Path) -> None:
    articles = [document.text for document in read_articles(write(tmp_path / "f.tokens", WIKI))]
    assert articles == [
        "= Lobster =\nIt is a xxunk-like animal , 1,000 to 2.5 .\n= x = y =\nMore .\n= = Size = =\nBig .",
        "= A =\nShort .",
    ]


def test_text_above_the_first_title_is_a_document_of_its_own() -> None:
    assert list(split_articles(["lone", "", "= T =", "", "text"])) == ["lone", "= T =\ntext"]
    assert list(split_articles([" ", "\n"])) == []


@given(st.lists(st.sampled_from(["", "text .", "= T =", "= = S = ="]), max_size=12))
def test_no_line_with_text_is_lost(lines: list[str]) -> None:
    assert "\n".join(split_articles(lines)).split("\n") == ([line for line in lines if line] or [""])


def test_escaped_marks_join_what_they_stand_between() -> None:
    assert restore_words("a @-@ b @-@ c costs 1 @,@ 000 @,@ 000 @.@ 25") == "a-b-c costs 1,000,000.25"
    assert restore_words("in 1932 @,@") == "in 1932,"
    assert restore_words("me@home @ 5") == "me@home @ 5"


def test_a_trec_label_is_the_coarse_class_and_its_bytes_are_latin_1(tmp_path: Path) -> None:
    path = write(tmp_path / "f.label", b"DESC:manner How is it ?\n\nLOC:city Where is K\xf6ln ?\n")
    assert list(read_trec(path)) == [Document("How is it ?", "DESC"), Document("Where is Köln ?", "LOC")]
    message = refusal(lambda: read_trec(write(path, "NUM:dist How far ?\nHow far is it ?\n")))
    assert f"{path}, line 2: the line must begin with COARSE:fine" in message
