"""An Optuna study of every sweep: what was run, with what outcome. The only module that imports optuna.

The grid is the sweep's own, and so is the choice of the next cell: Optuna's grid sampler counts a failed cell as
visited. The study is told of each cell by ask and tell; it never samples and never prunes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ulmfit_lab.lab.home import Home

CELL = "cell"


@dataclass(frozen=True)
class Study:
    """A study whose trials are cells."""

    study: optuna.Study

    def begin(self, cell: str, facts: Mapping[str, Any]) -> int:
        """A running trial for a cell; its facts become attributes, which may differ in kind from trial to trial."""
        trial = self.study.ask()
        trial.set_user_attr(CELL, cell)
        for name, value in facts.items():
            trial.set_user_attr(name, value)
        return trial.number

    def end(self, number: int, value: float | None, state: str) -> None:
        """Close a trial: COMPLETE with a value, or FAIL."""
        complete = state == "COMPLETE" and value is not None
        self.study.tell(number, value if complete else None, TrialState.COMPLETE if complete else TrialState.FAIL)

    def finished(self) -> set[str]:
        """Cells with a complete trial."""
        return {t.user_attrs[CELL] for t in self.trials(TrialState.COMPLETE)}

    def reap(self, alive: Callable[[str], bool]) -> None:
        """Fail the trials whose process was killed."""
        for trial in self.trials(TrialState.RUNNING):
            if not alive(trial.user_attrs.get(CELL, "")):
                self.study.tell(trial.number, state=TrialState.FAIL)

    def trials(self, state: TrialState) -> list[optuna.trial.FrozenTrial]:
        """The trials in a state."""
        return self.study.get_trials(deepcopy=False, states=(state,))


def open_study(home: Home, name: str) -> Study:
    """The study of this name in the home's journal, made if need be."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    home.studies.mkdir(parents=True, exist_ok=True)
    journal = home.studies / f"{name}.journal"
    with FileLock(home.studies / f"{name}.open.lock"):
        trim(journal)
        made = optuna.create_study(
            study_name=name,
            storage=JournalStorage(JournalFileBackend(str(journal))),
            sampler=optuna.samplers.RandomSampler(),
            pruner=optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
    return Study(made)


def trim(journal: Path) -> None:
    """Cut off a last line that a power cut left unfinished: with it, the journal would never load again."""
    if not journal.exists():
        return
    data = journal.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(journal, whole)
