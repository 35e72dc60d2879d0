"""The sections of a report with associations, as text."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from ulmfit_lab.analysis.association import (
    Correlations,
    Estimate,
    Outcome,
    Stability,
    correlations_of,
    steadiness_of,
)
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.report.association_words import (
    association_parts,
    caution,
    format_correlation,
    format_interval,
    format_percent,
    format_signed,
    format_stability,
)
from ulmfit_lab.report.tables import markdown_report, print_report

Associated = tuple[pd.DataFrame, ReportSpec]


def told(main: Outcome, check: Outcome) -> dict[str, Correlations]:
    each = Estimate(0.6, 0.4, 0.8), Estimate(-0.1, -0.3, 0.1)
    return {
        name: Correlations(each, Estimate(-0.5, -0.9, -0.1), 8, outcome)
        for name, outcome in (("Spearman", main), ("Kendall", check))
    }


def test_the_sections_stand_after_the_comparisons_and_hold_numbers_intervals_and_verdicts(
    associated: Associated,
) -> None:
    runs, spec = associated
    grid = check_grid(runs, spec)
    text = markdown_report(grid, spec)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles[1:] == ["## Comparisons", "## Variability", "## Correlation with the outcome", "## Runs"]
    (seeds, _), found = steadiness_of(grid, spec), correlations_of(grid, spec)["Spearman"]
    noise = seeds.noises[1]
    assert (
        f"| seeds | accuracy | {noise.between:.3f} points | {noise.within:.3f} points | {100 * noise.share.value:.1f} "
        f"| {100 * noise.share.low:.1f} to {100 * noise.share.high:.1f} | 8 |"
    ) in text
    assert f"(ratio {seeds.ratio.value:.2f}, 95% CI {seeds.ratio.low:.2f} to {seeds.ratio.high:.2f}).**" in text
    assert (
        f"| perplexity | {found.each[0].value:+.2f} | {found.each[0].low:+.2f} to {found.each[0].high:+.2f} |" in text
    )
    assert "**Variability over seeds: accuracy varies more than perplexity (ratio " in text
    assert "**Correlation with the outcome: weaker for accuracy than for perplexity (Spearman: perplexity +" in text


def test_a_model_whose_training_diverged_is_left_out_and_named(associated: Associated) -> None:
    runs, spec = associated
    assert spec.associations
    ill = (runs["variant"] == spec.models[2]) & (runs["seed"] == 1)
    grid = check_grid(runs.assign(diverged=ill.map({True: "its loss rose", False: ""})), spec)
    (seeds, *_), found = steadiness_of(grid, spec), correlations_of(grid, spec)["Spearman"]
    assert seeds.models == found.models == len(spec.models) - 1
    others = tuple(model for model in spec.models if model != spec.models[2])
    without = replace(spec, associations=replace(spec.associations, variants=others))
    assert found == correlations_of(check_grid(runs, spec), without)["Spearman"]
    named = f"Left out of variability and correlations: {spec.models[2]} (1 of 6 runs diverged)."
    assert named in markdown_report(grid, spec)
    assert named not in markdown_report(check_grid(runs, spec), spec)


def test_a_report_without_associations_has_no_such_section(runs: pd.DataFrame, spec: ReportSpec) -> None:
    assert association_parts(check_grid(runs, spec), spec) == []


def test_the_terminal_tells_the_verdicts(associated: Associated) -> None:
    console = Console(file=io.StringIO(), width=400)
    print_report(*associated, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("over seeds: accuracy varies more", "over last epochs: accuracy", "weaker for accuracy than for"):
        assert words in shown


@pytest.mark.parametrize(
    ("models", "seeds", "words"),
    [(5, 6, "no claim from 5 variants (at least 6 are needed)"), (8, 5, "no claim from fewer than 6 seeds")],
)
def test_too_few_models_or_seeds_claim_nothing(
    associated_of: Callable[..., Associated], models: int, seeds: int, words: str
) -> None:
    runs, spec = associated_of(models=models, seeds=seeds)
    text = markdown_report(check_grid(runs, spec), spec)
    assert f"**Variability over seeds: {words} (ratio " in text
    assert f"**Correlation with the outcome: {words} (Spearman" in text
    assert "varies" not in text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("less", "Variability over seeds: accuracy varies less than perplexity (ratio 0.50, 95% CI 0.25 to 1.00)."),
        ("more", "Variability over seeds: accuracy varies more than perplexity (ratio "),
        ("no difference shown", "Variability over seeds: no difference shown between accuracy and perplexity (ratio "),
    ],
)
def test_variability_in_words(associated: Associated, outcome: Outcome, words: str) -> None:
    runs, spec = associated
    assert spec.associations is not None
    seeds: Stability = steadiness_of(check_grid(runs, spec), spec)[0]
    found = replace(seeds, outcome=outcome, ratio=Estimate(0.5, 0.25, 1.0))
    assert format_stability(found, spec.associations).startswith(words)


def test_a_check_that_says_otherwise_is_told(associated: Associated) -> None:
    declared = associated[1].associations
    assert declared is not None
    agreed = format_correlation(told("less", "less"), declared)
    assert agreed == (
        "Correlation with the outcome: weaker for accuracy than for perplexity (Spearman: perplexity +0.60; accuracy "
        "-0.10, not significant)."
    )
    doubted = format_correlation(told("less", "no difference shown"), declared)
    assert doubted == f"{agreed} Kendall: no difference shown between accuracy and perplexity."


def test_a_correlation_of_unexpected_sign_is_marked() -> None:
    up, down = Estimate(0.5, 0.2, 0.7), Estimate(-0.5, -0.7, -0.2)
    assert (caution(up, True), caution(down, False)) == ("", "")
    assert caution(up, False) == caution(down, True) == ", unexpected sign"
    assert caution(Estimate(0.1, -0.2, 0.4), True) == ", not significant"


def test_a_constant_metric_is_not_compared(associated: Associated) -> None:
    runs, spec = associated
    text = markdown_report(check_grid(runs.assign(**{"final/lm_accuracy": 0.25}), spec), spec)
    assert "**Variability over seeds: no comparison, since a metric is constant.**" in text
    assert "| accuracy | unknown |  | unknown |  |" in text


def test_cells() -> None:
    assert (format_signed(-0.001), format_signed(math.nan), format_percent(0.1234), format_percent(math.nan)) == (
        "+0.00",
        "unknown",
        "12.3",
        "unknown",
    )
    assert format_interval(Estimate(0.5, math.nan, math.nan), format_signed) == ""
