"""What an experiment declared when the first run of its first sweep started, and what was changed after that.

The declaration is kept with its time and commit as a tag of every run, which travels with it, and beside committed
results as `registered.json`. A report marks as exploratory what was declared later (Nosek et al. 2018, "The
preregistration revolution").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ulmfit_lab.analysis.spec import FEWEST_SEEDS, ReportSpec
from ulmfit_lab.config.paths import fingerprint, flatten, non_defaults
from ulmfit_lab.experiment.declaration import Changes, Experiment, run_specs
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.tracking.names import LONGEST_TAG
from ulmfit_lab.tracking.records import REGISTERED, TrackedRun
from ulmfit_lab.utils.errors import ConfigError, DataError
from ulmfit_lab.utils.files import json_text

FILE = "registered.json"
UNREAD = ("compute.threads", "compute.device")
"""Fields that may be changed without a mark: they are about the machine."""
NEWER = ("classifier.second_model", "classifier.mask_per_window", "mark_capitals")
"""Fields that are younger than the first registrations. At their default they are left out of fingerprints, so that a
declaration that does not name them is what it was."""
SHARED_SEEDS = ("pretraining.seed", "fine_tuning.seed")
"""Fields that differ between the seeds of a variant if these share language models."""


@dataclass(frozen=True)
class Registration:
    """The first declaration of an experiment at a scale."""

    time: str
    """When the first sweep started, in UTC."""
    commit: str
    runs_before: int
    """Finished runs that were tracked already: 0 if it was declared before the first one."""
    facts: Mapping[str, Any]
    """What was declared: see `declared_facts`."""


def declared_facts(experiment: Experiment, scale: str, overrides: Changes | None) -> dict[str, Any]:
    """What decides which comparisons are made of which runs, as JSON: names, and fingerprints of the configs."""
    spec = make_report_spec(experiment, scale, overrides)
    configs: dict[str, list[Any]] = {}
    recipes: dict[str, dict[str, str]] = {}
    for each in run_specs(experiment, scale, overrides):
        left_out = {*UNREAD, *(set(NEWER) - non_defaults(each.config).keys())}
        read = {path: value for path, value in flatten(each.config).items() if path not in left_out}
        configs.setdefault(each.variant, []).append(read)
        if each.level_name not in (of_levels := recipes.setdefault(each.variant, {})):
            of_seed = SHARED_SEEDS if spec.language_models else ()
            of_levels[each.level_name] = fingerprint({k: v for k, v in read.items() if k not in of_seed})
    return {
        "question": spec.question,
        "metric": spec.metric,
        "contrasts": [list(pair) for pair in spec.pairs],
        "primary": [list(each) for each in spec.primary],
        "margins": [[m.variant, m.against, m.value] for m in spec.margins],
        "checks": [[variant, each.metric, each.at_least, each.at_most] for variant, each in spec.checks],
        "smallest_difference": spec.smallest_difference,
        "language_models": spec.language_models,
        "levels": list(spec.levels),
        "seeds": list(spec.seeds),
        "looks": list(spec.looks),
        "configs": {variant: fingerprint(found) for variant, found in configs.items()},
        "recipes": recipes,
    }


def register(
    experiment: Experiment, scale: str, overrides: Changes | None, runs: Iterable[TrackedRun], commit: str
) -> str:
    """The registration of a sweep that is about to start, as text: that of its first sweep, if runs have one.

    runs: all tracked runs of the experiment at the scale

    Raises ConfigError for a declaration that is too long to be kept.
    """
    known = list(runs)
    if first := registered_in(known):
        return first
    before = sum(run.status == "FINISHED" for run in known)
    facts = declared_facts(experiment, scale, overrides)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    text = json_text({"time": now, "commit": commit, "runs_before": before, "facts": facts})
    if len(text) > LONGEST_TAG:
        raise ConfigError(f"{experiment.name} declares more than a tag of MLflow holds; split it into two experiments.")
    return text


def registered_in(runs: Iterable[TrackedRun]) -> str:
    """The registration that the oldest of the runs that have one was made by; empty if none has one."""
    found = [run for run in runs if run.tags.get(REGISTERED)]
    return min(found, key=lambda run: run.start).tags[REGISTERED] if found else ""


def parse_registration(text: str, where: str) -> Registration:
    """The registration that a text holds; raises DataError, naming where it is from, if it is none."""
    try:
        found = json.loads(text)
        facts = found["facts"]
        known = {"question", "metric", "contrasts", "levels", "seeds", "looks", "configs"}
        if not known <= facts.keys():
            raise ValueError(f"it lacks {', '.join(sorted(known - facts.keys()))}")
        return Registration(str(found["time"]), str(found["commit"]), int(found["runs_before"]), facts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where} holds no registration of an experiment ({error}); restore or delete it.") from error


def read_registration(folder: Path) -> str:
    """The text of a results folder's registration; empty if it has none."""
    path = folder / FILE
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def with_registration(
    spec: ReportSpec, text: str, experiment: Experiment, overrides: Changes | None, where: str
) -> ReportSpec:
    """The specification of a report with what was changed since the registration.

    Unchanged without one, and with overrides, which make another experiment: its sweeps are not registered.
    """
    if not text or overrides:
        return spec
    first = parse_registration(text, where)
    now = declared_facts(experiment, spec.scale, overrides)
    return replace(
        spec,
        registered=describe_registration(first),
        changed=tuple(changes_since(first.facts, now)),
        exploratory=tuple(exploratory_contrasts(first.facts, now, spec)),
        # without looks, the first declaration is a fixed test of all its seeds
        tested_seeds=len(first.facts["seeds"]) if spec.looks and not first.facts["looks"] else 0,
    )


