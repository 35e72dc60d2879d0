"""An Optuna study of every sweep: what was run, with what outcome. The only module that imports optuna.

The grid is the sweep's own, and so is the choice of the next cell: Optuna's grid sampler counts a failed cell as
visited. The study is told of each cell; it never samples and never prunes.
"""

from __future__ import annotations

import contextlib
import math
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from ulmfit_lab.lab.home import Home
from ulmfit_lab.lab.interrupts import shielded

CELL, ATTEMPT = "cell", "attempt"
"""Attributes of a trial: the cell's fingerprint, and an id of this attempt at it."""


@dataclass(frozen=True)
class Study:
    """A study whose trials are cells."""

    study: optuna.Study

    @shielded
    def begin(self, cell: str, facts: Mapping[str, Any]) -> int:
        """Number of a new running trial for a cell; its facts (variant, seed, level) become the trial's params.

        The trial is one record of the journal, so that no other process ever sees it without its cell.
        """
        attempt = uuid.uuid4().hex
        params = {name: choice(value) for name, value in facts.items()}
        # A choice of its own for every trial: Optuna refuses a parameter whose choices grow, as a grid's do.
        only: dict[str, BaseDistribution] = {name: CategoricalDistribution((value,)) for name, value in params.items()}
        marks = {CELL: cell, ATTEMPT: attempt}
        self.study.add_trial(
            optuna.trial.create_trial(state=TrialState.RUNNING, params=params, distributions=only, user_attrs=marks)
        )
        return next(t.number for t in self.trials(TrialState.RUNNING) if t.user_attrs.get(ATTEMPT) == attempt)

    @shielded
    def end(self, number: int, value: float | None, state: str) -> None:
        """Close a trial: COMPLETE with a value, or FAIL; Optuna keeps no complete trial without a number."""
        if state == "COMPLETE" and value is not None and not math.isnan(value):
            self.study.tell(number, value)
        else:
            self.study.tell(number, state=TrialState.FAIL)

    def finished(self) -> set[str]:
        """Cells with a complete trial; a cell that only failed is not among them, and may be run again."""
        return {t.user_attrs[CELL] for t in self.trials(TrialState.COMPLETE) if CELL in t.user_attrs}

    @shielded
    def reap(self, alive: Callable[[str], bool]) -> None:
        """Fail the running trials of cells that no process is running."""
        for trial in self.trials(TrialState.RUNNING):
            if not alive(trial.user_attrs.get(CELL, "")):
                # It may have been ended since it was listed, by its own process or by another reaper.
                with contextlib.suppress(UpdateFinishedTrialError):
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def trials(self, state: TrialState) -> list[FrozenTrial]:
        """The trials in a state."""
        return self.study.get_trials(deepcopy=False, states=(state,))


def open_study(home: Home, name: str, *, lower_is_better: bool = True) -> Study:
    """The study of this name in the home's journal, made if need be; a made one keeps its direction."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    home.studies.mkdir(parents=True, exist_ok=True)
    journal = home.studies / f"{name}.journal"
    trim(journal)
    made = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=optuna.samplers.RandomSampler(),
        pruner=optuna.pruners.NopPruner(),
        direction="minimize" if lower_is_better else "maximize",
        load_if_exists=True,
    )
    return Study(made)


def trim(journal: Path) -> None:
    """Cut off a last line that a power cut left unfinished: with it, the journal would never load again.

    Done under Optuna's own lock, since another process may be in the middle of writing that line.
    """
    if not journal.exists():
        return
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        data = journal.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(journal, whole)
    finally:
        lock.release()


def choice(value: Any) -> bool | int | float | str | None:
    """A value as Optuna can store it."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
