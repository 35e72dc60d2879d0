"""Runs are compared by the rules of a report: replicates, divergence and checks decide what is claimed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ulmfit_lab.analysis.comparisons import Comparison
from ulmfit_lab.analysis.spec import ManipulationCheck
from ulmfit_lab.runs.compare import judged, paired_row, recipe_of
from ulmfit_lab.tracking.records import DIVERGED, TrackedRun
from ulmfit_lab.training.metrics import find_metric

ERROR = find_metric("final/error")
CHECK = ManipulationCheck("final/above_majority", statement="learns", at_least=0.1)


def run_of(variant: str, seed: int, model: str, **tags: str) -> TrackedRun:
    """A finished run that started from a language model; b is better than a by 5 to 5.7 points."""
    error = 0.30 + 0.01 * seed - (0.05 + 0.001 * seed) * (variant == "b")
    return TrackedRun(
        run_id=f"{variant}{seed}",
        status="FINISHED",
        name=f"{variant}, seed {seed}",
        experiment="declared",
        scale="tiny",
        variant=variant,
        level="",
        seed=seed,
        fingerprint=f"{variant}{seed}",
        parent="",
        params={"seed": str(seed), "pretraining.seed": str(seed % 4), "fine_tuning.seed": str(seed % 4)},
        metrics={"final/error": error, "final/above_majority": 0.05 if variant == "a" else 0.4},
        tags={"stage.fine-tuned": model, **tags},
        inputs=(),
        start=seed,
        end=seed + 1,
    )


def compare(own: list[TrackedRun], reference: list[TrackedRun], **checks: ManipulationCheck) -> Comparison:
    """Their comparison."""
    return paired_row(own, reference, ERROR, checks)


@pytest.mark.parametrize(("models", "n"), [(8, 8), (4, 4), (2, 2)])
def test_runs_that_share_a_language_model_are_one_replicate(models: int, n: int) -> None:
    a, b = ([run_of(name, seed, f"{name}{seed % models}") for seed in range(8)] for name in "ab")
    row = compare(b, a)
    assert (row.result.n, row.pairs, row.why) == (n, 8, "")
    assert row.result.difference == pytest.approx(-5.35)
    assert judged(row, row.result.p, ERROR) == "better"


def test_one_language_model_replicates_nothing() -> None:
    a, b = ([run_of(name, seed, name) for seed in range(8)] for name in "ab")
    row = compare(b, a)
    assert (row.verdict, row.why, row.result.n) == ("not replicated", "1 fine-tuned language model", 1)


def test_a_model_that_both_sides_start_from_is_no_treatment() -> None:
    a, b = ([run_of(name, seed, "shared") for seed in range(8)] for name in "ab")
    assert compare(b, a).result.n == 8


def test_a_side_without_a_language_model_shares_none() -> None:
    a = [replace(run_of("a", seed, ""), tags={}) for seed in range(8)]
    b = [run_of("b", seed, f"b{seed}") for seed in range(8)]
    for row in (compare(b, a), compare(a, b)):
        assert (row.result.n, row.pairs, row.why) == (8, 8, "")


def test_diverged_runs_and_failed_checks_are_void() -> None:
    a = [run_of("a", seed, f"a{seed}") for seed in range(8)]
    b = [run_of("b", seed, f"b{seed}", **({DIVERGED: "its loss rose"} if seed < 4 else {})) for seed in range(8)]
    row = compare(b, a, a=CHECK)
    assert (row.verdict, row.why) == ("void", "b: 4 of 8 runs diverged; a: learns in 0 of 8 runs")


def test_the_seed_of_a_shared_language_model_is_no_difference_of_recipes() -> None:
    one, other = run_of("a", 1, "a"), run_of("a", 6, "a")
    assert recipe_of(one, 4) == recipe_of(other, 4) == {}
    assert recipe_of(one, None) != recipe_of(other, None), "without shared models, seeds of stages are a recipe's"
