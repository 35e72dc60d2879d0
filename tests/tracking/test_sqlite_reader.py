"""Runs read from MLflow's SQLite file are the runs that MLflow gives."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.tracking.records import IMPORTED, TrackedRun
from ulmfit_lab.tracking.sqlite_reader import SqliteReader, open_reader
from ulmfit_lab.tracking.tracker import Tracker
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import Home


@pytest.fixture(scope="module")
def filled(new_lab: Callable[[str], Any]) -> Any:
    """A lab with runs of two experiments: finished, failed and running ones, one deleted, one imported."""
    lab = new_lab("a home with a space")
    for experiment in ("words", "other"):
        parent = lab.tracker.open_sweep(experiment, "tiny", "d1", "", {})
        for seed in range(4):
            tags = {"experiment": experiment, "scale": "tiny", "variant": "random", "level": "500", "seed": str(seed)}
            tags |= {"lab.cell": f"f{seed}"} | ({IMPORTED: f"aaa{seed}" * 8} if seed == 1 else {})
            log = lab.tracker.start_cell(parent, f"random, seed {seed}", {"seed": seed, "lm.drop_mult": 0.5}, tags)
            log.log_inputs([("texts", "d" * 64, "", "training", {}), ("test", "e" * 64, "t.csv", "testing", {})])
            log.log_final({"final/error": 0.25 + seed, "final/loss": (math.inf, -math.inf, 1e-300, 2.0)[seed]})
            log.log_points("classifier", [])
            if seed < 3:
                log.finish(("FINISHED", "FINISHED", "FAILED")[seed], "no reason")
        lab.tracker.client.delete_run(log.run_id)
    return lab


def test_a_reader_gives_the_runs_that_mlflow_gives(filled: Any) -> None:
    reader = open_reader(filled.home)
    assert isinstance(reader, SqliteReader)
    for question in ({}, {"status": "FINISHED"}, {"cell": "f1"}, {"status": "FINISHED", "cell": "f1"}):
        ours, theirs = reader.runs("words", "tiny", **question), filled.tracker.runs("words", "tiny", **question)
        for field in fields(TrackedRun):
            assert [getattr(run, field.name) for run in ours] == [getattr(run, field.name) for run in theirs]
    assert [run.metrics["final/loss"] for run in reader.runs("words", "tiny")] == [math.inf, -math.inf, 1e-300]
    assert reader.has_runs("words", "tiny") and not reader.has_runs("words", "small")


def test_a_reader_finds_runs_by_the_first_digits_of_either_id(filled: Any) -> None:
    reader = open_reader(filled.home)
    made = filled.tracker.runs("words", "tiny")[0].run_id
    for prefix in ("", made[:6], "aaa1", "zzz"):
        ours, theirs = ({run.run_id for run in each.find_runs(prefix)} for each in (reader, filled.tracker))
        assert ours == theirs
    assert len(reader.find_runs("aaa1")) == 2 and len(reader.find_runs("")) == 6


def test_not_a_number_is_read_as_such(lab: Any) -> None:
    parent = lab.tracker.open_sweep("words", "tiny", "d1", "", {})
    log = lab.tracker.start_cell(parent, "a run", {}, {"experiment": "words", "scale": "tiny", "seed": "0"})
    log.log_final({"final/error": math.nan})
    (run,) = open_reader(lab.home).runs("words", "tiny")
    assert math.isnan(run.metrics["final/error"])


def test_a_deleted_experiment_is_refused_as_mlflow_refuses_it(lab: Any) -> None:
    lab.tracker.open_sweep("words", "tiny", "d1", "", {})
    lab.tracker.client.delete_experiment(lab.tracker.find_experiment("words", "tiny"))
    said = []
    for each in (open_reader(lab.home), lab.tracker):
        with pytest.raises(LabError, match="words \\(tiny\\) was deleted in MLflow; restore it") as caught:
            each.runs("words", "tiny")
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_mlflow_reads_what_is_of_another_schema_or_was_moved(lab: Any, tmp_path: Path) -> None:
    lab.tracker.open_sweep("words", "tiny", "d1", "", {})
    shutil.copytree(lab.home.root, tmp_path / "moved")
    assert isinstance(open_reader(Home(tmp_path / "moved")), Tracker)
    assert isinstance(open_reader(Home(tmp_path / "moved")), SqliteReader), "it is repointed by now"
    with sqlite3.connect(lab.home.runs_database) as store:
        store.execute("UPDATE alembic_version SET version_num = 'cc1f77228345'")
    assert isinstance(open_reader(lab.home), Tracker)


def test_another_store_than_the_homes_own_is_read_with_mlflow(lab: Any, tmp_path: Path) -> None:
    assert isinstance(open_reader(lab.home, f"sqlite:///{tmp_path / 'other.db'}"), Tracker)
    assert isinstance(open_reader(Home(tmp_path / "new")), Tracker), "a store that is not there is made"
