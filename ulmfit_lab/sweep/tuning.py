"""Hyperparameter search: the same number of trials and the same seeds for each variant, on validation data.

The value of a trial is the mean of a validation metric over the search seeds; each seed is a tracked run. A variant is
searched by one process at a time, so that several processes share the variants. An interrupted search is resumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
from filelock import FileLock

from ulmfit_lab.analysis.tuning_table import COMPLETE, chosen, fields_of, measure_of, order_variants
from ulmfit_lab.config.paths import fingerprint, flatten, non_defaults, override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.declaration import (
    Changes,
    Experiment,
    search_config,
    searched_variants,
    with_language_model,
)
from ulmfit_lab.experiment.plan import Throughput
from ulmfit_lab.experiment.precision import resolve_precision
from ulmfit_lab.experiment.search_space import (
    Range,
    at_edge,
    check_space,
    extremes,
    format_space,
    is_outside,
    point_differing_everywhere,
    widen,
)
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import StageStore
from ulmfit_lab.report.new_metrics import check_measurable
from ulmfit_lab.report.tables import tuning_part
from ulmfit_lab.report.tuning_figure import write_tuning
from ulmfit_lab.sweep.display import ProgressDisplay, format_time_left
from ulmfit_lab.sweep.optuna_study import HOPELESS, IMPORTANCE, RUNNING, open_search
from ulmfit_lab.sweep.runner import is_alive, mark_killed_on_interrupt, sweep_name
from ulmfit_lab.sweep.trials import TUNING, SearchedVariant, Tuning, search_variants
from ulmfit_lab.tracking.tracker import Tracker
from ulmfit_lab.training.metrics import find_metric
from ulmfit_lab.utils.errors import ConfigError, IncompleteError
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.interrupts import allow_interrupts


@dataclass
class TuningResult:
    """Outcome of `tune`."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of each failed run."""
    elsewhere: list[str] = field(default_factory=list)
    """Variants that another process is searching."""
    parent: str = ""
    """Id of the parent run."""
    table: pd.DataFrame | None = None
    """One row per trial; None if the search is not complete."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the search and importance of the fields (see `tuning_facts`)."""
    had_trials_left: bool = False
    """Whether trials were left to make when it began."""


def tune(
    experiment: Experiment,
    scale: str,
    *,
    overrides: Changes | None = None,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    display: ProgressDisplay,
    budget: int | None = None,
    widened: int = 0,
) -> TuningResult:
    """Search the hyperparameters of each variant, or resume an interrupted search.

    budget: trials per variant (default: the experiment's); widened: how often `widen_search` was applied: a variant
    with a range of its own, which is not widened, has as many trials in it as others in all their ranges

    Raises ConfigError if the experiment declares no search, or a current value lies outside of its search space.
    """
    tuning = plan_tuning(experiment, scale, overrides, home, data, tracker, budget, widened)
    runs, seconds = runs_left(tuning), predicted_seconds(tuning)
    display.say(format_cost(tuning, runs, seconds))
    outcome = TuningResult(had_trials_left=bool(tuning.left))
    if tuning.left:
        tracker.close_abandoned(tuning.name, scale, is_alive(home, tuning.name, scale))
        with allow_interrupts(), mark_killed_on_interrupt(tracker, tuning.parent), display.counting(runs, seconds):
            outcome.elsewhere = search_variants(tuning, display, outcome.failures)
    if outcome.failures:
        tracker.finish_sweep(tuning.parent, "FAILED", f"{len(outcome.failures)} of its runs failed")
    elif not tuning.left:
        outcome.parent = tuning.parent
        outcome.table, outcome.facts = tuning_table(tuning), tuning_facts(tuning)
    return outcome


def publish_tuning(outcome: TuningResult, home: Home, tracker: Tracker, folder: Path) -> list[Path]:
    """Write table, settings and figure of a finished search, and log them to its parent run.

    Raises IncompleteError if trials are missing.
    """
    if outcome.table is None:
        raise IncompleteError("The search is not complete; repeat the command to resume it.")
    with FileLock(home.locks / "tuning.lock"):  # processes that share the search may finish at once
        written = write_tuning(outcome.table, outcome.facts, folder)
        best = outcome.table.loc[chosen(outcome.table)]
        metrics = dict(zip("best/" + best["variant"], best[measure_of(outcome.table)].map(float), strict=True))
        about = "\n\n".join(tuning_part(outcome.table, outcome.facts))
        tracker.summarise_sweep(outcome.parent, metrics, about, written, "FINISHED")
    return written


