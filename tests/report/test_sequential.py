"""Repeated looks keep the error rate that they promise, for pairs as few as a sweep begins with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from ulmfit_lab.analysis.sequential import (
    OVERALL,
    compare_sequentially,
    critical_t,
    levels_that_spend,
    p_after_test,
    repeated_p,
    spend,
    t_test_p,
)
from ulmfit_lab.analysis.statistics import ALPHA, compare_paired

LOOKS = (6, 8, 12, 20)
PATHS = 20_000


def plain_p(differences: np.ndarray, looks: tuple[int, ...] = LOOKS) -> np.ndarray:
    """p of the t test at each look at paths of differences (R, N) -> (R, looks)."""
    return np.stack([t_test_p(differences[:, :n]) for n in looks], axis=1)


def rate(differences: np.ndarray, alpha: float, looks: tuple[int, ...] = LOOKS) -> float:
    """Share of paths in which p is ever at most alpha."""
    return float(np.mean(repeated_p(plain_p(differences, looks), looks) <= alpha))


@pytest.mark.parametrize("alpha", [0.05, 0.005])
@pytest.mark.parametrize("looks", [LOOKS, (6, 7, 8, 9, 10)])
def test_p_is_ever_below_alpha_as_often_as_it_may_be(alpha: float, looks: tuple[int, ...]) -> None:
    null = np.random.default_rng(1).standard_normal((PATHS, looks[-1]))  # not the seed of the calibration
    error = (alpha * (1 - alpha) / PATHS) ** 0.5
    assert rate(null, alpha, looks) == pytest.approx(alpha, abs=4 * error)


def test_looking_without_the_rule_would_find_what_is_not_there() -> None:
    null = np.random.default_rng(2).standard_normal((PATHS, LOOKS[-1]))
    naive = np.min([t_test_p(null[:, :n]) for n in LOOKS], axis=0)
    assert np.mean(naive <= ALPHA) > 0.1


@pytest.mark.parametrize("law", [stats.uniform(-0.5, 1), stats.t(5)])
def test_differences_that_are_not_normal_do_little_harm(law: stats.rv_frozen) -> None:
    null = law.rvs(size=(PATHS, LOOKS[-1]), random_state=3)
    assert rate(null, ALPHA) < 0.06


def test_all_intervals_of_a_path_hold_the_true_difference_together() -> None:
    differences = 0.5 + np.random.default_rng(4).standard_normal((PATHS, LOOKS[-1]))
    held = np.ones(PATHS, dtype=bool)
    for n in LOOKS:
        mean, sd = differences[:, :n].mean(1), differences[:, :n].std(1, ddof=1)
        held &= np.abs(mean - 0.5) <= critical_t(LOOKS, n) * sd / n**0.5
    assert held.mean() == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / PATHS) ** 0.5)


@pytest.mark.parametrize(
    "published", [(4.333, 2.963, 2.359, 2.014), (4.877, 3.357, 2.680, 2.290, 2.031)], ids=["4 looks", "5 looks"]
)
def test_the_boundaries_of_normal_statistics_are_the_published_ones(published: tuple[float, ...]) -> None:
    """Two-sided 5%, equal steps: tables of the O'Brien-Fleming-type function of Lan & DeMets (1983)."""
    looks = tuple(range(1, len(published) + 1))
    sums = np.random.default_rng(9).standard_normal((400_000, len(looks))).cumsum(axis=1)
    p = 2 * stats.norm.sf(np.abs(sums) / np.sqrt(looks))
    levels = levels_that_spend(p, spend(np.array([ALPHA]), looks)[0])
    assert stats.norm.isf(levels / 2) == pytest.approx(published, abs=0.03)


def test_the_boundaries_of_many_pairs_are_near_those_of_normal_statistics() -> None:
    found = [critical_t((60, 120, 180, 240, 300), n) for n in (60, 120, 180, 240, 300)]
    published = (4.877, 3.357, 2.680, 2.290, 2.031)
    same_p = [stats.t.isf(stats.norm.sf(z), n - 1) for z, n in zip(published, (60, 120, 180, 240, 300), strict=True)]
    assert found == pytest.approx(same_p, abs=0.05)


def test_looks_that_were_planned_after_a_fixed_test_have_the_error_of_both() -> None:
    """Unadjusted, a fixed test at 5% followed by looks at 5% finds more; p is adjusted for what was really done."""
    null = np.random.default_rng(10).standard_normal((PATHS, LOOKS[-1]))
    both = np.minimum(repeated_p(plain_p(null), LOOKS), t_test_p(null[:, : LOOKS[0]]))
    assert 0.065 < np.mean(both <= ALPHA) < 0.1
    error = 4 * (ALPHA * (1 - ALPHA) / PATHS) ** 0.5
    assert np.mean(p_after_test(both, LOOKS, LOOKS[0]) <= ALPHA) == pytest.approx(ALPHA, abs=error)


