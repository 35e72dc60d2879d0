"""Intervals over seeds and documents: by hand, by simulation, and beside those of one factor alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ulmfit_lab.analysis.crossed import compare_crossed
from ulmfit_lab.analysis.statistics import compare_paired


def test_two_seeds_and_three_documents_by_hand() -> None:
    """Row means 2 and 4, column means 2, 1 and 6, residuals 1, 0, -1, -1, 0, 1: mean squares 6, 14 and 2.

    The variance of the mean is (6 + 14 - 2) / 6 = 3; with two seeds, their own interval is the wider one.
    """
    found = compare_crossed(np.array([[2.0, 0.0, 4.0], [2.0, 2.0, 8.0]]))
    assert (found.difference, found.n_seeds, found.n_documents) == (3.0, 2, 3)
    assert (found.seeds_share, found.documents_share) == pytest.approx((4 / 18, 12 / 18))
    assert (found.low, found.high) == pytest.approx((3 - 12.7062, 3 + 12.7062), abs=1e-3)


def test_satterthwaites_degrees_of_freedom_by_hand() -> None:
    """Three seeds and four documents with mean squares 4 x 4 = 16, 3 x 80 / 3 = 80, and 40 / 6 of their interaction."""
    seeds, documents = np.array([-2.0, 0.0, 2.0]), np.array([-6.0, -2.0, 2.0, 6.0])
    both = np.array([[3.0, -3.0, -1.0, 1.0], [-3.0, 3.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    found = compare_crossed(1 + seeds[:, None] + documents + both)
    rest = (both**2).sum() / 6
    assert rest == pytest.approx(40 / 6)
    square = 16 + 80 - rest
    df = square**2 / (16**2 / 2 + 80**2 / 3 + rest**2 / 6)
    assert found.high - 1 == pytest.approx(stats.t.isf(0.025, df) * (square / 12) ** 0.5)
    assert found.low == pytest.approx(2 - found.high)


@pytest.mark.parametrize(
    "sd",
    [(1.0, 10.0, 5.0), (0.0, 10.0, 5.0), (1.0, 0.0, 10.0), (0.0, 0.0, 10.0)],
    ids=["both", "docs", "seeds", "none"],
)
def test_95_of_100_intervals_hold_the_mean(sd: tuple[float, float, float]) -> None:
    """sd of seeds, documents, and of both together; where a factor does not vary, the interval may be too wide."""
    random, paths, shape = np.random.default_rng(0), 1500, (6, 200)
    held = 0
    for _ in range(paths):
        seeds, documents = random.normal(0, sd[0], (shape[0], 1)), random.normal(0, sd[1], (1, shape[1]))
        found = compare_crossed(1.0 + seeds + documents + random.normal(0, sd[2], shape))
        held += found.low <= 1.0 <= found.high
    assert held / paths > 0.95 - 3 * (0.95 * 0.05 / paths) ** 0.5
    if sd == (1.0, 10.0, 5.0):
        assert held / paths < 0.975


def test_an_interval_over_seeds_alone_is_too_narrow_for_other_documents() -> None:
    random, held, paths = np.random.default_rng(1), 0, 500
    for _ in range(paths):
        differences = random.normal(0, 0.3, (6, 1)) + random.normal(0, 10, (1, 200)) + random.normal(0, 3, (6, 200))
        found = compare_paired(list(differences.mean(axis=1)), [0.0] * 6)
        held += found.low <= 0 <= found.high
    assert held / paths < 0.75


def test_wrong_and_right_answers_of_classifiers_give_an_interval_at_least_as_wide_as_over_seeds() -> None:
    random = np.random.default_rng(2)
    hard = random.beta(0.5, 2, 300)
    wrong = [random.random((6, 300)) < hard + shift for shift in (0.05, 0.0)]
    differences = wrong[0].astype(float) - wrong[1]
    both, seeds = compare_crossed(differences), compare_paired(*(list(each.mean(axis=1)) for each in wrong))
    assert both.difference == pytest.approx(seeds.difference)
    assert both.high - both.low >= seeds.high - seeds.low - 1e-12


def test_differences_that_do_not_vary_have_an_interval_of_no_width() -> None:
    found = compare_crossed(np.full((3, 4), 0.5))
    assert (found.low, found.high, found.seeds_share, found.documents_share) == (0.5, 0.5, 0.0, 0.0)


@pytest.mark.parametrize("shape", [(1, 10), (10, 1)])
def test_one_seed_or_one_document_has_no_interval(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="too few"):
        compare_crossed(np.zeros(shape))