def describe_registration(first: Registration) -> str:
    """When it was declared, in a sentence."""
    commit = f", commit {first.commit[:10]}" if first.commit else ""
    when = "before the first run" if not first.runs_before else f"when {first.runs_before} runs were finished already"
    return f"Declared {first.time} UTC{commit}, {when}."


def changes_since(first: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    """What was changed in the declaration, each in a few words."""
    for name in ("question", "metric", "smallest_difference", "language_models"):
        if name in first and first[name] != now[name]:
            yield f"{name.replace('_', ' ')} {first[name]!r} -> {now[name]!r}"
    for name in ("contrasts", "primary", "margins", "checks", "levels", "seeds", "looks"):
        added, dropped = added_and_dropped(first, now, name)
        for change, entries in (("added", added), ("dropped", dropped)):
            if entries:
                yield f"{name} {change}: {', '.join(map(words, entries))}"
    for variant in now["configs"]:
        if variant not in first["configs"]:
            yield f"variant added: {variant}"
        elif any(is_recipe_changed(first, now, variant, level) for level in now["levels"]):
            yield f"config of {variant} changed"
    yield from (f"variant dropped: {variant}" for variant in first["configs"] if variant not in now["configs"])


def added_and_dropped(first: Mapping[str, Any], now: Mapping[str, Any], name: str) -> tuple[list[Any], list[Any]]:
    """The entries of a list of facts that are new, and those that are gone; none if the list was not recorded."""
    if name not in first:
        return [], []
    was, has = first[name], now[name]
    return [each for each in has if each not in was], [each for each in was if each not in has]


def is_recipe_changed(first: Mapping[str, Any], now: Mapping[str, Any], variant: str, level: str) -> bool:
    """Whether a variant's config at a level is another one; False for a level that was not declared."""
    if "recipes" in first:
        was, has = (facts["recipes"].get(variant, {}).get(level) for facts in (first, now))
        return was is not None and was != has
    # an early record has one fingerprint of a variant's configs over all levels and seeds
    same_grid = first["levels"] == now["levels"] and first["seeds"] == now["seeds"]
    return variant in first["configs"] and same_grid and bool(first["configs"][variant] != now["configs"][variant])


def exploratory_contrasts(
    first: Mapping[str, Any], now: Mapping[str, Any], spec: ReportSpec
) -> Iterable[tuple[str, str, str]]:
    """The tested contrasts whose verdict a change since the first run may have decided.

    That is each contrast if the metric, the looks or the primary family was changed, or if seeds were added after a
    test; one that was added, or whose variant, recipe, check or margin was changed; and, where contrasts or levels were
    dropped, each that is corrected together with them.
    """
    changed_all, others = is_family_changed(first, now), changed_variants(first, now)
    dropped = any(added_and_dropped(first, now, name)[1] for name in ("contrasts", "levels"))
    for variant, against in spec.pairs:
        changed = {variant, against} & others or is_margin_changed(first, now, variant, against)
        for level in spec.levels:
            recipe = any(is_recipe_changed(first, now, name, level) for name in (variant, against))
            added = [variant, against] not in first["contrasts"] or level not in first["levels"]
            smaller_family = dropped and (variant, against, level) not in spec.primary
            if changed_all or changed or recipe or added or smaller_family:
                yield variant, against, level


def is_family_changed(first: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether something was changed that every verdict depends on."""
    changed = any(
        name in first and first[name] != now[name] for name in ("metric", "looks", "primary", "language_models")
    )
    further = added_and_dropped(first, now, "seeds")[0] and not now["looks"]
    # with fewer, there was no test to be followed by another one
    return changed or bool(further and len(first["seeds"]) >= FEWEST_SEEDS)


def changed_variants(first: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Variants that were added, or whose manipulation check was changed."""
    added, dropped = added_and_dropped(first, now, "checks")
    return {variant for variant, *_ in (*added, *dropped)} | (now["configs"].keys() - first["configs"].keys())


def is_margin_changed(first: Mapping[str, Any], now: Mapping[str, Any], variant: str, against: str) -> bool:
    """Whether the margin of a contrast was changed."""
    added, dropped = added_and_dropped(first, now, "margins")
    return any({one, other} == {variant, against} for one, other, _ in (*added, *dropped))


def words(value: Any) -> str:
    """An entry of a list of facts."""
    return " - ".join(map(str, value)) if isinstance(value, list) else str(value)
