"""Which files a path names, and what their digest stands for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ulmfit_lab.config.schema import SourceConfig, TargetConfig
from ulmfit_lab.data.files import find_own, matching_files, texts_digest
from ulmfit_lab.data.formats import Columns, Document
from ulmfit_lab.data.sources import read_documents, read_labelled
from ulmfit_lab.pipeline import labelled_data as targets
from ulmfit_lab.utils.errors import ConfigError, DataError


def make(folder: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def documents(path: Path | str) -> list[Document]:
    """The documents a path names."""
    return list(find_own(str(path), Columns()).read())


def digest(path: Path | str, columns: Columns | None = None) -> str:
    """The digest of what a path names."""
    return texts_digest(find_own(str(path), columns or Columns()))


def test_a_single_text_file_is_a_document_a_line_a_folder_one_a_file(tmp_path: Path) -> None:
    make(tmp_path, {"b.txt": "one\ntwo", "a.txt": "three"})
    assert documents(tmp_path / "b.txt") == [Document("one"), Document("two")]
    assert documents(tmp_path) == documents(tmp_path / "*.txt") == [Document("three"), Document("one\ntwo")]


def test_sub_folders_are_labels_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, {"pos/1.txt": "good", "neg/2.txt": "bad", "3.txt": "so-so", ".git/x.txt": "no", "pos/._1.txt": "no"})
    assert documents(tmp_path) == [Document("so-so"), Document("bad", "neg"), Document("good", "pos")]


def test_tables_of_a_folder_follow_each_other_by_name(tmp_path: Path) -> None:
    make(tmp_path, {"2.csv": "text,label\nb,1\n", "1.csv": "text,label\na,0\n", "sub/3.CSV": "text,label\nc,1\n"})
    assert documents(tmp_path) == [Document("a", "0"), Document("b", "1"), Document("c", "1")]
    assert documents(tmp_path / "**/*.CSV") == [Document("c", "1")]


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("reveiws.csv", "no such file or folder. Did you mean 'reviews.csv'"),
        ("*.parquet", "no file matches this pattern"),
        ("empty", "no file in this folder ends in .csv"),
        ("mixed", "files of several formats (.csv, .txt); select one"),
        ("notes.docx", "unknown format '.docx'; supported: .csv"),
        ("none/at/all.csv", "no such file or folder"),
    ],
)
def test_a_path_that_names_nothing_readable_is_refused(tmp_path: Path, path: str, complaint: str) -> None:
    make(tmp_path, {"reviews.csv": "", "empty/x.bin": "", "mixed/a.csv": "", "mixed/a.txt": "", "notes.docx": ""})
    with pytest.raises(DataError) as caught:
        find_own(str(tmp_path / path), Columns())
    assert complaint in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    make(tmp_path, {"a[1].txt": "x", "a1.txt": "y"})
    assert matching_files(tmp_path / "a[1].txt") == (tmp_path / "a[1].txt",)


def test_the_digest_follows_content_and_reading_not_the_place(tmp_path: Path) -> None:
    a = make(tmp_path / "a", {"x.csv": "text,title\na,b\n"}) / "x.csv"
    b = make(tmp_path / "b", {"y.csv": "text,title\na,b\n"}) / "y.csv"
    assert digest(a) == digest(b)
    assert digest(a) != digest(a, Columns("title"))
    b.write_text("text,title\na,c\n")
    assert digest(a) != digest(b)


def test_the_digest_follows_a_file_that_is_rewritten_at_the_same_size(tmp_path: Path) -> None:
    path = make(tmp_path, {"x.txt": "one"}) / "x.txt"
    before = digest(path)
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert digest(path) != before


def test_the_digest_tells_lines_from_files_and_one_label_from_another(tmp_path: Path) -> None:
    one = make(tmp_path / "one", {"pos/x.txt": "a"})
    other = make(tmp_path / "other", {"neg/x.txt": "a"})
    found = {digest(one), digest(other), digest(one / "pos"), digest(one / "pos" / "x.txt")}
    assert len(found) == 4


def test_the_digest_tells_where_one_file_ends(tmp_path: Path) -> None:
    a = make(tmp_path / "a", {"1.txt": "ab", "2.txt": "c"})
    b = make(tmp_path / "b", {"1.txt": "a", "2.txt": "bc"})
    assert digest(a) != digest(b)


def test_the_size_is_that_of_all_files(tmp_path: Path) -> None:
    make(tmp_path, {"a/1.txt": "abc", "a/2.txt": "de", "x.jsonl": '{"text": "a"}\n'})
    assert find_own(str(tmp_path / "a"), Columns()).n_bytes() == 5
    assert find_own(str(tmp_path / "x.jsonl"), Columns()).n_bytes() == 14


def splits(folder: Path) -> Path:
    """aclImdb's layout."""
    reviews = {"train/pos/1_8.txt": "good", "train/neg/0_2.txt": "bad", "train/unsup/5_0.txt": "so-so"}
    lists = {"train/urls_pos.txt": "http://", "train/urls_unsup.txt": "http://", "test/urls_neg.txt": "http://"}
    tests = {"test/pos/3_9.txt": "fine", "test/neg/4_1.txt": "poor"}
    return make(folder, {**reviews, **lists, **tests, "imdbEr.txt": "0.5", "README": "Large"})


