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

from ulmfit_lab.analysis.spec import ReportSpec
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
NEWER = ("classifier.second_model",)
"""Fields that are younger than the first registrations. At their default they are left out of fingerprints, so that a
declaration that does not name them is what it was."""


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
    for each in run_specs(experiment, scale, overrides):
        left_out = {*UNREAD, *(set(NEWER) - non_defaults(each.config).keys())}
        read = {path: value for path, value in flatten(each.config).items() if path not in left_out}
        configs.setdefault(each.variant, []).append(read)
    return {
        "question": spec.question,
        "metric": spec.metric,
        "contrasts": [list(pair) for pair in spec.chosen_pairs],
        "primary": [list(each) for each in spec.primary],
        "margins": [[m.variant, m.against, m.value] for m in spec.margins],
        "smallest_difference": spec.smallest_difference,
        "levels": list(spec.levels),
        "seeds": list(spec.seeds),
        "looks": list(spec.looks),
        "configs": {variant: fingerprint(found) for variant, found in configs.items()},
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
    """The specification of a report with what was changed since the registration; unchanged without one."""
    if not text:
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
    for name in ("question", "metric", "smallest_difference"):
        if first.get(name) != now[name]:
            yield f"{name.replace('_', ' ')} {first.get(name)!r} -> {now[name]!r}"
    for name in ("contrasts", "primary", "margins", "levels", "seeds", "looks"):
        was, has = ([words(each) for each in facts.get(name, [])] for facts in (first, now))
        added, dropped = ([each for each in a if each not in b] for a, b in ((has, was), (was, has)))
        yield from (f"{name} added: {', '.join(added)}" for _ in range(bool(added)))
        yield from (f"{name} dropped: {', '.join(dropped)}" for _ in range(bool(dropped)))
    for variant, config in now["configs"].items():
        if variant not in first["configs"]:
            yield f"variant added: {variant}"
        elif (
            first["configs"][variant] != config and first["levels"] == now["levels"] and first["seeds"] == now["seeds"]
        ):
            yield f"config of {variant} changed"
    yield from (f"variant dropped: {variant}" for variant in first["configs"] if variant not in now["configs"])


def exploratory_contrasts(
    first: Mapping[str, Any], now: Mapping[str, Any], spec: ReportSpec
) -> Iterable[tuple[str, str, str]]:
    """The tested contrasts that were not declared as they are now before the first run."""
    changed_all = first["looks"] != now["looks"] or first["metric"] != now["metric"]
    same_grid = first["levels"] == now["levels"] and first["seeds"] == now["seeds"]
    for variant, against in spec.pairs:
        configs = [(first["configs"].get(name), now["configs"].get(name)) for name in (variant, against)]
        other = any(was is None or (same_grid and was != has) for was, has in configs)
        for level in spec.levels:
            if changed_all or other or [variant, against] not in first["contrasts"] or level not in first["levels"]:
                yield variant, against, level


def words(value: Any) -> str:
    """An entry of a list of facts."""
    return " - ".join(map(str, value)) if isinstance(value, list) else str(value)
