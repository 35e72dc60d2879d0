"""A study holds every cell's outcome, whichever process made it and however that process ended."""

from __future__ import annotations

import json
import math
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileSymlinkLock
from optuna.trial import TrialState

from ulmfit_lab.sweep.optuna_study import Study, open_study, trim
from ulmfit_lab.utils.home import Home

GRID = [f"cell{i:02}" for i in range(20)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path)


def reopened(home: Home) -> Study:
    """The study as another process would see it."""
    return open_study(home, "grid")


def complete(study: Study, cell: str, value: float = 0.5, **facts: Any) -> int:
    """Run a cell that comes to a value."""
    number = study.begin(cell, facts)
    study.end(number, value, "COMPLETE")
    return number


def work(root: str, cells: list[str], start: Any) -> None:
    """Run each cell that no process is running or has finished, as a sweep does."""
    study = open_study(Home(Path(root)), "grid")
    start.wait(timeout=120)
    for cell in cells:
        try:
            with FileLock(Path(root) / f"{cell}.lock", timeout=0):
                if cell not in study.finished():
                    complete(study, cell, seed=int(cell[-2:]))
        except Timeout:
            continue


def test_two_processes_complete_every_cell_of_a_grid_once(home: Home) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    orders = (GRID, GRID[10:] + GRID[:10])
    workers = [spawn.Process(target=work, args=(str(home.root), order, start)) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    trials = reopened(home).study.get_trials()
    assert sorted(trial.user_attrs["cell"] for trial in trials) == GRID
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert all(trial.params["seed"] == int(trial.user_attrs["cell"][-2:]) for trial in trials)


def test_a_failed_cell_is_not_finished_and_may_be_run_again(home: Home) -> None:
    study = reopened(home)
    study.end(study.begin("a", {}), None, "FAIL")
    assert study.finished() == set()
    complete(study, "a")
    assert reopened(home).finished() == {"a"}
    assert [trial.state for trial in study.study.get_trials()] == [TrialState.FAIL, TrialState.COMPLETE]


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_cell_without_a_number_fails(home: Home, value: float | None) -> None:
    study = reopened(home)
    study.end(study.begin("a", {}), value, "COMPLETE")
    assert study.study.get_trials()[0].state == TrialState.FAIL


def test_a_grid_may_grow_by_variants_levels_and_their_kinds(home: Home) -> None:
    study = reopened(home)
    complete(study, "a", variant="random", level=None, seed=0)
    complete(study, "b", variant="fine-tuned", level="500", seed=1)
    complete(reopened(home), "c", variant="new", level=0.5, seed=2, path=Path("x"))
    params = [trial.params for trial in reopened(home).study.get_trials()]
    assert params == [
        {"variant": "random", "level": None, "seed": 0},
        {"variant": "fine-tuned", "level": "500", "seed": 1},
        {"variant": "new", "level": 0.5, "seed": 2, "path": "x"},
    ]


def test_the_best_trial_follows_the_direction_the_study_was_made_with(home: Home) -> None:
    study = open_study(home, "accuracy", lower_is_better=False)
    complete(study, "a", 0.9)
    complete(study, "b", 0.8)
    assert open_study(home, "accuracy").study.best_value == 0.9


def test_cells_of_dead_processes_fail_and_those_of_live_ones_go_on(home: Home) -> None:
    """A process may die between the end of its run and that of the trial."""
    study = reopened(home)
    for cell in ("dead", "alive", "finished", "not finite"):
        study.begin(cell, {})
    reopened(home).reap(lambda cell: cell == "alive", {"finished": 0.25, "not finite": math.nan, "other": 0.5})
    found = {trial.user_attrs["cell"]: (trial.state, trial.value) for trial in study.study.get_trials()}
    assert found == {
        "dead": (TrialState.FAIL, None),
        "alive": (TrialState.RUNNING, None),
        "finished": (TrialState.COMPLETE, 0.25),
        "not finite": (TrialState.FAIL, None),
    }


def test_a_cell_that_ends_while_it_is_looked_at_keeps_its_outcome(home: Home) -> None:
    study = reopened(home)
    number = study.begin("a", {})

    def ends_now(cell: str) -> bool:
        study.end(number, 0.25, "COMPLETE")
        return False

    reopened(home).reap(ends_now, {})
    assert study.study.get_trials()[number].value == 0.25


def test_no_process_sees_a_running_trial_without_its_cell(home: Home) -> None:
    study = reopened(home)
    journal = home.studies / "grid.journal"
    before = journal.read_text()
    study.begin("f1", {"seed": 3})
    (added,) = journal.read_text().removeprefix(before).splitlines()  # one record, written at once
    assert json.loads(added)["user_attrs"]["cell"] == "f1"


def test_a_torn_last_line_costs_that_line_only(home: Home) -> None:
    complete(reopened(home), "a")
    with (home.studies / "grid.journal").open("ab") as journal:
        journal.write(b'{"op_code":5,"worker_id":"x')
    complete(reopened(home), "b")
    assert reopened(home).finished() == {"a", "b"}


def test_a_line_that_another_process_is_writing_is_not_cut(home: Home) -> None:
    complete(reopened(home), "a")
    journal = home.studies / "grid.journal"
    whole = journal.read_bytes()
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    journal.write_bytes(whole[:-20])
    opening = threading.Thread(target=trim, args=(journal,))
    opening.start()
    time.sleep(0.2)
    with journal.open("ab") as writing:
        writing.write(whole[-20:])
    lock.release()
    opening.join()
    assert journal.read_bytes() == whole
