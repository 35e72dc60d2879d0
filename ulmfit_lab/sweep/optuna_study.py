"""Optuna studies of sweeps and searches. The only module that imports optuna.

Studies are stored in journals in the home, or in PostgreSQL if the home uses a database.

A sweep records its runs in one `Study`, which neither samples nor prunes.

A search has one `Search` per variant, which does both. The next trial is sampled from an in-memory copy of the study,
with a sampler seeded by the trial's number: it depends only on finished trials, not on the process that asks. A trial
that a killed process left running is resumed.
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
"""Attribute of a trial: the fingerprint of its run."""

STARTUP = 5
"""Trials before the sampler uses earlier results: the current hyperparameters, then random ones."""
HOPELESS = 0.3
"""A trial is pruned if Wilcoxon's signed-rank test against the best trial gives a p below this.

Two seeds that are both worse give p = 1/4: of trials as good as the best, one in four is pruned after two seeds.
"""
IMPORTANCE = "fANOVA"
"""Importance of fields: Hutter, Hoos & Leyton-Brown 2014, with Optuna's random forest."""
DIGITS = 3
"""Significant digits of a sampled number."""
SCHEMA = "optuna"
"""Database schema of the studies."""
RUNNING, FAILED = "running", "failed"
"""States of a trial that do not count and are not reported."""


@dataclass(frozen=True)
class Study:
    """A study whose trials are runs."""

    study: optuna.Study
    has_params: bool = True
    """Whether facts are stored as params, else as attributes: databases require equal choices in all trials."""

    @shield_from_interrupts
    def begin(self, cell: str, facts: Mapping[str, Any]) -> int:
        """Add a running trial for a run with these facts (variant, seed, level); returns its number.

        The trial is written as one record, so that no other process sees it without its fingerprint.
        """
        plain = {name: choice(value) for name, value in facts.items()}
        params = plain if self.has_params else {}
        # One choice per trial: Optuna refuses a parameter whose choices change.
        only: dict[str, BaseDistribution] = {name: CategoricalDistribution((value,)) for name, value in params.items()}
        marks = {CELL: cell, **({} if self.has_params else plain)}
        made = optuna.trial.create_trial(state=TrialState.RUNNING, params=params, distributions=only, user_attrs=marks)
        # `study.add_trial` does not return the number, and searching for it takes a second with a thousand trials.
        storage = self.study._storage
        return storage.get_trial_number_from_id(storage.create_new_trial(self.study._study_id, template_trial=made))

    @shield_from_interrupts
    def end(self, number: int, value: float | None, state: str) -> None:
        """Close a trial as COMPLETE with a value, or as FAIL; a value that is not finite counts as FAIL."""
        if state == "COMPLETE" and value is not None and math.isfinite(value):
            self._tell(number, value)
        else:
            self._tell(number, state=TrialState.FAIL)

    def _tell(self, number: int, value: float | None = None, state: TrialState | None = None) -> None:
        """Close a trial, unless it was closed in the meantime, by `reap` or by a call whose response was lost."""
        with contextlib.suppress(UpdateFinishedTrialError):
            self.study.tell(number, value, state, skip_if_finished=True)

    def finished(self) -> set[str]:
        """Fingerprints of the runs with a complete trial."""
        return {t.user_attrs[CELL] for t in self.trials(TrialState.COMPLETE) if CELL in t.user_attrs}

    def running(self) -> dict[int, str]:
        """Number of each running trial -> fingerprint of its run."""
        return {t.number: str(t.user_attrs.get(CELL, "")) for t in self.trials(TrialState.RUNNING)}

    @shield_from_interrupts
    def reap(self, alive: Callable[[str], bool], finished: Mapping[str, float | None]) -> None:
        """Close the running trials whose run is not alive: as COMPLETE if the run is finished, else as FAIL.

        finished: fingerprints of finished runs -> value
        """
        for trial in self.trials(TrialState.RUNNING):
            cell = str(trial.user_attrs.get(CELL, ""))
            if not alive(cell):
                self.end(trial.number, finished.get(cell), "COMPLETE" if cell in finished else "FAIL")

    def trials(self, state: TrialState) -> list[FrozenTrial]:
        """Trials in a state."""
        return self.study.get_trials(deepcopy=False, states=(state,))


@dataclass(frozen=True)
class Trial:
    """A set of hyperparameters that a search tries."""

    number: int
    values: Mapping[str, Any]
    seeds: Mapping[int, float]
    """Finished seed -> value of the metric."""
    state: str

    @property
    def mean(self) -> float:
        """Mean over the finished seeds; nan without any."""
        return sum(self.seeds.values()) / len(self.seeds) if self.seeds else math.nan


