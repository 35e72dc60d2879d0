"""Paired statistics against numbers worked out by hand and against scipy and statsmodels."""

from __future__ import annotations

import gc
import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from statsmodels.stats.power import TTestPower

from ulmfit_lab.analysis.statistics import (
    ALPHA,
    MOST_SEEDS,
    PairedResult,
    compare_paired,
    effect_power,
    further_seeds,
    holm,
    smallest_difference,
    summarize,
    verdict,
)


def result(difference: float, *, n: int = 6, sd: float = 1.0) -> PairedResult:
    return PairedResult(difference, math.nan, math.nan, sd, math.nan, n)


def test_paired_by_hand() -> None:
    # differences 1, 2, 3: mean 2, sd 1, t = 2 * sqrt(3) on 2 degrees of freedom. With 2 degrees the t distribution
    # is closed: p = 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12 / 14); its 97.5% quantile is 0.95 / sqrt(2 * 0.975 * 0.025).
    found = compare_paired([3.0, 5.0, 7.0], [2.0, 3.0, 4.0])
    assert (found.difference, found.sd, found.n) == (2.0, 1.0, 3)
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-12)
    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-12)


def test_paired_is_the_one_sample_test_of_the_differences() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 8))
    reference = stats.ttest_1samp(a - b, 0.0)
    interval = reference.confidence_interval(0.95)
    found = compare_paired(list(a), list(b))
    assert (found.p, found.low, found.high) == pytest.approx((reference.pvalue, interval.low, interval.high))


def test_a_noise_that_pairs_share_does_not_matter() -> None:
    noise = np.array([0.0, 10.0, -7.0, 3.0, 100.0, 2.0])
    plain = compare_paired([1.0, 2.0, 3.0, 2.0, 1.0, 2.5], [0.0] * 6)
    shared = compare_paired(list(noise + np.array([1.0, 2.0, 3.0, 2.0, 1.0, 2.5])), list(noise))
    assert shared.p == pytest.approx(plain.p)


def test_equal_values_have_p_one() -> None:
    assert compare_paired([0.2, 0.3, 0.4], [0.2, 0.3, 0.4]) == PairedResult(0.0, 0.0, 0.0, 0.0, 1.0, 3)


def test_a_constant_difference_has_p_zero_even_where_rounding_blurs_it() -> None:
    base = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7]
    found = compare_paired([x + 0.1 for x in base], base)
    assert len({x + 0.1 - x for x in base}) > 1  # rounding does blur it
    assert (found.sd, found.p) == (0.0, 0.0)
    assert found.low == found.difference == found.high == pytest.approx(0.1)


def test_one_pair_has_a_difference_and_no_test() -> None:
    found = compare_paired([3.0], [1.0])
    assert (found.difference, found.n) == (2.0, 1)
    assert all(math.isnan(x) for x in (found.low, found.high, found.sd, found.p))


def test_values_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2"):
        compare_paired([1.0, 2.0, 3.0], [1.0, 2.0])


def test_summary_by_hand() -> None:
    # 2, 4, 6: sd 2; half = t(0.975, 2) * 2 / sqrt(3), with the closed quantile of above
    found = summarize([2.0, 4.0, 6.0])
    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) * 2 / math.sqrt(3)
    assert (found.mean, found.sd, found.n) == (4.0, 2.0, 3)
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half))


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04, and none may fall below the one before
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_caps_at_one() -> None:
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_holm_counts_only_tests_that_have_a_p() -> None:
    corrected = holm([math.nan, 0.02, 0.03])
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.04, 0.04])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("difference", "n", "p", "lower_is_better", "words"),
    [
        (-1.0, 6, 0.049, True, "better"),
        (-1.0, 6, 0.049, False, "worse"),
        (1.0, 6, 0.049, True, "worse"),
        (1.0, 6, 0.049, False, "better"),
        (-1.0, 6, 0.05, True, "no difference shown"),
        (-1.0, 5, 1e-9, True, "too few seeds"),
        (-1.0, 1, math.nan, True, "too few seeds"),
        (0.0, 6, 1.0, True, "no difference shown"),
    ],
)
def test_verdict(difference: float, n: int, p: float, lower_is_better: bool, words: str) -> None:
    assert verdict(result(difference, n=n), p, lower_is_better) == words


