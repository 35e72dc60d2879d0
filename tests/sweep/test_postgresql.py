"""Tracking and study in a real PostgreSQL, which is stopped and started again while a sweep runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.analysis.tuning_table import COMPLETE
from ulmfit_lab.doctor.checks import examine, rebuild
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.experiment.search_space import Range
from ulmfit_lab.sweep.optuna_study import discard_study, open_search, open_study
from ulmfit_lab.tracking.tracker import open_tracker
from ulmfit_lab.utils import retry
from ulmfit_lab.utils.errors import LabError

pytestmark = pytest.mark.slow

FACTS = {"variant": "random", "level": "", "seed": 0}


@pytest.fixture(scope="module")
def expected(new_lab: Callable[[str], Any], experiment: Experiment) -> dict[tuple[str, int], float]:
    """The numbers of a sweep into files."""
    lab = new_lab("files")
    lab.sweep(experiment)
    found: dict[tuple[str, int], float] = lab.results(experiment)
    assert len(found) == 4
    return found


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """All files of a folder."""
    return ((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def test_a_sweep_has_runs_and_study_in_one_database(
    shared: Any, experiment: Experiment, expected: dict[tuple[str, int], float], postgresql: Any
) -> None:
    assert shared.sweep(experiment).finished == 4
    assert shared.results(experiment) == expected
    runs = shared.tracker.runs("starts", "tiny")
    study = open_study(shared.home, "starts-tiny")
    assert study.finished() == {run.fingerprint for run in runs} and study.running() == {}
    assert not list(shared.home.studies.glob("*"))
    assert shared.sweep(experiment).finished == 0  # nothing is run twice
    assert examine(shared.home, shared.tracker, [], None).findings == []

    secret = postgresql.uri("").partition("@")[0].rpartition(":")[2]
    assert secret not in repr(shared.home)
    for run in runs:
        held = shared.tracker.client.get_run(run.run_id)
        assert secret not in str(held.data.params) + str(held.data.tags)
    assert [path for path, content in contents(shared.home.root) if secret.encode() in content] == []


def test_a_process_keeps_one_connection_for_its_runs_and_one_for_its_study(
    shared: Any, experiment: Experiment, postgresql: Any
) -> None:
    shared.sweep(experiment)
    assert postgresql.connections(shared.tracker.uri) <= 2


def test_a_database_that_is_away_for_a_while_costs_a_sweep_nothing(
    shared: Any,
    experiment: Experiment,
    expected: dict[tuple[str, int], float],
    postgresql: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "PAUSES", (0.1, 0.5))
    outcome: list[Any] = []
    sweeping = threading.Thread(target=lambda: outcome.append(shared.sweep(experiment)))
    # signals are for the main thread, and so is a sweep's way of ending on them
    monkeypatch.setattr("ulmfit_lab.sweep.runner.allow_interrupts", nullcontext)
    sweeping.start()
    for _ in range(600):
        if shared.tracker.runs("starts", "tiny", "RUNNING"):
            break
        time.sleep(0.02)
    postgresql.stop()
    time.sleep(3.0)
    assert sweeping.is_alive(), "the sweep did not wait"
    postgresql.start()
    sweeping.join(120)
    assert outcome and outcome[0].finished == 4 and not outcome[0].failures
    assert shared.results(experiment) == expected
    for run in shared.tracker.runs("starts", "tiny"):
        assert len(shared.tracker.histories(run)["classifier/valid_loss"]) == 3  # one an epoch, none lost
    study = open_study(shared.home, "starts-tiny")
    assert len(study.finished()) == 4 and study.running() == {}


def test_a_search_goes_on_in_another_process_of_the_same_database(shared: Any) -> None:
    space, recipe = {"classifier.lr": Range(1e-4, 1e-1, log=True)}, {"classifier.lr": 1e-3}
    search = open_search(shared.home, "starts-tuning-tiny", "random", space, recipe)
    trial = search.next(3)
    assert trial is not None and trial.values == recipe
    search.report(trial.number, 0, 0.5)
    again = open_search(shared.home, "starts-tuning-tiny", "random", space, recipe)
    assert again.next(3) == replace(trial, seeds={0: 0.5})
    again.end(trial.number, COMPLETE)
    second = again.next(3)
    assert second is not None and second.number == 1
    assert search.next(3) == second


def test_a_trial_that_was_ended_before_the_answer_was_lost_is_ended_once(shared: Any) -> None:
    study = open_study(shared.home, "starts-tiny")
    number = study.begin("cell", FACTS)
    study.end(number, 0.5, "COMPLETE")
    study.end(number, 0.5, "COMPLETE")
    assert study.finished() == {"cell"} and len(study.study.trials) == 1


def test_a_trial_whose_process_is_no_more_is_failed_by_the_next_sweep(shared: Any, experiment: Experiment) -> None:
    open_study(shared.home, "starts-tiny").begin("gone", FACTS)
    shared.sweep(experiment)
    study = open_study(shared.home, "starts-tiny")
    assert study.running() == {} and len(study.finished()) == 4


def test_a_study_is_made_again_from_the_runs(shared: Any, experiment: Experiment) -> None:
    shared.sweep(experiment)
    before = open_study(shared.home, "starts-tiny").finished()
    discard_study(shared.home, "starts-tiny")
    assert open_study(shared.home, "starts-tiny").finished() == set()
    rebuild(shared.home, "starts-tiny", shared.tracker.runs("starts", "tiny"), experiment)
    assert open_study(shared.home, "starts-tiny").finished() == before


def test_a_driver_that_is_missing_and_a_server_that_is_not_there_are_told_in_one_line(shared: Any) -> None:
    with pytest.raises(LabError, match=r"ulmfit_lab\[cluster\].*postgresql\+psycopg://"):
        open_tracker(shared.home, "postgresql+pg8000://someone:hidden@127.0.0.1/lab")
    with pytest.raises(LabError, match="cannot be opened") as refused:
        open_tracker(shared.home, "postgresql+psycopg://someone:hidden@127.0.0.1:1/lab")
    assert "hidden" not in str(refused.value)
