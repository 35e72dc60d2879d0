"""How many runs a store takes: real processes that write to a real store."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.capacity import TRIALS, store_rate
from ulmfit_lab.sweep.optuna_study import open_study


@pytest.mark.slow
def test_processes_make_the_runs_that_are_counted(lab: Any) -> None:
    rate = store_rate(lab.home, lab.tracker.uri, processes=2, runs=2, running=3)
    assert rate.runs > 0 and rate.shortest(100) == 100 / rate.runs
    runs = lab.tracker.runs("capacity", "tiny")
    assert [run.status for run in runs] == ["FINISHED"] * 4
    study = open_study(lab.home, TRIALS)
    assert len(study.running()) == 3 and study.finished() == {run.fingerprint for run in runs}
