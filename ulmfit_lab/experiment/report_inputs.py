"""Table of runs and report specification, from tracked runs and a declaration."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.config.scales import WIDE
from ulmfit_lab.experiment.declaration import Changes, Experiment, run_specs
from ulmfit_lab.tracking.records import LOOKS, TrackedRun
from ulmfit_lab.training.metrics import find_metric
from ulmfit_lab.utils.errors import ConfigError

FACTS = ("run_id", "status", "experiment", "scale", "variant", "level", "seed")


def runs_table(runs: Iterable[TrackedRun]) -> pd.DataFrame:
    """One row per run: identity, provenance, cost, metrics, params (`param/`) and data digests (`data/`)."""
    rows = [run_row(run) for run in runs]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(FACTS))


def run_row(run: TrackedRun) -> dict[str, object]:
    """Row of a run."""
    identity = {name: getattr(run, name) for name in FACTS} | {"run_id": run.origin, "cell": run.fingerprint}
    identity |= {"commit": run.tags.get("lab.commit", ""), "dirty": run.tags.get("lab.dirty", "")}
    cost = {k: run.metrics.get(f"cost/{k}", float("nan")) for k in ("computed_seconds", "reused_seconds")}
    values = {k: v for k, v in sorted(run.metrics.items()) if k.startswith(("final/", "best/"))}
    stages = {f"stage/{k.removeprefix('stage.')}": v for k, v in sorted(run.tags.items()) if k.startswith("stage.")}
    params = {f"param/{k}": v for k, v in sorted(run.params.items())} | {
        "param/vocabulary": run.tags.get("vocabulary", "")
    }
    data: dict[str, str] = {}
    for name, digest, _, _ in sorted(run.inputs):  # files in different folders may have the same name
        data[f"data/{name}"] = f"{data.get(f'data/{name}', '')} {digest}".strip()
    diverged = {"diverged": run.diverged} if run.diverged else {}
    return identity | cost | values | stages | params | data | diverged


def looks_tag(experiment: Experiment) -> dict[str, str]:
    """Tag with the interim analyses of an experiment; empty if there are none."""
    return {LOOKS: ", ".join(map(str, experiment.design.looks))} if experiment.design.looks else {}


def check_looks_unchanged(runs: Iterable[TrackedRun], experiment: Experiment) -> None:
    """Raise ConfigError if a run was made with other interim analyses, since p would not be valid."""
    planned = looks_tag(experiment).get(LOOKS)
    for looks in (run.tags[LOOKS] for run in runs if planned and LOOKS in run.tags):
        if looks != planned:
            raise ConfigError(
                f"{experiment.name}: runs were planned with looks after {looks} seeds, not after {planned}; p and "
                "intervals are not valid for other looks. Use those (--max-seeds, --batch-seeds), or another --home."
            )


def primary_contrasts(experiment: Experiment, scale: str) -> tuple[tuple[str, str, str], ...]:
    """The declared primary contrasts whose level the scale has, with the level as text."""
    levels = ["" if level is None else str(level) for level in experiment.levels_at(scale)]
    named = [(v, a, levels[-1] if level is None else str(level)) for v, a, level in experiment.design.primary]
    return tuple(each for each in named if each[2] in levels)


def primary_left_out(declared: int, found: int) -> list[str]:
    """A note if a scale lacks the level of some of its declared primary contrasts."""
    if found == declared:
        return []
    rest = "" if found else ": all contrasts are one family"
    return [f"The levels of {declared - found} of {declared} primary contrasts are not run here{rest}."]


def make_report_spec(experiment: Experiment, scale: str, overrides: Changes | None = None) -> ReportSpec:
    """Specification of the report at a scale."""
    declared, measure = run_specs(experiment, scale, overrides), find_metric(experiment.metric)
    primary = primary_contrasts(experiment, scale)
    if experiment.report.against_compute and not all(each.config.general.max_tokens for each in declared):
        raise ConfigError(
            f"{experiment.name}: the compute of runs is told from general.max_tokens, which is 0 (all) in some; set it "
            "in every run, or remove `against_compute`."
        )
    return ReportSpec(
        name=experiment.name,
        scale=scale,
        question=experiment.question,
        claim=experiment.claim,
        source=experiment.source,
        baseline=experiment.baseline,
        variants=tuple(experiment.variants),
        levels=tuple(dict.fromkeys(c.level_name for c in declared)),
        level_name=experiment.factor.rsplit(".", 1)[-1],
        level_label=experiment.report.factor_label,
        seeds=tuple(experiment.seeds),
        metric=measure.name,
        metric_label=measure.label,
        metric_scale=measure.scale,
        lower_is_better=measure.lower_is_better,
        reference=experiment.report.reference,
        contrasts=tuple(experiment.design.contrasts),
        published=tuple(experiment.report.published),
        notes=(*experiment.report.notes, *primary_left_out(len(experiment.design.primary), len(primary))),
        associations=experiment.report.associations,
        against_compute=experiment.report.against_compute,
        extra_metrics=tuple(experiment.report.extra_metrics),
        looks=tuple(experiment.design.looks),
        checks=tuple(experiment.design.checks.items()),
        primary=primary,
        margins=tuple(experiment.design.margins),
        smallest_difference=experiment.design.smallest_difference,
        language_models=experiment.design.language_models,
        expected={"small": experiment.design.expected, WIDE: experiment.design.wide}.get(scale),
        efficiency=tuple(experiment.design.efficiency),
    )