@dataclass(frozen=True)
class Search:
    """The search for one variant's hyperparameters.

    `next`, `report` and `end` must not be called by two processes at once.
    """

    study: optuna.Study
    space: Space
    recipe: Mapping[str, Any]
    """Hyperparameters of the first trial."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the search minimizes."""
        return bool(self.study.direction == StudyDirection.MINIMIZE)

    def counted(self) -> list[Trial]:
        """Trials that count towards the budget, by number: complete, pruned or diverged."""
        return [trial for trial in self.trials() if trial.state not in (RUNNING, FAILED)]

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return [to_builtin(trial) for trial in self.study.get_trials(deepcopy=False)]

    def allowed(self, budget: int) -> int:
        """Number of trials that a budget allows: at most the number of points of the space."""
        return int(min(budget, count_points(self.space)))

    def done(self, budget: int) -> bool:
        """Whether the budget is used up."""
        return len(self.counted()) >= self.allowed(budget)

    @shield_from_interrupts
    def next(self, budget: int) -> Trial | None:
        """A running trial to resume, else a new one; None if the budget is used up."""
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
        """Hyperparameters of a new trial."""
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
        """Record the value of one seed of a running trial."""
        self.handle(number).report(value, seed)

    def should_prune(self, number: int) -> bool:
        """Whether a running trial is worse than the best one on the same seeds (see `HOPELESS`)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=HOPELESS)
        return bool(pruner.prune(self.study, self.study.get_trials(deepcopy=False)[number]))

    @shield_from_interrupts
    def end(self, number: int, state: str) -> None:
        """Close a running trial; the value of a complete one is the mean over its seeds."""
        if state == COMPLETE:
            self.study.tell(number, self.trials()[number].mean)
            return
        # A diverged trial is closed as pruned: Optuna's samplers ignore failed trials, but rank pruned ones last.
        self.handle(number).set_user_attr(OUTCOME, state)
        self.study.tell(number, state=TrialState.FAIL if state == FAILED else TrialState.PRUNED)

    def handle(self, number: int) -> optuna.trial.Trial:
        """Optuna's handle of a trial, also of one that another process added."""
        return optuna.trial.Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)

    def importance(self, budget: int) -> dict[str, float]:
        """Field -> share of the variance over complete trials that it explains alone, normalized to sum to 1.

        Empty if all complete trials have the same value, or the forest finds no variance.
        """
        kept = [t for t in self.finished()[: self.allowed(budget)] if t.state == TrialState.COMPLETE]
        if len({trial.value for trial in kept}) < 2:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=0)
        copy = in_memory(kept, optuna.samplers.RandomSampler(), self.lower_is_better)
        try:
            found = get_param_importances(copy, evaluator=evaluator)
        except RuntimeError:  # values that differ in their last digits only
            return {}
        return {path: round(float(found[path]), 4) for path in self.space}


OUTCOME = "outcome"
"""Attribute of an incomplete trial: its state, since Optuna has fewer states."""
STATES: Mapping[TrialState, str] = {
    TrialState.RUNNING: RUNNING,
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
}


def to_builtin(trial: FrozenTrial) -> Trial:
    """Convert Optuna's trial."""
    state = STATES[trial.state]
    state = state if state == RUNNING else trial.user_attrs.get(OUTCOME, state)  # set before the trial is closed
    return Trial(trial.number, dict(trial.params), dict(trial.intermediate_values), state)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Convert a space to Optuna's distributions."""
    return {path: distribution(values) for path, values in space.items()}


def distribution(values: Range | Sequence[Any]) -> BaseDistribution:
    """Convert the values of a field to Optuna's distribution."""
    if not isinstance(values, Range):
        return CategoricalDistribution(tuple(values))
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def seed_of(number: int) -> int:
    """Seed of the sampler for a trial; all variants get the same random points."""
    return int(fingerprint(["trial", number]), 16) % 2**32


def shorten_name(value: Any, values: Range | Sequence[Any]) -> Any:
    """Round a sampled float to `DIGITS`, within its range; other values are unchanged."""
    if not isinstance(values, Range) or values.whole:
        return value
    return float(min(max(float(f"{value:.{DIGITS}g}"), values.low), values.high))


def in_memory(
    trials: Sequence[FrozenTrial], sampler: optuna.samplers.BaseSampler, lower_is_better: bool
) -> optuna.Study:
    """An in-memory study with these trials."""
    made = optuna.create_study(sampler=sampler, direction=direction(lower_is_better))
    made.add_trials(trials)
    return made


@shield_from_interrupts
def open_search(
    home: Home, journal: str, name: str, space: Space, recipe: Mapping[str, Any], *, lower_is_better: bool = True
) -> Search:
    """Open the search of this name that has tried the recipe, or a new one.

    So a search continues after its result was copied into the declaration.
    """
    storage = open_storage(home, journal)
    with FileLock(home.locks / f"{journal}.lock"):  # so that two processes do not create it twice
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
    """Open or create a study; the direction of an existing one is kept."""
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
    """Optuna's name of the direction."""
    return "minimize" if lower_is_better else "maximize"


class Database(RDBStorage):  # type: ignore[misc]
    """Optuna's tables in a database; calls are shielded from interrupts and retried while it is unavailable."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return retry(shield_from_interrupts(found)) if inspect.ismethod(found) and not name.startswith("__") else found


def open_storage(home: Home, name: str) -> BaseStorage:
    """Storage of a study: the home's database, or else a journal."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    home.locks.mkdir(parents=True, exist_ok=True)
    if home.database:
        return open_database(home.database, home.locks / "studies.lock")
    home.studies.mkdir(parents=True, exist_ok=True)
    journal = home.studies / f"{name}.journal"
    trim(journal)
    return JournalStorage(JournalFileBackend(str(journal)))


@cache
def open_database(uri: str, lock: Path) -> Database:
    """Open the studies of a database; tables are created by one process at a time.

    They have their own schema, since Optuna and MLflow both use a table `alembic_version`.
    """
    with FileLock(lock):
        engine = create_engine(uri)
        with engine.begin() as connection:
            connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
        engine.dispose()
        schema = {"options": f"-csearch_path={SCHEMA}"}
        # pre-ping replaces connections that died in a restart of the database
        options = {"connect_args": schema, "pool_pre_ping": True, "pool_size": 1}
        return Database(uri, engine_kwargs=options)


def discard_study(home: Home, name: str) -> None:
    """Delete a study from the home's database."""
    with contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=open_storage(home, name))


def trim(journal: Path) -> None:
    """Remove an incomplete last line, which a power failure can leave and Optuna cannot load.

    Holds Optuna's lock, since another process may be writing the line.
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
    """Convert a value to a type that Optuna can store."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
