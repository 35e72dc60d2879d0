"""Schedules against numbers worked out by hand."""

from __future__ import annotations

import pytest

from ulmfit_lab.training.schedules import dropout_factor, layer_rates, lr_factor, trainable_groups
from ulmfit_lab.utils.errors import ConfigError


def test_slanted_triangular_by_hand() -> None:
    """Eq. 3 with T = 100: cut = 10, so p(5) = 1/2, p(10) = 1, p(55) = 1 - 45 / (10 * 9) = 1/2, p(100) = 0."""
    assert lr_factor("slanted", 0, 100) == pytest.approx(1 / 32)
    assert lr_factor("slanted", 5, 100) == pytest.approx((1 + 15.5) / 32)
    assert lr_factor("slanted", 10, 100) == pytest.approx(1)
    assert lr_factor("slanted", 55, 100) == pytest.approx((1 + 15.5) / 32)
    assert lr_factor("slanted", 100, 100) == pytest.approx(1 / 32)


@pytest.mark.parametrize("total", [1, 2, 9, 10, 19, 250, 1999])
def test_slanted_peaks_once_at_its_cut_and_stays_above_its_floor(total: int) -> None:
    factors = [lr_factor("slanted", step, total) for step in range(total)]
    assert min(factors) >= 1 / 32
    if total > 1:
        assert max(factors) == factors[max(total // 10, 1)] == 1
        assert factors.count(1) == 1


def test_one_cycle_by_hand() -> None:
    """Of 100 steps: from 1/25, half way up at 12.5, peak at 25, half way down at 62.5, 1e-5 at the end."""
    assert lr_factor("one-cycle", 0, 200) == pytest.approx(1 / 25)
    assert lr_factor("one-cycle", 25, 200) == pytest.approx((1 / 25 + 1) / 2)
    assert lr_factor("one-cycle", 50, 200) == pytest.approx(1)
    assert lr_factor("one-cycle", 125, 200) == pytest.approx((1 + 1e-5) / 2)
    assert lr_factor("one-cycle", 200, 200) == pytest.approx(1e-5)


def test_cosine_and_constant_by_hand() -> None:
    """cos(pi / 3) = 1/2, so a third of the way down is 3/4."""
    assert [lr_factor("cosine", step, 60) for step in (0, 20, 30, 40)] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert [lr_factor("constant", step, 60) for step in (0, 59)] == [1, 1]


def test_dropout_rises_from_nothing_to_twice_its_rate_or_falls_from_there() -> None:
    assert [dropout_factor("rising", step, 5) for step in range(5)] == [0, 0.5, 1, 1.5, 2]
    assert [dropout_factor("falling", step, 5) for step in range(5)] == [2, 1.5, 1, 0.5, 0]
    assert [dropout_factor("constant", step, 5) for step in range(5)] == [1] * 5


@pytest.mark.parametrize("schedule", ["constant", "rising", "falling"])
@pytest.mark.parametrize("total", [1, 2, 7, 1000])
def test_all_dropout_schedules_have_one_mean(schedule: str, total: int) -> None:
    factors = [dropout_factor(schedule, step, total) for step in range(total)]
    assert sum(factors) / total == pytest.approx(1)


def test_each_layer_below_learns_at_the_rate_above_divided_by_the_decay() -> None:
    assert layer_rates(0.0676, 2.6, 3) == pytest.approx([0.01, 0.026, 0.0676])
    assert layer_rates(0.5, 1.0, 2) == [0.5, 0.5]


def test_which_groups_learn_in_which_epoch() -> None:
    def epochs(unfreeze: str) -> list[set[int]]:
        return [set(trainable_groups(unfreeze, epoch, 3)) for epoch in range(5)]

    everything = {0, 1, 2}
    assert epochs("all") == [everything] * 5
    assert epochs("last") == [{2}] * 5
    assert epochs("gradual") == [{2}, {1, 2}, everything, everything, everything]
    assert epochs("chain-thaw") == [{2}, {0}, {1}, everything, everything]


def test_a_misspelt_schedule_or_way_to_unfreeze_is_an_error() -> None:
    with pytest.raises(ConfigError, match="slented"):
        lr_factor("slented", 0, 10)
    with pytest.raises(ConfigError, match="raising"):
        dropout_factor("raising", 0, 10)
    with pytest.raises(ConfigError, match="gradully"):
        trainable_groups("gradully", 0, 3)
