"""A small experiment on real sentences, and a lab to run it in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ulmfit_lab.lab.display import Display
from ulmfit_lab.lab.experiment import Experiment
from ulmfit_lab.lab.home import Home, open_home
from ulmfit_lab.lab.sweep import Outcome, sweep
from ulmfit_lab.lab.tracking import Tracker, open_tracker
from ulmfit_lab.training.loop import Progress


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
        variants={"random": {"classifier.start": "random"}, "fine-tuned": {"classifier.start": "fine-tuned"}},
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


class Interrupting(Display):
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
    display: Display = field(default_factory=lambda: Display(Console(file=StringIO())))

    def sweep(self, experiment: Experiment, display: Display | None = None, **options: Any) -> Outcome:
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


@pytest.fixture
def lab(new_lab: Callable[[str], Lab]) -> Lab:
    """A fresh lab."""
    return new_lab("home")


@pytest.fixture
def interrupting() -> type[Interrupting]:
    """The display that interrupts."""
    return Interrupting
