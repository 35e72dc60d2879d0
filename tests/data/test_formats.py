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

from ulmfit_lab.data.csv_files import read_csv, read_tsv
from ulmfit_lab.data.formats import (
    Columns,
    Document,
    label_name,
    read_articles,
    read_jsonl,
    read_lines,
    read_trec,
    read_whole,
    restore_words,
    split_articles,
)
from ulmfit_lab.data.parquet import parquet_text_bytes, read_parquet
from ulmfit_lab.data.rules import FIELD_BREAK
from ulmfit_lab.utils.errors import DataError

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
    path.write_text("".join(json.dumps(record) + "\n" for record in frame.to_dict("records")), encoding="utf-8")


def as_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write as parquet."""
    frame.to_parquet(path)


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
    assert "no column 'review'; found reveiw, stars. Did you mean 'reveiw'?" in message


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
    assert f"{path}, line 1: the text has an unpaired surrogate" in refusal(lambda: read_jsonl(path, Columns()))
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
        ("text,label\na,1\nb,2,3\n", "row 2: 3 fields but 2 columns"),
        ("text,label\na\n", "row 1: 1 field but 2 columns"),
        ('text,label\n"a,1\n', "line 2: unexpected end of data; close the quotes"),
        ('text,label\n"a"b,1\n', "line 2: ',' expected after '\"'; double the quotes"),
        ("text,label\na\rb,1\n", "line 2: new-line character seen in unquoted field; put quotes around"),
        ("text,label\ra,1\rb,2\r", "its lines end in carriage returns (CR) only; save it with LF or CRLF"),
        (
            "text;label\na;1\n",
            "is separated by semicolons, not commas; convert it: pandas.read_csv('f.csv', sep=';')",
        ),
        ("text\tlabel\na\t1\n", "is separated by tabs, not commas"),
        ("text,label,text\na,1,b\n", "2 columns are named 'text'; rename them"),
        ("label,text,label\na,1,b\n", "2 columns are named 'label'"),
        ("text\na\n\nb\n", "row 2: the text is empty"),
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
        ('{"text": 3}', "line 1: the text has type int"),
        ('\n{"text": "a"}\n\n{"txt": "b"}', "line 4: no column 'text'; found txt"),
        ("[" * 100_000, "line 1: not JSON"),
        ('{"text": "a", "label": 1, "text": "b"}', "line 1: not JSON (duplicate key 'text')"),
    ],
)
def test_a_broken_jsonl_is_refused_by_its_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = write(tmp_path / "f.jsonl", content)
    message = refusal(lambda: read_jsonl(path, Columns()))
    assert str(path) in message and complaint in message


@pytest.mark.parametrize(("writer", "reader"), TABLES)
def test_minus_1_is_a_label_like_any_other(
    tmp_path: Path, writer: Callable[[Path, pd.DataFrame], None], reader: Reader
) -> None:
    writer(tmp_path / "f", pd.DataFrame({"text": ["a", "b", "c"], "label": [-1, 0, 1]}))
    assert [document.label for document in reader(tmp_path / "f", Columns())] == ["-1", "0", "1"]


@pytest.mark.parametrize(("writer", "reader"), TABLES)
def test_a_document_knows_its_file_and_row(
    tmp_path: Path, writer: Callable[[Path, pd.DataFrame], None], reader: Reader
) -> None:
    writer(tmp_path / "f", pd.DataFrame({"text": ["a", "b"]}))
    assert [document.where.split(" ")[-1] for document in reader(tmp_path / "f", Columns())] == ["1", "2"]
    assert all(document.where.startswith(f"{tmp_path / 'f'}, ") for document in reader(tmp_path / "f", Columns()))


@pytest.mark.parametrize(("writer", "reader"), [*TABLES[2:]])
@pytest.mark.parametrize("label", [["HUM", "X"], [], {"a": 1}])
def test_a_text_has_one_label(
    tmp_path: Path, writer: Callable[[Path, pd.DataFrame], None], reader: Reader, label: object
) -> None:
    rows = pd.DataFrame({"text": ["a", "b"], "label": [label, label]})
    writer(tmp_path / "f", rows)
    kind = type(label).__name__
    assert f"1: the label has type {kind}; use a string" in refusal(lambda: reader(tmp_path / "f", Columns()))


def test_columns_of_one_name_are_refused_in_parquet(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "f")
    assert f"{tmp_path / 'f'}: 2 columns are named 'text'" in refusal(lambda: read_parquet(tmp_path / "f", Columns()))


def test_a_long_field_is_read_from_every_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["word " * 50_000], "label": ["x"]})
    for writer, reader in TABLES:
        writer(tmp_path / "f", frame)
        assert list(reader(tmp_path / "f", Columns())) == [Document("word " * 50_000, "x")]


@pytest.mark.parametrize(("reader", "delimiter"), [(read_csv, ","), (read_tsv, "\t")])
def test_numbers_are_places_in_a_table_without_a_header(tmp_path: Path, reader: Reader, delimiter: str) -> None:
    path = write(
        tmp_path / "f", delimiter.join(["1", "good film", "x"]) + "\n" + delimiter.join(["0", "a bad one", "y"])
    )
    assert list(reader(path, Columns("1", "0"))) == [Document("good film", "1"), Document("a bad one", "0")]
    assert list(reader(path, Columns("1, 2"))) == [
        Document(f"good film{FIELD_BREAK}x"),
        Document(f"a bad one{FIELD_BREAK}y"),
    ]
    assert "no column '3'; found 0, 1, 2" in refusal(lambda: reader(path, Columns("3", "0")))
    assert "no column 'stars'; found 0, 1, 2" in refusal(lambda: reader(path, Columns("1", "stars")))


def test_a_header_is_not_read_as_a_row(tmp_path: Path) -> None:
    pd.DataFrame([["a text", "x"], ["another", "y"]]).to_csv(tmp_path / "f", index=False)  # a header 0,1
    assert list(read_csv(tmp_path / "f", Columns("0", "1"))) == [Document("a text", "x"), Document("another", "y")]
    for header in ("text,label", "Label,review", "2019,2020"):
        path = write(tmp_path / "f", f"{header}\na,b\n")
        assert "looks like a column name" in refusal(lambda p=path: read_csv(p, Columns("0", "1")))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('label\ttext\na\t"one .\nb\t"two" he said\n', ['"one .', '"two" he said']),  # csv cannot read the last line
        ('label\ttext\na\t"one .\nb\ttwo "\nc\t"three\n', ['"one .', 'two "', '"three']),  # nor an open quote
        ('label\ttext\na\t"one"\nb\ttwo\n', ['"one"', "two"]),  # no writer quotes what needs no quotes ...
        ('"label"\t"text"\na\t"one"\nb\ttwo\n', ["one", "two"]),  # ... but one that quotes all
        ('label\ttext\na\t"one ""x"" y"\n\nb\t5" long\r\n', ['one "x" y', '5" long']),
        ('label\ttext\na\t"one\nline"\n', ["one\nline"]),  # the last line has one field
        ('label\ttext\na\t"one\ttab"\n', ["one\ttab"]),
    ],
)
def test_quotes_of_a_tsv_are_what_the_whole_file_says(tmp_path: Path, content: str, texts: list[str]) -> None:
    path = write(tmp_path / "f.tsv", content)
    assert [document.text for document in read_tsv(path, Columns())] == texts


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('label\ttext\na\t"one .\nb\ttwo "\n', "line 2: the quotes may enclose a field or be part of its text"),
        ('label\ttext\nc\tx\na\t"Great, but long."\n', "line 3: the quotes may enclose a field"),
        ('label\ttext\na\t"one ""x"" y"\nb\t"open\n', "row 1: quotes enclose a field. If quotes enclose fields:"),
        ("text\tlabel\na\tb\tc\n", "row 1: 3 fields but 2 columns"),
        ("text,label\na,b\n", "is separated by commas, not tabs"),
        ("text\tlabel\ra\tb\r", "carriage returns (CR) only"),
    ],
)
def test_a_tsv_that_can_be_read_in_two_ways_or_none_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = write(tmp_path / "f.tsv", content)
    message = refusal(lambda: read_tsv(path, Columns()))
    assert str(path) in message and complaint in message


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
    assert "carriage returns (CR) only" in refusal(lambda: read_lines(write(path, "one\rtwo\r")))
    assert "line 1: a carriage return inside" in refusal(lambda: read_lines(write(path, "one\rtwo\nthree\n")))
    path = write(tmp_path / "f.txt", "one\n\n  two \r\nthree")
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