def test_a_fixed_test_that_was_made_first_widens_the_interval_and_raises_p() -> None:
    a, b = np.random.default_rng(11).normal([[0.9], [0.0]], 1.0, (2, LOOKS[-1]))
    planned, added = (compare_sequentially(a, b, LOOKS, tested) for tested in (0, LOOKS[0]))
    assert added.p > planned.p and added.high - added.low > planned.high - planned.low
    first, fixed = compare_sequentially(a[:6], b[:6], LOOKS, 6), compare_paired(a[:6], b[:6])
    assert fixed.p < first.p <= 2 * fixed.p


def test_one_look_is_the_plain_test() -> None:
    a, b = np.random.default_rng(5).normal([[0.8], [0.0]], 1.0, (2, 8))
    plain, looked = compare_paired(a, b), compare_sequentially(a, b, (8,))
    assert looked.p == pytest.approx(plain.p, rel=0.03)
    assert (looked.low, looked.high) == pytest.approx((plain.low, plain.high), abs=0.01)
    assert (looked.difference, looked.sd, looked.n) == (plain.difference, plain.sd, plain.n)


def test_p_never_rises_from_look_to_look_and_the_interval_agrees_with_it() -> None:
    random = np.random.default_rng(6)
    for shift in (0.0, 0.5, 1.0, 2.0):
        a, b = random.normal([[shift], [0.0]], 1.0, (2, LOOKS[-1]))
        found = [compare_sequentially(a[:n], b[:n], LOOKS) for n in LOOKS]
        assert all(x.p >= y.p for x, y in itertools.pairwise(found))
        first = next((x for x in found if x.p <= ALPHA), None)
        assert first is None or not first.low < 0 < first.high


def test_a_p_beyond_the_draws_is_the_one_whose_increment_is_the_level() -> None:
    """Where too few simulated paths are rejected, an analysis tests at the level that it spends: Bonferroni's bound."""
    p = np.array([0.5, 0.5, 0.5, 1e-6])
    overall = float(repeated_p(p, LOOKS))
    assert np.diff(spend(np.array([overall]), LOOKS)[0])[-1] == pytest.approx(1e-6, rel=0.02)
    assert repeated_p(np.full(4, 1e-200), LOOKS) == pytest.approx(OVERALL[0]), "no smaller p is told"


def test_holm_keeps_the_error_over_comparisons_that_share_a_side_and_stop_at_different_looks() -> None:
    random, m = np.random.default_rng(7), 4
    base, variants = random.standard_normal((PATHS, 1, LOOKS[-1])), random.standard_normal((PATHS, m, LOOKS[-1]))
    null = (variants - base).reshape(-1, LOOKS[-1])  # none differs from the baseline
    p = repeated_p(plain_p(null), LOOKS).reshape(PATHS, m)
    error = 4 * (ALPHA * (1 - ALPHA) / PATHS) ** 0.5
    # Holm's first step holds the smallest p against alpha / m; whichever look it was found at, p never rises again
    assert np.mean(p.min(axis=1) * m < ALPHA) < ALPHA + error
    # two that do differ are rejected first, at an early look, and leave the other two alpha / 2
    assert np.mean(p[:, 2:].min(axis=1) * 2 < ALPHA) < ALPHA + error


def holm_rejects(p: np.ndarray) -> np.ndarray:
    """Which of the comparisons (R, m) Holm's procedure rejects."""
    order, m = np.argsort(p, axis=1), p.shape[1]
    passed = np.logical_and.accumulate(np.take_along_axis(p, order, 1) * (m - np.arange(m)) < ALPHA, axis=1)
    found = np.empty_like(passed)
    np.put_along_axis(found, order, passed, 1)
    return found


@pytest.mark.parametrize("effects", [(0.0, 0.0, 0.0), (2.5, 0.0, 0.0), (2.5, 1.2, 0.0)])
def test_holm_keeps_the_error_where_decided_comparisons_stop_and_the_others_go_on(effects: tuple[float, ...]) -> None:
    random, truth = np.random.default_rng(8), np.array(effects)
    base, variants = (random.standard_normal((PATHS // 2, m, LOOKS[-1])) for m in (1, len(effects)))
    differences = (variants - base + truth[:, None]).reshape(-1, LOOKS[-1])
    looked = plain_p(differences)
    at_looks = np.stack([repeated_p(looked[:, : k + 1], LOOKS) for k in range(len(LOOKS))])
    at_looks = at_looks.reshape(len(LOOKS), -1, len(effects))
    p, open_ = at_looks[0], np.full(at_looks[0].shape, True)
    for now in at_looks:
        p = np.where(open_, now, p)
        found = holm_rejects(p)
        assert found[~open_].all()  # nothing is taken back
        open_ = ~found
    errors = (~open_ & (truth == 0)).any(axis=1)
    assert errors.mean() < ALPHA + 3 * (ALPHA * (1 - ALPHA) / len(errors)) ** 0.5
    assert open_[:, truth > 2].sum() <= 0.01 * len(open_)


def test_there_is_no_p_between_looks() -> None:
    with pytest.raises(ValueError, match="no interim analysis is planned after 7 seeds"):
        compare_sequentially([0.0] * 7, [1.0] * 7, LOOKS)