def test_further_seeds_are_the_fewest_that_have_the_power() -> None:
    # Cohen (1988): an effect of 0.5 asks for 34 pairs at alpha 0.05 and power 0.8
    assert further_seeds(result(0.5)) == 34 - 6
    power = TTestPower().power
    assert power(0.5, 33, 0.05) < 0.8 <= power(0.5, 34, 0.05)


def test_a_stricter_alpha_asks_for_more_seeds() -> None:
    strict = further_seeds(result(0.5), alpha=0.005)
    assert strict is not None and strict > 34 - 6


def test_further_seeds_are_at_least_those_a_claim_needs() -> None:
    assert further_seeds(result(100.0, n=2)) == 4
    assert further_seeds(result(1.0, n=2, sd=0.0)) == 4
    assert further_seeds(result(100.0, n=6)) == 0


def test_further_seeds_beyond_naming_and_unknown() -> None:
    assert further_seeds(result(1e-4)) == MOST_SEEDS + 1
    assert further_seeds(result(0.0)) is None
    assert further_seeds(result(1.0, n=1)) is None


@pytest.mark.parametrize(("n", "alpha"), [(6, 0.05), (6, 0.05 / 21), (6, 0.05 / 200), (34, 0.05)])
def test_the_smallest_difference_has_the_power_when_it_is_integrated_over_the_spread(n: int, alpha: float) -> None:
    # given the sample's variance v (chi squared), the t statistic is normal; the wrong tail is below 1e-4 here
    found = smallest_difference(2.5, n, alpha=alpha)
    assert found is not None
    shift, bound = found / 2.5 * math.sqrt(n), stats.t.ppf(1 - alpha / 2, n - 1)

    def shown(v: float) -> float:
        return float(stats.norm.sf(bound * math.sqrt(v / (n - 1)) - shift) * stats.chi2.pdf(v, n - 1))

    assert quad(shown, 0, math.inf)[0] == pytest.approx(0.8, abs=1e-4)


def test_a_strict_test_of_few_seeds_has_no_power_that_it_has_not() -> None:
    # where the wrong tail of the distribution underflows, an effect of 2.85 sds would be shown 3 times in 4, not always
    asked = [further_seeds(result(effect), alpha=0.05 / 21) for effect in (2.7, 2.83, 2.9, 3.5)]
    assert asked == [1, 1, 0, 0]


def test_the_smallest_difference_agrees_with_cohens_table() -> None:
    # Cohen (1988): 34 pairs have a power of 0.8 for an effect of half an sd at alpha 0.05
    assert smallest_difference(1.0, 34) == pytest.approx(0.5, abs=0.01)
    assert smallest_difference(10.0, 34) == pytest.approx(5.0, abs=0.1)


def test_no_smallest_difference_with_too_few_seeds_and_none_at_all_without_spread() -> None:
    assert smallest_difference(1.0, 5) is None
    assert smallest_difference(0.0, 6) == 0.0


def test_a_correction_looks_at_no_object_that_was_there_before() -> None:
    """A garbage collection of all that torch and MLflow hold takes 0.3 s, and a report corrects dozens of times."""
    phases: list[int] = []

    def watch(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            phases.append(gc.get_count()[0] + sum(len(gc.get_objects(generation)) for generation in range(3)))

    gc.callbacks.append(watch)
    try:
        assert holm([0.01, 0.04]) == pytest.approx([0.02, 0.04])
    finally:
        gc.callbacks.remove(watch)
    assert all(count < 10_000 < len(gc.get_objects()) for count in phases)


@pytest.mark.parametrize("alpha", [ALPHA, ALPHA / 3, ALPHA / 9])
def test_power_is_a_probability_that_grows_with_the_pairs(alpha: float) -> None:
    """Of effects up to 60 sd: SciPy's noncentral t distribution underflows to nan here and there."""
    for effect in np.geomspace(0.05, 60, 60):
        powers = [effect_power(float(effect), n, alpha) for n in range(3, 60)]
        assert all(0 <= each <= 1 + 1e-12 for each in powers), effect
        assert all(b >= a - 1e-9 for a, b in itertools.pairwise(powers)), effect
