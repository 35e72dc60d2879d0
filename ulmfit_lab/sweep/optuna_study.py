"""Optuna studies of what was run, with what outcome. The only module that imports optuna.

They are journals in the home, or tables of a PostgreSQL database where the home has one.

A sweep has one `Study`. The grid is the sweep's own, and so is the choice of the next cell: Optuna's grid sampler
counts a failed cell as visited. The study is told of each cell; it never samples and never prunes.

A search has one `Search` for each variant, which does both. Its next trial is asked of a copy of the study in memory,
with a sampler seeded by the trial's number, and written as one record: so a trial depends on the finished ones alone,
whichever process asks, and one that a killed process left running is gone on with.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateSchema

from ulmfit_lab.analysis.tuning_table import COMPLETE, PRUNED
from ulmfit_lab.config.paths import fingerprint
from ulmfit_lab.experiment.search_space import Range, Space, count_points, list_points
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.interrupts import shield_from_interrupts
from ulmfit_lab.utils.retry import retry

CELL = "cell"
"""Attribute of a trial: the cell's fingerprint."""

STARTUP = 5
"""Trials of a search before its sampler learns from them: the recipe there is, then random ones."""
HOPELESS = 0.3
"""p below which Wilcoxon's signed-rank test stops a trial: two seeds, both worse than the best trial's, have 1/4.

Among trials that are as good as the best this stops every fourth after two seeds, which costs the search little; one
that is better than the best loses the comparison on both seeds less often.
"""
IMPORTANCE = "fANOVA"
"""How the importance of a field is found: Hutter, Hoos & Leyton-Brown 2014, with Optuna's random forest."""
DIGITS = 3
"""Significant digits of a drawn number: a recipe is read and copied by people."""
SCHEMA = "optuna"
"""A database's schema for studies."""
RUNNING, FAILED = "running", "failed"
"""States of a trial beside those that a report knows; a failed one does not count."""


@dataclass(frozen=True)
class Study:
    """A study whose trials are cells."""

    study: optuna.Study
    has_params: bool = True
    """Whether a cell's facts are its trial's params, or else attributes: a database wants all trials' choices alike."""

    @shield_from_interrupts
    def begin(self, cell: str, facts: Mapping[str, Any]) -> int:
        """Number of a new running trial for a cell; its facts (variant, seed, level) become the trial's params.

        The trial is written as one record, so that no other process ever sees it without its cell.
        """
        plain = {name: choice(value) for name, value in facts.items()}
        params = plain if self.has_params else {}
        # A choice of its own for every trial: Optuna refuses a parameter whose choices grow, as a grid's do.
        only: dict[str, BaseDistribution] = {name: CategoricalDistribution((value,)) for name, value in params.items()}
        marks = {CELL: cell, **({} if self.has_params else plain)}
        made = optuna.trial.create_trial(state=TrialState.RUNNING, params=params, distributions=only, user_attrs=marks)
        # what `study.add_trial` does, which does not tell the number: to look for it among a thousand takes a second
        storage = self.study._storage
        return storage.get_trial_number_from_id(storage.create_new_trial(self.study._study_id, template_trial=made))

    @shield_from_interrupts
    def end(self, number: int, value: float | None, state: str) -> None:
        """Close a trial: COMPLETE with a value, or FAIL; Optuna keeps no complete trial without a number."""
        if state == "COMPLETE" and value is not None and math.isfinite(value):
            self._tell(number, value)
        else:
            self._tell(number, state=TrialState.FAIL)

    def _tell(self, number: int, value: float | None = None, state: TrialState | None = None) -> None:
        """End a trial that has not been ended meanwhile: by a reaper, or by a call whose answer was lost."""
        with contextlib.suppress(UpdateFinishedTrialError):
            self.study.tell(number, value, state, skip_if_finished=True)

    def finished(self) -> set[str]:
        """Cells with a complete trial; a cell that only failed is not among them, and may be run again."""
        return {t.user_attrs[CELL] for t in self.trials(TrialState.COMPLETE) if CELL in t.user_attrs}

    def running(self) -> dict[int, str]:
        """Number of every running trial -> its cell."""
        return {t.number: str(t.user_attrs.get(CELL, "")) for t in self.trials(TrialState.RUNNING)}

    @shield_from_interrupts
    def reap(self, alive: Callable[[str], bool]) -> None:
        """Fail the running trials of cells that no process is running."""
        for trial in self.trials(TrialState.RUNNING):
            if not alive(trial.user_attrs.get(CELL, "")):
                self._tell(trial.number, state=TrialState.FAIL)

    def trials(self, state: TrialState) -> list[FrozenTrial]:
        """The trials in a state."""
        return self.study.get_trials(deepcopy=False, states=(state,))


