"""Which files a path names, and what their digest stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ulmfit_lab.errors import DataError
from ulmfit_lab.text.files import find_own, matching_files, texts_digest
from ulmfit_lab.text.formats import Columns, Document


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
        ("reveiws.csv", "there is no such file or folder. Did you mean 'reviews.csv'"),
        ("*.parquet", "no file matches this pattern"),
        ("empty", "no file below this folder ends in .csv"),
        ("mixed", "files of several kinds (.csv, .txt); pick one"),
        ("notes.docx", "files that end in '.docx' cannot be read, only .csv"),
        ("none/at/all.csv", "there is no such file or folder"),
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
