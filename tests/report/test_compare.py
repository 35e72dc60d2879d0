"""Results of the small grid, and the words made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from ulmfit_lab.analysis.comparisons import (
    Comparison,
    compare_variants,
    compatibility,
    group_by_answer,
    headline,
    summarize_variants,
    values,
)
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.spec import Published, ReportSpec
from ulmfit_lab.analysis.statistics import PairedResult, Verdict, compare_paired


def row(words: Verdict, variant: str = "word2vec", level: str = "100", difference: float = -1.0) -> Comparison:
    return Comparison(level, variant, "random", PairedResult(difference, -2.0, 0.5, 1.0, 0.1, 6), 0.1, words, None)


def test_values_are_scaled_and_in_the_order_of_the_seeds(
    runs: pd.DataFrame, spec_with: Callable[..., ReportSpec]
) -> None:
    spec = spec_with(seeds=(5, 0))
    grid = check_grid(runs, spec)
    by_seed = runs[(runs["variant"] == "word2vec") & (runs["level"] == "1000")].set_index("seed")["final/error"]
    assert values(grid, spec, "word2vec", "1000") == [by_seed[5] * 100, by_seed[0] * 100]


def test_pairs_share_their_seed(runs: pd.DataFrame, spec: ReportSpec) -> None:
    first, second = compare_variants(check_grid(runs.sample(frac=1, random_state=1), spec), spec)
    by_cell = runs.set_index(["variant", "level", "seed"])["final/error"]
    for found in (first, second):
        a, b = ([100 * by_cell[v, found.level, s] for s in spec.seeds] for v in ("word2vec", "random"))
        assert found.result == compare_paired(a, b)
    assert first.result.difference == pytest.approx(-5.0)
    assert (first.level, first.verdict, second.level, second.verdict) == ("100", "better", "1000", "better")


def test_all_comparisons_are_corrected_together(runs: pd.DataFrame, spec: ReportSpec) -> None:
    found = compare_variants(check_grid(runs, spec), spec)
    low, high = sorted(r.result.p for r in found)
    assert sorted(r.corrected_p for r in found) == pytest.approx([2 * low, max(2 * low, high)])


def test_each_variant_is_compared_with_the_baseline_by_default(spec_with: Callable[..., ReportSpec]) -> None:
    assert spec_with(contrasts=()).pairs == (("word2vec", "random"), ("tf-idf", "random"))


def test_a_published_pair_is_tested_once_whichever_way_it_was_declared(spec_with: Callable[..., ReportSpec]) -> None:
    def published(variant: str, against: str) -> Published:
        return Published(variant=variant, against=against, what="", value=1.0, source="")

    spec = spec_with(published=(published("random", "word2vec"), published("tf-idf", "word2vec")))
    assert spec.pairs == (("word2vec", "random"), ("tf-idf", "word2vec"))


def test_a_published_figure_is_answered_the_way_it_was_put(runs: pd.DataFrame, spec: ReportSpec) -> None:
    rows = compare_variants(check_grid(runs, spec), spec)
    turned = Published(variant="random", against="word2vec", what="", value=2.5, source="")
    straight = rows[0].result
    found = group_by_answer(rows, turned)[0]
    assert found.verdict == "worse"
    assert (found.result.difference, found.result.low) == (-straight.difference, -straight.high)
    inside = replace(turned, value=found.result.difference)
    assert compatibility(inside, found, 30.0) == "compatible"
    assert compatibility(replace(turned, value=-2.5), found, 30.0) == "not compatible"


def test_a_published_difference_is_compatible_where_the_interval_holds_it_and_not_zero() -> None:
    def published(value: float, **facts: float) -> Published:
        return Published(variant="word2vec", against="random", what="", value=value, source="", **facts)

    def found(low: float, high: float, **facts: Any) -> Comparison:
        result = PairedResult((low + high) / 2, low, high, 1.0, 0.1, 6)
        return replace(row("better"), result=result, **facts)

    assert compatibility(published(-1.0), found(-2.0, -0.5), 30.0) == "compatible"
    assert compatibility(published(-3.0), found(-2.0, -0.5), 30.0) == "not compatible"
    assert compatibility(published(-1.0), found(-2.0, 0.5), 30.0) == "cannot tell"
    assert compatibility(published(-1.0), found(-2.0, -0.5, why="1 language model"), 30.0) == "cannot tell"
    # by hand: 74.9 / 65.8 is 1.138; of 100 here, 10 to 20 more are 1.10 to 1.20, and 9.1 is not among them
    assert compatibility(published(9.1), found(10.0, 20.0), 100.0) == "not compatible"
    assert compatibility(published(9.1, against_value=65.8), found(10.0, 20.0), 100.0) == "compatible"


def test_headline_gathers_variants_of_one_outcome(spec: ReportSpec) -> None:
    rows = [row("better", v, level) for v in ("word2vec", "tf-idf") for level in spec.levels]
    assert headline(rows, spec) == (
        "Over 6 paired seeds, word2vec and tf-idf are better than random at every level of labels."
    )


def test_headline_names_the_levels_of_each_outcome(spec: ReportSpec) -> None:
    rows = [row("no difference shown", level="100"), row("worse", level="1000")]
    assert headline(rows, spec) == (
        "Over 6 paired seeds, word2vec is worse than random at labels 1,000; "
        "no difference is shown between word2vec and random at labels 100."
    )


def test_headline_without_levels(spec_with: Callable[..., ReportSpec]) -> None:
    spec = spec_with(levels=("",), level_name="")
    assert headline([row("better", level="")], spec) == "Over 6 paired seeds, word2vec is better than random."


def test_headline_of_too_few_seeds_claims_nothing(spec_with: Callable[..., ReportSpec]) -> None:
    words = headline([row("too few seeds")], spec_with(seeds=(0, 1)))
    assert words.startswith("2 seeds are too few for a claim (6 are needed)")
    assert "better" not in words


def test_one_seed_has_a_mean_and_no_spread(
    runs_of: Callable[[ReportSpec], pd.DataFrame], spec_with: Callable[..., ReportSpec]
) -> None:
    spec = spec_with(seeds=(0,))
    grid = check_grid(runs_of(spec), spec)
    assert all(s.n == 1 and math.isnan(s.sd) for s in summarize_variants(grid, spec).values())
    assert {r.verdict for r in compare_variants(grid, spec)} == {"too few seeds"}