@dataclass(frozen=True)
class Trial:
    """A recipe that a search tries."""

    number: int
    values: Mapping[str, Any]
    """Field -> value."""
    seeds: Mapping[int, float]
    """Seed -> what was measured, of the seeds that are done."""
    state: str

    @property
    def mean(self) -> float:
        """Mean over the seeds that are done; nan where there are none."""
        return sum(self.seeds.values()) / len(self.seeds) if self.seeds else math.nan


@dataclass(frozen=True)
class Search:
    """The search for one variant's recipe, as a study that makes a value small, or large.

    Only one process at a time may call `next`, `report` and `end`.
    """

    study: optuna.Study
    space: Space
    recipe: Mapping[str, Any]
    """The point that is tried first."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the value is made small."""
        return bool(self.study.direction == StudyDirection.MINIMIZE)

    def counted(self) -> list[Trial]:
        """The trials that count, as they were made: all but running ones and those that failed for another reason."""
        return [trial for trial in self.trials() if trial.state not in (RUNNING, FAILED)]

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return [to_builtin(trial) for trial in self.study.get_trials(deepcopy=False)]

    def allowed(self, budget: int) -> int:
        """Trials that a budget allows: a space of lists that has fewer points is tried through, each point once."""
        return int(min(budget, count_points(self.space)))

    def done(self, budget: int) -> bool:
        """Whether all trials of a budget have been made."""
        return len(self.counted()) >= self.allowed(budget)

    @shield_from_interrupts
    def next(self, budget: int) -> Trial | None:
        """The trial to go on with: a running one, or else a new one; None where the budget is spent."""
        running = [trial for trial in self.trials() if trial.state == RUNNING]
        if running or self.done(budget):
            return running[0] if running else None
        number = len(self.trials())
        values = self.propose(number, budget)
        self.study.add_trial(
            optuna.trial.create_trial(state=TrialState.RUNNING, params=values, distributions=distributions(self.space))
        )
        return self.trials()[number]

    def propose(self, number: int, budget: int) -> dict[str, Any]:
        """The point that a new trial tries."""
        fixed = [dict(self.recipe), *(list_points(self.space) if count_points(self.space) <= budget else [])]
        tried = [trial.values for trial in self.counted()]
        untried = [point for point in fixed if point not in tried]
        if untried:
            return untried[0]
        sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed_of(number))
        copy = in_memory(self.finished(), sampler, self.lower_is_better)
        drawn = copy.ask(distributions(self.space)).params
        return {path: shorten_name(drawn[path], values) for path, values in self.space.items()}

    def finished(self) -> list[FrozenTrial]:
        """Optuna's trials that count."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    @shield_from_interrupts
    def report(self, number: int, seed: int, value: float) -> None:
        """Note what a seed of a running trial came to."""
        self.handle(number).report(value, seed)

    def should_prune(self, number: int) -> bool:
        """Whether a running trial is so much worse than the best on the same seeds that no more of them are needed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=HOPELESS)
        return bool(pruner.prune(self.study, self.study.get_trials(deepcopy=False)[number]))

    @shield_from_interrupts
    def end(self, number: int, state: str) -> None:
        """Close a running trial; a complete one gets the mean over its seeds."""
        if state == COMPLETE:
            self.study.tell(number, self.trials()[number].mean)
            return
        # Optuna's samplers forget a failed trial, but rank a pruned one last: so they learn where training diverges.
        self.handle(number).set_user_attr(OUTCOME, state)
        self.study.tell(number, state=TrialState.FAIL if state == FAILED else TrialState.PRUNED)

    def handle(self, number: int) -> optuna.trial.Trial:
        """Optuna's handle of a trial, whichever process made it."""
        return optuna.trial.Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)

    def importance(self, budget: int) -> dict[str, float]:
        """Field -> share of the value's variance over the complete trials that it explains alone, scaled to sum to 1.

        Empty where no two complete trials differ.
        """
        kept = [t for t in self.finished()[: self.allowed(budget)] if t.state == TrialState.COMPLETE]
        if len({trial.value for trial in kept}) < 2:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=0)
        copy = in_memory(kept, optuna.samplers.RandomSampler(), self.lower_is_better)
        found = get_param_importances(copy, evaluator=evaluator)
        return {path: round(float(found[path]), 4) for path in self.space}


OUTCOME = "outcome"
"""Attribute of a trial that did not complete: its state, of which there are more here than Optuna has."""
STATES: Mapping[TrialState, str] = {
    TrialState.RUNNING: RUNNING,
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
}


