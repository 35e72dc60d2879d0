"""Runs that share a realisation of what is compared count as one; margins, families and the error rates that hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from ulmfit_lab.analysis.comparisons import Comparison, compare_variants, headline
from ulmfit_lab.analysis.replicates import find_replicates
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.spec import Margin, ReportSpec
from ulmfit_lab.analysis.statistics import (
    ALPHA,
    compare_clusters,
    compare_paired,
    compare_with_margin,
    equivalence_power,
    gatekeep,
    sd_limit,
)
from ulmfit_lab.report.tables import markdown_report


def table(spec: ReportSpec, stages: Callable[[str, int], dict[str, str]], values: Sequence[float]) -> pd.DataFrame:
    """Runs of "random" and "word2vec" at level "1000"; `values` are the differences, in percent."""
    rows = []
    for variant in spec.variants:
        for seed in spec.seeds:
            error = 0.3 + (values[seed] / 100 if variant == "word2vec" else 0)
            facts = {"run_id": f"{variant}{seed}", "status": "FINISHED", "experiment": spec.name, "scale": spec.scale}
            facts |= {"variant": variant, "level": "1000", "commit": "abc", "cell": f"{variant} {seed}"}
            numbers = {"seed": seed, "dirty": False, "computed_seconds": 1.0, "reused_seconds": 0.0, spec.metric: error}
            rows.append({**facts, **numbers, **stages(variant, seed)})
    return pd.DataFrame(rows).fillna("")


@pytest.fixture
def two(spec_with: Callable[..., ReportSpec]) -> ReportSpec:
    """word2vec against random with six seeds at one level."""
    return spec_with(
        variants=("random", "word2vec"), levels=("1000",), seeds=tuple(range(6)), contrasts=(), published=()
    )


VALUES = (-3.0, -2.0, -4.0, -5.0, -6.0, -7.0)


def only(runs: pd.DataFrame, spec: ReportSpec) -> Comparison:
    """The one comparison."""
    (row,) = compare_variants(runs, spec)
    return row


def test_two_language_models_under_six_classifiers_are_two_replicates(two: ReportSpec) -> None:
    def nested(variant: str, seed: int) -> dict[str, str]:
        return {"stage/pretrained": f"lm{seed // 3}"} if variant == "word2vec" else {}

    own = only(table(two, lambda variant, seed: nested(variant, 3 * seed), VALUES), two)
    shared = only(table(two, nested, VALUES), two)
    assert (own.result.n, own.pairs, own.verdict) == (6, 6, "better")
    assert (shared.result.n, shared.pairs, shared.shared) == (2, 6, "language model")
    assert shared.result.difference == pytest.approx(own.result.difference) == pytest.approx(-4.5)
    # by hand: cluster means -3 and -6, sd 2.1213, t(1) = 12.706, so 4.5 -+ 12.706 * 2.1213 / sqrt(2) = 4.5 -+ 19.06
    assert (shared.result.low, shared.result.high) == pytest.approx((-4.5 - 19.059, -4.5 + 19.059), abs=1e-3)
    assert shared.verdict == "no difference shown"


@pytest.mark.parametrize(
    ("differences", "verdict"), [((-3.0, 3.0, -2.0, 2.0, -1.0, 1.0), "not tested"), (VALUES, "better")]
)
def test_a_secondary_contrast_is_tested_only_where_the_primary_one_is_shown(
    two: ReportSpec, differences: Sequence[float], verdict: str
) -> None:
    spec = replace(two, levels=("1000", "2000"), primary=(("word2vec", "random", "1000"),))
    own = lambda variant, seed: {"stage/pretrained": f"{variant}{seed}"}  # noqa: E731
    later = table(two, own, VALUES).assign(level="2000")
    runs = pd.concat([table(two, own, differences), later], ignore_index=True)
    primary, secondary = compare_variants(runs, spec)
    assert (primary.is_primary, secondary.is_primary, secondary.verdict) == (True, False, verdict)
    assert secondary.result.high < 0  # the interval is told either way
    untested = "nothing is claimed of word2vec against random at labels 2,000 (not tested)"
    assert (untested in headline([primary, secondary], spec)) == (verdict == "not tested")


def test_one_language_model_is_no_replication(two: ReportSpec) -> None:
    runs = table(two, lambda variant, _: {"stage/pretrained": "lm"} if variant == "word2vec" else {}, VALUES)
    row = only(runs, two)
    assert (row.verdict, row.why) == ("not replicated", "1 language model") and math.isnan(row.result.p)
    assert "nothing is claimed of word2vec against random" in headline([row], two)
    report = markdown_report(runs, two)
    assert "| not replicated: 1 language model | 1 (6 pairs) | unknown |" in report


@pytest.mark.parametrize(
    ("stages", "count"),
    [
        # both arms read one language model: it is a condition of the experiment, and not what differs
        (lambda variant, seed: {"stage/pretrained": "lm"}, 6),
        # a language model that was given is part of what is compared
        (lambda variant, seed: {"stage/pretrained": "lm" * (variant == "word2vec"), "param/imported": "wt103"}, 6),
        # two pretrained models, each fine-tuned with six seeds: what was pretrained is the treatment
        (lambda variant, seed: {"stage/pretrained": variant, "stage/fine-tuned": f"{variant}{seed}"}, 1),
        # one pretrained model, fine-tuned in two ways, three times each
        (lambda variant, seed: {"stage/pretrained": "lm", "stage/fine-tuned": f"{variant}{seed % 3}"}, 3),
        (lambda variant, seed: {"stage/vectors": "glove" * (variant != "random"), "param/classifier.init": "glove"}, 6),
        (lambda variant, seed: {"stage/vectors": "made" * (variant != "random")}, 1),
        (lambda variant, seed: {"stage/fine-tuned": f"{variant}{seed}", "stage/fine-tuned_backwards": variant}, 1),
    ],
)
def test_what_differs_is_counted(two: ReportSpec, stages: Callable[[str, int], dict[str, str]], count: int) -> None:
    assert find_replicates(table(two, stages, VALUES), "word2vec", "random", "1000", range(6)).count == count


@pytest.mark.parametrize("outer", [2, 4, 8])
def test_a_nested_test_errs_in_five_percent_where_a_plain_one_does_not(outer: int) -> None:
    random, inner, draws = np.random.default_rng(0), 3, 4000
    clusters = np.repeat(np.arange(outer), inner)
    between = np.repeat(random.standard_normal((draws, outer)), inner, axis=1)
    differences = between + 0.5 * random.standard_normal((draws, outer * inner))
    zeros = np.zeros(outer * inner)
    wrong = [compare_clusters(list(row), list(zeros), list(clusters)).p < ALPHA for row in differences]
    naive = [compare_paired(list(row), list(zeros)).p < ALPHA for row in differences[:1000]]
    assert np.mean(wrong) == pytest.approx(ALPHA, abs=3 * math.sqrt(ALPHA * (1 - ALPHA) / draws))
    assert np.mean(naive) > 2 * ALPHA


def test_margin_tests_are_those_of_statsmodels() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(0.2, 1, 12), random.normal(0, 1, 12)
    found = compare_with_margin(compare_paired(list(a), list(b)), 1.0, lower_is_better=True)
    p, (_, p_lower, _), (_, p_upper, _) = ttost_paired(a, b, -1.0, 1.0)
    assert found.p_equivalent == pytest.approx(p) and found.p_non_inferior == pytest.approx(p_upper)
    turned = compare_with_margin(compare_paired(list(a), list(b)), 1.0, lower_is_better=False)
    assert turned.p_non_inferior == pytest.approx(p_lower)


def test_a_margin_test_errs_in_at_most_five_percent_at_the_margin() -> None:
    random, wrong = np.random.default_rng(2), []
    for row in random.normal(1.0, 0.5, (4000, 8)):  # the true difference is the margin
        found = compare_with_margin(compare_paired(list(row), [0.0] * 8), 1.0, lower_is_better=True)
        wrong.append((found.p_equivalent < ALPHA, found.p_non_inferior < ALPHA))
    limit = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 4000)
    assert max(np.mean(wrong, axis=0)) < limit and np.mean(wrong, axis=0)[1] > 0.04


def test_the_power_of_an_equivalence_test_is_what_simulation_gives() -> None:
    random = np.random.default_rng(3)
    for n, margin in ((8, 1.5), (16, 0.8)):
        found = [
            compare_with_margin(compare_paired(list(row), [0.0] * n), margin, lower_is_better=True).p_equivalent < ALPHA
            for row in random.standard_normal((2000, n))
        ]
        assert equivalence_power(1.0, n, margin) == pytest.approx(np.mean(found), abs=0.04)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.1, -0.1, 0.2, -0.2, 0.1, -0.1), "equivalent"),
        ((-2.0, -0.2, -3.0, 0.1, -2.5, -1.0), "non-inferior"),
        ((1.0, -1.0, 2.0, 0.5, 1.5, 0.0), "not shown"),
    ],
)
def test_a_margin_has_a_verdict_beside_the_difference(two: ReportSpec, values: Sequence[float], words: str) -> None:
    spec = replace(two, margins=(Margin("word2vec", "random", 1.0, "one point is a draw of labels"),))
    runs = table(spec, lambda variant, seed: {}, values)
    row = only(runs, spec)
    assert row.margin_verdict == words
    report = markdown_report(runs, spec)
    assert "1 for word2vec - random (one point is a draw of labels)" in report
    assert f"| {words} (p " in report


def test_secondary_comparisons_come_after_the_primary_ones() -> None:
    # by hand: Holm of the primary .01, .02 is .02, .02; of the secondary .001, .03 it is .002, .03, at least .02
    assert gatekeep([0.01, 0.001, 0.02, 0.03], [True, False, True, False]) == pytest.approx([0.02, 0.02, 0.02, 0.03])
    assert gatekeep([0.01, 0.04], [False, False]) == pytest.approx([0.02, 0.04])
    assert gatekeep([0.5, 0.001], [True, False]) == pytest.approx([0.5, 0.5])
    assert gatekeep([math.nan, 0.001], [True, False])[1] == 1.0


def test_gatekeeping_errs_in_at_most_five_percent_of_experiments() -> None:
    p = np.random.default_rng(4).uniform(size=(4000, 6))
    wrong = [min(gatekeep(list(row), [True, True, False, False, False, False])) < ALPHA for row in p]
    assert np.mean(wrong) < ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 4000)


def test_an_sd_is_planned_with_at_its_upper_limit() -> None:
    # by hand: chi-squared's 20% quantile with 5 degrees of freedom is 2.343, and sqrt(5 / 2.343) is 1.461
    assert sd_limit(1.0, 6) == pytest.approx(1.461, abs=1e-3)
    draws = np.random.default_rng(5).standard_normal((4000, 6)).std(axis=1, ddof=1)
    assert np.mean([sd_limit(each, 6) >= 1 for each in draws]) == pytest.approx(0.8, abs=0.02)


def test_further_seeds_are_planned_from_the_smallest_difference_of_interest(two: ReportSpec) -> None:
    runs = table(two, lambda variant, seed: {}, (3.0, -3.0, 2.0, -2.0, 1.0, -0.8))
    observed, wanted = only(runs, two), only(runs, replace(two, smallest_difference=2.0))
    assert observed.further_seeds is not None and observed.further_seeds > 1000
    assert wanted.further_seeds is not None and 10 < wanted.further_seeds < 60
    sd = sd_limit(wanted.result.sd, 6)
    n = 6 + wanted.further_seeds
    power = float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 2.0 / sd * math.sqrt(n)))
    assert 0.8 <= power < 0.83


@pytest.mark.parametrize("absent", [None, ""])
def test_a_run_without_a_stage_shares_none_whether_its_value_is_empty_or_missing(
    two: ReportSpec, absent: str | None
) -> None:
    runs = table(two, lambda variant, seed: {"stage/fine-tuned": f"lm{seed}"} if variant == "word2vec" else {}, VALUES)
    tracked = runs.assign(**{"stage/fine-tuned": [name or absent for name in runs["stage/fine-tuned"]]})
    assert find_replicates(check_grid(tracked, two), "word2vec", "random", "1000", range(6)).count == 6