def test_acl_imdb_is_read_by_its_splits_and_classes(tmp_path: Path) -> None:
    root = splits(tmp_path / "aclImdb")
    train, test = [Document("bad", "neg"), Document("good", "pos")], [Document("poor", "neg"), Document("fine", "pos")]
    assert list(read_documents(SourceConfig(path=str(root)), None)) == documents(root / "train") == train
    assert documents(root / "test") == list(find_own(str(root), Columns(labelled=True), "test").read()) == test
    assert documents(root / "train" / "unsup") == list(find_own(str(root), Columns(), "unsup").read())
    assert documents(root / "train" / "unsup") == [Document("so-so", None)]
    with pytest.raises(DataError, match="has no split 'tset'. Did you mean 'test'"):
        find_own(str(root), Columns(), "tset")


def test_a_labelled_set_in_a_folder_of_splits_has_the_test_texts_there(tmp_path: Path) -> None:
    root = make(tmp_path, {"train.csv": "text,label\na,x\n", "test.csv": "text,label\nb,y\n"})
    target = TargetConfig(path=str(root))
    assert list(read_documents(target, None)) == [Document("a", "x")]
    own = targets.test_source(target)
    assert own and list(read_documents(own, None)) == [Document("b", "y")]
    assert targets.test_source(TargetConfig(path=str(root / "train.csv"))) is None
    assert targets.test_source(TargetConfig(path=str(root / "train.csv"), test_path=str(root))) == replace(
        own, test_path=str(root)
    )
    with pytest.raises(ConfigError, match="target.test_path = 'mine.csv' .* target.path is not set"):
        targets.test_source(TargetConfig(name="trec", test_path="mine.csv"))
    make(tmp_path, {"train.tsv": "text\n"})
    with pytest.raises(DataError, match=r"train.csv and train.tsv are the same split"):
        read_documents(target, None)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (["pos/1.txt", "neg/2.txt", "unsup/3.txt"], "the sub-folder 'unsup' is a split, not a class"),
        (["train/1.txt", "valid/2.txt"], "the sub-folder 'train' is a split, not a class"),
        (["a/pos/1.txt", "a/neg/2.txt"], "is 2 folders below"),
        (["pos/1.txt", "neg/2.txt", "3.txt"], "3.txt: the text has no label; move it to a sub-folder of"),
    ],
)
def test_sub_folders_that_are_no_classes_are_refused(tmp_path: Path, files: list[str], complaint: str) -> None:
    make(tmp_path, {file: "text" for file in files})
    if "unsup/3.txt" in files:  # not quite aclImdb's: nothing but the name tells
        (tmp_path / "pos").rename(tmp_path / "good")
    with pytest.raises(DataError) as caught:
        list(read_labelled(TargetConfig(path=str(tmp_path)), None))
    assert complaint in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "a.csv",
            "text,Label\na,b\n",
            "no column 'label'; found text, Label; set the label column, for example --target.label-column Label",
        ),
        (
            "a.csv",
            "text, label\na,b\n",
            "found text, ' label'; set the label column, for example --target.label-column ' label'",
        ),
        ("a.tsv", "sentiment\ttext\na\tb\n", "--target.label-column sentiment"),
        ("a.jsonl", '{"text": "a"}\n', "line 1: no column 'label'; found text; set the label column"),
        ("a.csv", "text,label\na,b\nc,\n", "row 2: the text has no label; fill in its column 'label', or remove"),
        ("a.jsonl", '{"text": "a", "label": null}\n', "line 1: the text has no label; fill in its column 'label'"),
        ("a.txt", "a\nb\n", "line 1: the text has no label; use a table with a label column"),
        ("a.csv", "a,b\n", "no column 'text'; found a, b"),
    ],
)
def test_a_missing_label_is_told_with_its_place_and_cure(
    tmp_path: Path, name: str, content: str, complaint: str
) -> None:
    path = make(tmp_path, {name: content}) / name
    with pytest.raises(DataError) as caught:
        list(read_labelled(TargetConfig(path=str(path)), None))
    assert complaint in str(caught.value) and str(path) in str(caught.value)


def test_the_digest_of_a_table_without_a_header_is_another(tmp_path: Path) -> None:
    for name in ("a.csv", "a.tsv"):
        path = make(tmp_path, {name: "0,1\n"}) / name
        assert "no header" in find_own(str(path), Columns("1", "0")).reader_id
        assert "no header" not in find_own(str(path), Columns("1a", "0")).reader_id


RECIPES = {
    ".csv": "7be04170fa43567b",
    ".jsonl": "4497968c442cea73",
    ".txt": "50af8fb62e894143",
    ".tokens": "642dffa326a297e7",
    ".label": "fc65c75bc26f49a7",
}


@pytest.mark.parametrize(("suffix", "expected"), RECIPES.items())
def test_the_digest_of_a_format_is_that_of_the_first_release(tmp_path: Path, suffix: str, expected: str) -> None:
    path = make(tmp_path, {f"own{suffix}": "text\na\n"}) / f"own{suffix}"
    assert digest(path)[:16] == expected, "a reader that reads otherwise needs another version"