def to_builtin(trial: FrozenTrial) -> Trial:
    """Optuna's trial as ours."""
    state = STATES[trial.state]
    # the outcome is written before the trial is ended, and counts only then
    state = state if state == RUNNING else trial.user_attrs.get(OUTCOME, state)
    return Trial(trial.number, dict(trial.params), dict(trial.intermediate_values), state)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space in Optuna's terms."""
    return {path: distribution(values) for path, values in space.items()}


def distribution(values: Range | Sequence[Any]) -> BaseDistribution:
    """A field's values in Optuna's terms."""
    if not isinstance(values, Range):
        return CategoricalDistribution(tuple(values))
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def seed_of(number: int) -> int:
    """The sampler's seed for a trial: the same for every variant, so that all are given the same random points."""
    return int(fingerprint(["trial", number]), 16) % 2**32


def shorten_name(value: Any, values: Range | Sequence[Any]) -> Any:
    """A drawn number with few digits, still in its range; whole numbers and choices as they are."""
    if not isinstance(values, Range) or values.whole:
        return value
    return float(min(max(float(f"{value:.{DIGITS}g}"), values.low), values.high))


def in_memory(
    trials: Sequence[FrozenTrial], sampler: optuna.samplers.BaseSampler, lower_is_better: bool
) -> optuna.Study:
    """A study of these trials that no other process sees."""
    made = optuna.create_study(sampler=sampler, direction=direction(lower_is_better))
    made.add_trials(trials)
    return made


@shield_from_interrupts
def open_search(
    home: Home, journal: str, name: str, space: Space, recipe: Mapping[str, Any], *, lower_is_better: bool = True
) -> Search:
    """The search of this name that has tried the recipe, or else a new one, in a journal or the home's database.

    A recipe that the search found is one that it has tried: once it is declared, the same search goes on.
    """
    storage = open_storage(home, journal)
    with FileLock(home.locks / f"{journal}.lock"):  # so that two processes do not make it twice
        known = sorted(n for n in optuna.get_all_study_names(storage) if n.rpartition(" ")[0] == name)
        for number in range(len(known) + 1):
            made = optuna.create_study(
                study_name=f"{name} {number}",
                storage=storage,
                sampler=optuna.samplers.RandomSampler(),
                direction=direction(lower_is_better),
                load_if_exists=True,
            )
            tried = [trial.params for trial in made.get_trials(deepcopy=False)]
            if not tried or dict(recipe) in tried:
                break
    return Search(made, space, recipe)


def open_study(home: Home, name: str, *, lower_is_better: bool = True) -> Study:
    """The study of this name, made if need be; a made one keeps its direction."""
    made = optuna.create_study(
        study_name=name,
        storage=open_storage(home, name),
        sampler=optuna.samplers.RandomSampler(),
        pruner=optuna.pruners.NopPruner(),
        direction=direction(lower_is_better),
        load_if_exists=True,
    )
    return Study(made, has_params=not home.database)


def direction(lower_is_better: bool) -> str:
    """Optuna's name of a direction."""
    return "minimize" if lower_is_better else "maximize"


class Database(RDBStorage):  # type: ignore[misc]
    """Optuna's tables in a database, whose calls are not interrupted half-way and wait while it is away."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return retry(shield_from_interrupts(found)) if inspect.ismethod(found) and not name.startswith("__") else found


def open_storage(home: Home, name: str) -> BaseStorage:
    """Where a study of this name is kept: the home's database, or else a journal of its own."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    home.locks.mkdir(parents=True, exist_ok=True)
    if home.database:
        return open_database(home.database, home.locks / "studies.lock")
    return JournalStorage(JournalFileBackend(str(open_journal(home, name))))


@cache
def open_database(uri: str, lock: Path) -> Database:
    """A database's studies, their tables made by one process at a time.

    They have a schema of their own: Optuna and MLflow each note the version of their tables in `alembic_version`.
    """
    with FileLock(lock):
        engine = create_engine(uri)
        with engine.begin() as connection:
            connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
        engine.dispose()
        # tested before use: connections from before a restart of the database are dead; and one is kept, not five
        schema = {"options": f"-csearch_path={SCHEMA}"}
        options = {"connect_args": schema, "pool_pre_ping": True, "pool_size": 1}
        return Database(uri, engine_kwargs=options)


def discard_study(home: Home, name: str) -> None:
    """Delete a study from the home's database; a journal is a file, and can be moved aside."""
    with contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=open_storage(home, name))


def open_journal(home: Home, name: str) -> Path:
    """The file of a journal, fit to be read."""
    home.studies.mkdir(parents=True, exist_ok=True)
    journal = home.studies / f"{name}.journal"
    trim(journal)
    return journal


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
