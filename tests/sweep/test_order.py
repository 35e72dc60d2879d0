"""The order in which a sweep executes its missing runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.experiment.plan import Plan
from ulmfit_lab.pipeline.store import Observer, StageStore
from ulmfit_lab.sweep.runner import order_runs, plan_sweep
from ulmfit_lab.utils.locks import hold_lock

VARIANTS = {
    "random": {"classifier.init": "random"},
    "frozen": {"classifier.unfreeze": "last", "classifier.init": "fine-tuned"},
    "fine-tuned": {"classifier.init": "fine-tuned"},
}


def make_plan(lab: Any, experiment: Experiment) -> Plan:
    """Plan a language model for each seed, with the tokens and vocabularies that all runs share already computed."""
    scales = {"tiny": {**experiment.scales["tiny"], "pretraining.seed": None, "fine_tuning.seed": None}}
    experiment = replace(experiment, variants=VARIANTS, scales=scales)
    store = StageStore(lab.home.stages)
    for run in plan_sweep(experiment, "tiny", {}, lab.home, None, lab.tracker).todo:
        for stage in run.stage.ancestry():
            if stage.kind in ("tokens", "vocabulary"):
                store.get_or_compute(stage, Observer())
    return plan_sweep(experiment, "tiny", {}, lab.home, None, lab.tracker)


def names(runs: Any) -> list[tuple[str, int]]:
    """Variant and seed of each run."""
    return [(run.run_spec.variant, run.run_spec.seed) for run in runs]


def test_seeds_come_in_order_and_the_longest_run_of_a_seed_first(lab: Any, experiment: Experiment) -> None:
    plan = make_plan(lab, experiment)
    store = StageStore(lab.home.stages)
    seconds = {
        run.run_spec.variant: sum(plan.seconds_of[each.fingerprint] for each in store.missing(run.stage))
        for run in plan.todo
        if run.run_spec.seed == 0
    }
    found = names(order_runs(plan, store, lambda cell: False))
    assert [seed for _, seed in found] == [0, 0, 0, 1, 1, 1]
    longest_first = sorted(seconds, key=lambda variant: -seconds[variant])
    assert [variant for variant, _ in found] == longest_first * 2
    assert longest_first[-1] == "random", "it has no language model to train"


def test_a_run_waits_if_another_process_has_begun_one_that_trains_its_language_model(
    lab: Any, experiment: Experiment
) -> None:
    """Before that process holds the lock of the stage: it holds that of the run."""
    plan = make_plan(lab, experiment)
    store = StageStore(lab.home.stages)
    by_name = dict(zip(names(plan.todo), plan.todo, strict=True))
    elsewhere = by_name["frozen", 0].stage.fingerprint
    found = names(order_runs(plan, store, lambda cell: cell == elsewhere))
    assert found[0] == ("random", 0), "the fine-tuned classifier of seed 0 needs a language model that is being trained"
    assert found.index(("fine-tuned", 1)) < found.index(("fine-tuned", 0)) < found.index(("frozen", 0))
    assert sorted(found) == sorted(by_name), "every run is yielded once"


def test_a_run_waits_if_another_sweep_is_computing_its_stage(lab: Any, experiment: Experiment) -> None:
    plan = make_plan(lab, experiment)
    store = StageStore(lab.home.stages)
    by_name = dict(zip(names(plan.todo), plan.todo, strict=True))
    (model,) = (each for each in by_name["frozen", 0].stage.ancestry() if each.kind == "fine-tuned")
    with hold_lock(store.root / f"{model.kind}-{model.fingerprint}.lock"):
        found = names(order_runs(plan, store, lambda cell: False))
    assert found[:1] == [("random", 0)] and set(found[-2:]) == {("fine-tuned", 0), ("frozen", 0)}
