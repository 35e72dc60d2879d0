"""Steadiness and rank correlations against numbers worked out by hand, scipy, and simulations whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ulmfit_lab.analysis import association
from ulmfit_lab.analysis.association import (
    Estimate,
    compute_correlations,
    compute_stability,
    correlations_of,
    kendall,
    outcome,
    resamples,
    spearman,
    steadiness_of,
)
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.spec import ReportSpec

Associated = tuple[pd.DataFrame, ReportSpec]


def over_seeds(*values: np.ndarray) -> association.Stability:
    first, second = values
    return compute_stability("seeds", (first, second), (first.var(axis=1, ddof=1), second.var(axis=1, ddof=1)))


def test_share_of_noise_by_hand() -> None:
    # means 2 and 6 have variance 8, so the mean square between models is 2 * 8 = 16; within it is 2 in both. Then
    # ICC(1) = (16 - 2) / (16 + 2) = 7/9. The second number: means 12 and 22, 2 * 50 = 100, within 8: 92 / 108.
    found = over_seeds(np.array([[1.0, 3.0], [5.0, 7.0]]), np.array([[10.0, 14.0], [20.0, 24.0]]))
    assert [noise.share.value for noise in found.noises] == pytest.approx([2 / 9, 1 - 92 / 108])
    assert (found.noises[0].between, found.noises[0].within) == pytest.approx((math.sqrt(8), math.sqrt(2)))
    # sd of the noise over that of the means: sqrt(8 / 50) against sqrt(2 / 8)
    assert found.ratio.value == pytest.approx(0.4 / 0.5)


def test_models_that_differ_by_less_than_their_noise_have_a_share_of_one() -> None:
    values = np.array([[1.0, 3.0], [1.1, 2.9]])
    assert over_seeds(values, values).noises[0].share.value == 1.0


def test_steadiness_does_not_depend_on_the_unit() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 8, 6))
    plain, scaled = over_seeds(first, second), over_seeds(first, 100 * second + 7)
    assert scaled.noises[1].share.value == pytest.approx(plain.noises[1].share.value)
    assert (scaled.ratio.low, scaled.ratio.high) == pytest.approx((plain.ratio.low, plain.ratio.high))


def test_a_number_is_as_steady_as_itself_in_another_unit() -> None:
    values = np.random.default_rng(1).normal(size=(8, 6))
    found = over_seeds(values, 100 * values)
    assert (found.ratio.low, found.ratio.high) == pytest.approx((1.0, 1.0))
    assert found.noises[0].share.low < found.noises[0].share.value < found.noises[0].share.high


def test_which_number_is_steadier(associated: Associated) -> None:
    seeds, epochs = steadiness_of(check_grid(*associated), associated[1])
    assert (seeds.over, seeds.outcome, epochs.over, epochs.outcome) == ("seeds", "more", "epochs", "more")
    assert seeds.ratio.low > 1 and seeds.models == 8


def test_epochs_by_hand(associated_of: Callable[..., Associated]) -> None:
    runs, spec = associated_of(models=2, seeds=2)
    grid = check_grid(runs, spec)
    grid["final/lm_accuracy"] = [0.1, 0.3, 0.5, 0.7, 0.0, 0.0]
    grid["final/lm_accuracy_epoch_sd"] = [0.01, 0.07, 0.05, 0.05, 9.0, 9.0]
    accuracy = steadiness_of(grid, spec)[1].noises[1]
    # in points: variances (1 + 49) / 2 and 25, so the noise is 5; means 20 and 60, so the mean square is 2 * 800
    assert (accuracy.within, accuracy.between) == pytest.approx((5.0, math.sqrt(800)))
    assert accuracy.share.value == pytest.approx(2 / (1600 / 25 - 1 + 2))


def test_a_model_without_epochs_to_tell_of_is_left_out(associated: Associated) -> None:
    runs, spec = associated
    grid = check_grid(runs, spec)
    grid.loc[grid["variant"] == "model 3", "final/lm_accuracy_epoch_sd"] = math.nan
    assert [found.models for found in steadiness_of(grid, spec)] == [8, 7]
    grid = grid.drop(columns="final/lm_accuracy_epoch_sd")
    assert [found.over for found in steadiness_of(grid, spec)] == ["seeds"]


@pytest.mark.parametrize("drawn", [[0, 1, 2, 3], [3, 1, 1, 0], [2, 2, 2, 0]])
def test_correlations_are_those_of_scipy(drawn: list[int]) -> None:
    x, y = np.random.default_rng(0).integers(5, size=(2, 4, 6)).astype(float)  # ties among them
    places = np.array([drawn])
    a, b = x[drawn].ravel(), y[drawn].ravel()
    assert spearman(x, y, places)[0] == pytest.approx(stats.spearmanr(a, b).statistic)
    assert kendall(x, y, places)[0] == pytest.approx(stats.kendalltau(a, b).statistic)


def test_numbers_that_rank_alike_tell_alike() -> None:
    x, noise = np.random.default_rng(0).normal(size=(2, 8, 6))
    found = compute_correlations(x, -np.exp(x), x + noise, spearman)
    assert found.each[0].value == pytest.approx(-found.each[1].value)
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx((0, 0, 0))
    assert found.outcome == "no difference shown"


def test_runs_that_repeat_their_model_add_nothing() -> None:
    x, y, z = np.random.default_rng(0).normal(size=(3, 8, 1))
    once = compute_correlations(x, z, y, spearman)
    often = compute_correlations(*(np.repeat(v, 5, axis=1) for v in (x, z, y)), spearman)  # type: ignore[arg-type]
    assert often.each[0] == once.each[0]


def test_which_number_tells_more(associated: Associated) -> None:
    found = correlations_of(check_grid(*associated), associated[1])
    assert list(found) == ["Spearman", "Kendall"]
    for each in found.values():
        perplexity, accuracy = each.each
        assert each.outcome == "less"
        assert perplexity.low > 0 > accuracy.value
        assert each.difference.value == pytest.approx(abs(accuracy.value) - abs(perplexity.value))
        assert each.difference.low < each.difference.value < each.difference.high < 0


def test_the_order_of_the_runs_and_of_the_models_changes_no_value(associated: Associated) -> None:
    runs, spec = associated
    one = correlations_of(check_grid(runs, spec), spec)
    two = correlations_of(check_grid(runs.sample(frac=1, random_state=0), spec), spec)
    assert one == two


def test_a_number_that_does_not_move_is_unknown(associated: Associated) -> None:
    runs, spec = associated
    grid = check_grid(runs.assign(**{"final/lm_accuracy": 0.25}), spec)
    found = correlations_of(grid, spec)["Spearman"]
    assert found.outcome == "unknown" and math.isnan(found.each[1].value) and found.each[0].low > 0
    assert [each.outcome for each in steadiness_of(grid, spec)] == ["unknown", "unknown"]


@pytest.mark.parametrize(
    ("low", "high", "models", "seeds", "words"),
    [
        (1.1, 2.0, 6, 6, "more"),
        (0.1, 0.9, 6, 6, "less"),
        (0.9, 1.1, 6, 6, "no difference shown"),
        (math.nan, math.nan, 6, 6, "unknown"),
        (1.1, 2.0, 5, 6, "too few models"),
        (1.1, 2.0, 6, 5, "too few seeds"),
    ],
)
def test_outcomes(low: float, high: float, models: int, seeds: int, words: str) -> None:
    assert outcome(Estimate(1.0, low, high), 1.0, models, seeds) == words


def test_one_seed_or_one_model_has_no_steadiness(associated_of: Callable[..., Associated]) -> None:
    runs, spec = associated_of(models=1, seeds=3)
    assert steadiness_of(check_grid(runs, spec), spec) == [] and correlations_of(check_grid(runs, spec), spec) == {}
    runs, spec = associated_of(models=8, seeds=1)
    assert [found.over for found in steadiness_of(check_grid(runs, spec), spec)] == ["epochs"]


def test_draws_are_the_same_for_every_statistic_and_in_every_process() -> None:
    assert resamples(8, 4) is resamples(8, 4)
    assert resamples(3, 4).tolist() == np.random.default_rng(0).integers(3, size=(4, 3)).tolist()


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    # eight models whose means have variance 1, noise of sd 0.3 and 0.6: shares 0.09 / 1.09 and 0.36 / 1.36, and
    # F = 1 + 6 / variance. A percentile interval of the same draws holds the share of 0.26 in 80% of such samples.
    monkeypatch.setattr(association, "RESAMPLES", 499)
    generator, sds, n = np.random.default_rng(0), np.array([0.3, 0.6]), 6
    shares, fs = sds**2 / (1 + sds**2), 1 + n / sds**2
    held = []
    for _ in range(200):
        first, second = generator.normal(size=(8, 1)) + sds[:, None, None] * generator.normal(size=(2, 8, n))
        found = over_seeds(first, second)
        truths = [*zip((noise.share for noise in found.noises), shares, strict=True)]
        truths += [(found.ratio, math.sqrt(fs[0] / fs[1]))]
        held.append([each.low <= truth <= each.high for each, truth in truths])
    assert np.all(np.mean(held, axis=0) > 0.91)


def test_intervals_of_correlations_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    # two numbers and an outcome that all follow one normal quality, each with normal noise of its own: all are
    # bivariate normal, where Spearman's correlation is 6 / pi * arcsin(r / 2)
    monkeypatch.setattr(association, "RESAMPLES", 299)
    generator, own, n = np.random.default_rng(0), np.array([0.3, 0.8, 0.5]), 6
    sds = np.sqrt(1 + own**2 + 0.3**2)
    first, second = (6 / math.pi * np.arcsin(1 / (sds[x] * sds[2]) / 2) for x in (0, 1))
    held = []
    for _ in range(150):
        models = generator.normal(size=(8, 1)) + own[:, None, None] * generator.normal(size=(3, 8, 1))
        x, other, y = models + 0.3 * generator.normal(size=(3, 8, n))
        found = compute_correlations(x, other, y, spearman)
        truths = [*zip(found.each, (first, second), strict=True), (found.difference, second - first)]
        held.append([each.low <= truth <= each.high for each, truth in truths])
    assert np.all(np.mean(held, axis=0) > 0.91)