def winners(table: pd.DataFrame, experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Variant -> best hyperparameters; variants without a complete trial are omitted."""
    best = table.loc[chosen(table)].to_dict("records")
    return {row["variant"]: {field: row[field] for field in experiment.search.space} for row in best}


def edges(table: pd.DataFrame, facts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Variant -> field -> edge of its range that the best value is at."""
    found: dict[str, dict[str, str]] = {}
    for row in table.loc[chosen(table)].to_dict("records"):
        space = {**facts.get("space", {}), **facts.get("space_of", {}).get(row["variant"], {})}
        mine = {path: at_edge(values, row[path]) for path, values in space.items()}
        found[row["variant"]] = {path: edge for path, edge in mine.items() if edge}
    return {variant: mine for variant, mine in found.items() if mine}


def widen_search(experiment: Experiment, outcome: TuningResult) -> Experiment | None:
    """The experiment with ranges widened where a best value is at their edge; None where none may be widened.

    All variants have the wider range, so that each is searched again with the same budget. It is widened once at an
    edge, however many variants are there; a variant with a range of its own (`for_variants`) widens nothing.
    """
    space, own = dict(experiment.search.space), experiment.search.for_variants
    at_edges = edges(cast(pd.DataFrame, outcome.table), outcome.facts).items()
    found = {(path, edge) for name, mine in at_edges for path, edge in mine.items() if path not in own.get(name, {})}
    for path, edge in sorted(found):
        values, widest = space[path], experiment.search.widest.get(path)
        if isinstance(values, Range) and widest:
            space[path] = widen(values, edge, widest)
    if space == experiment.search.space:
        return None
    return replace(experiment, search=replace(experiment.search, space=space))


def add_earlier_trials(outcome: TuningResult, earlier: TuningResult) -> TuningResult:
    """The outcome of a widened search with the trials in the narrower ranges, which come first for each variant.

    Trials of both with the same hyperparameters, such as the recipe, are kept once. The importance of the fields is
    that in the wider ranges. An outcome without a table is returned unchanged.
    """
    if outcome.table is None or earlier.table is None:
        return outcome
    both = pd.concat([earlier.table, outcome.table], ignore_index=True)
    # of a trial that was pruned in one of the searches, the complete one
    complete_first = both.sort_values("state", key=lambda states: states != COMPLETE, kind="stable")
    kept = complete_first.drop_duplicates(["variant", *fields_of(both)]).sort_index()
    kept = order_variants(kept, outcome.table).reset_index(drop=True)
    kept["trial"] = kept.groupby("variant", sort=False).cumcount()
    narrower = [*earlier.facts.get("narrower_spaces", []), earlier.facts["space"]]
    budget = earlier.facts["budget"] + outcome.facts["budget"]
    return replace(outcome, table=kept, facts={**outcome.facts, "budget": budget, "narrower_spaces": narrower})


def recipes_text(found: Mapping[str, Mapping[str, Any]], experiment: Experiment, scale: str) -> str:
    """Best hyperparameters as Python source for the experiment's `tuned`, merged with those already declared."""
    declared = experiment.tuned.get(scale, {})
    recipes = {
        variant: {**declared.get(variant, {}), **found.get(variant, {})}
        for variant in experiment.variants
        if variant in declared or variant in found
    }
    lines = [f"        {variant!r}: {values!r}," for variant, values in recipes.items()]
    return "\n".join([f"    tuned={{{scale!r}: {{", *lines, "    }},"])


def plan_tuning(
    experiment: Experiment,
    scale: str,
    overrides: Changes | None,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    budget: int | None,
    widened: int,
) -> Tuning:
    """Open the search of each variant; raises ConfigError (see `tune`)."""
    experiment, overrides = resolve_precision(
        experiment, scale, overrides, lambda: tracker.runs(experiment.name, scale), home
    )
    name = experiment.name
    if not experiment.search.space:
        raise ConfigError(f"{name} declares no search; give its EXPERIMENT a search={{field: Range(low, high)}}.")
    budget = experiment.search.budget if budget is None else budget
    if budget < 1:
        raise ConfigError(f"budget = {budget} must be at least 1.")
    measure, found = find_metric(experiment.search.metric), list[SearchedVariant]()
    for variant in searched_variants(experiment, scale):
        level, config = search_config(experiment, scale, variant, overrides)
        space = experiment.search_space(variant)
        check_space(space, config)
        check_measurable(name, variant, config, measure)
        values = flatten(config)
        recipe = {path: values[path] for path in space}
        for path in is_outside(space, recipe):
            where = f"{name}: {path} = {recipe[path]} of {variant!r}"
            raise ConfigError(f"{where} is outside of its search space {space[path]}; widen the space.")
        identity = identity_of(experiment, variant, config, data, home.imported)
        journal, lower = sweep_name(name + TUNING, scale), measure.lower_is_better
        search = open_search(home, journal, f"{variant} {identity}", space, recipe, lower_is_better=lower)
        keeps_range = space.keys() == experiment.search.for_variants.get(variant, {}).keys()
        trials = search.allowed(budget * (1 + widened) if keeps_range else budget)
        found.append(SearchedVariant(variant, level, config, identity, search, trials))
    return Tuning(experiment, scale, data, home, tracker, found)


def identity_of(experiment: Experiment, variant: str, config: RunConfig, data: Path | None, imported: Path) -> str:
    """Fingerprint of config, data, code, space, seeds and metric of a variant's search."""
    space = experiment.search_space(variant)
    lowest = override(config, next(extremes(space)))
    configs = [(seed, with_language_model(experiment, lowest, seed)) for seed in experiment.search.seeds]
    stages = [final_stage(config, seed, data, imported).fingerprint for seed, config in configs]
    key = {"config": non_defaults(lowest), "stages": stages, "space": format_space(space)}
    return fingerprint(key | {"seeds": list(experiment.search.seeds), "measure": experiment.search.metric})


def runs_left(tuning: Tuning) -> int:
    """Number of missing runs, if no trial is pruned."""
    seeds, left = len(tuning.experiment.search.seeds), 0
    for each in tuning.left:
        begun = sum(len(trial.seeds) for trial in each.search.trials() if trial.state == RUNNING)
        left += seeds * (each.trials - len(each.counted)) - begun
    return left


def predicted_seconds(tuning: Tuning) -> float:
    """Predicted time of the remaining trials, at the cost of the current hyperparameters; shared stages count once."""
    store = StageStore(tuning.home.stages)
    rates, shared, own = Throughput(store), dict[str, float](), dict[str, float]()
    for each, seed in itertools.product(tuning.left, tuning.experiment.search.seeds):
        recipe, left = each.search.recipe, each.trials - len(each.counted)
        stage, other = (
            tuning.stage(each, point, seed) for point in (recipe, point_differing_everywhere(each.search.space, recipe))
        )
        common, missing = ({s.fingerprint for s in found} for found in (other.ancestry(), store.missing(stage)))
        for part in stage.ancestry():
            if part.fingerprint not in common:
                own[part.fingerprint] = left * rates.seconds(part, each.config)
            elif part.fingerprint in missing:
                shared[part.fingerprint] = rates.seconds(part, each.config)
    return sum(shared.values()) + sum(own.values())


def format_cost(tuning: Tuning, runs: int, seconds: float) -> str:
    """Number of runs and predicted time of the search."""
    trials, seeds = [each.trials for each in tuning.variants], len(tuning.experiment.search.seeds)
    each = " or ".join(map(str, sorted(set(trials))))
    whole = f"{len(trials)} variants x {each} trials x {seeds} seeds = {sum(trials) * seeds} runs"
    if not tuning.left:
        return f"{whole}: all trials are finished; nothing to do."
    return f"{whole}, {runs} of them to make, about {format_time_left(seconds)}; less if trials are pruned."


def tuning_table(tuning: Tuning) -> pd.DataFrame:
    """One row per trial: variant, trial, hyperparameters, mean validation metric, number of seeds, state."""
    measure = tuning.experiment.search.metric.rpartition("/")[2]
    rows = [
        {"variant": each.variant, "trial": t.number, **t.values, measure: t.mean}
        | {"seeds": len(t.seeds), "state": t.state}
        for each in tuning.variants
        for t in each.counted
    ]
    return pd.DataFrame(rows)


def tuning_facts(tuning: Tuning) -> dict[str, Any]:
    """Settings of the search, and the importance of the fields for each variant."""
    experiment, runs = tuning.experiment, tuning.tracker.runs(tuning.name, tuning.scale, "FINISHED")
    mine = [run for run in runs if run.parent == tuning.parent]
    return {
        "experiment": experiment.name,
        "scale": tuning.scale,
        "level": {experiment.factor: tuning.variants[0].level} if experiment.factor else {},
        "measure": experiment.search.metric,
        "budget": min(each.trials for each in tuning.variants),
        "seeds": list(experiment.search.seeds),
        "space": format_space(experiment.search.space),
        "space_of": {variant: format_space(space) for variant, space in experiment.search.for_variants.items()},
        "sampler": "tree-structured Parzen estimator (Optuna's TPESampler); the first trial is the recipe there was",
        "pruner": f"Wilcoxon signed-rank test against the best trial, over seeds, p < {HOPELESS}",
        "importance_method": IMPORTANCE,
        "importance": {each.variant: each.search.importance(each.trials) for each in tuning.variants},
        "commits": sorted({run.tags.get("lab.commit", "") for run in mine}),
        "dirty_runs": sum(run.tags.get("lab.dirty") == "true" for run in mine),
    }
