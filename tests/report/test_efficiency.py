"""Label efficiency: by hand on a straight curve, its interval by simulation, and where it cannot be told."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.analysis.efficiency import (
    LabelEfficiency,
    crossing,
    efficiency_at,
    format_ratio,
    jackknife,
    label_efficiency,
)
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.spec import ManipulationCheck, ReportSpec
from ulmfit_lab.experiment.declaration import Design, Experiment
from ulmfit_lab.report.tables import markdown_report
from ulmfit_lab.utils.errors import ConfigError

PLACES = np.log([100.0, 400.0, 1600.0])


def test_a_straight_curve_is_read_between_its_levels() -> None:
    # 30% at 100 labels and 20% at 400: 25% is half way on the log scale, at 200
    assert math.exp(crossing(PLACES, np.array([30.0, 20.0, 10.0]), 25.0)) == pytest.approx(200.0)
    assert crossing(PLACES, np.array([30.0, 20.0, 10.0]), 9.0) == math.inf
    assert math.isnan(crossing(PLACES, np.array([30.0, 20.0, 10.0]), 31.0))
    # a bump is levelled: 20 and 24 become 22 and 22
    assert crossing(PLACES, np.array([30.0, 20.0, 24.0]), 21.0) == math.inf
    assert math.exp(crossing(PLACES, np.array([30.0, 20.0, 24.0]), 26.0)) == pytest.approx(200.0)


@pytest.mark.parametrize("seeds", [6, 12])
def test_the_interval_holds_the_ratio_in_95_percent(seeds: int) -> None:
    random, held, draws = np.random.default_rng(0), 0, 2000
    for _ in range(draws):
        shared = random.normal(0, 0.5, (seeds, 1))
        errors = np.array([30.0, 20.0, 10.0]) + shared + random.normal(0, 1, (seeds, 3))
        targets = 25.0 + shared[:, 0] + random.normal(0, 1, seeds)
        _, low, high = jackknife(PLACES, errors, targets, np.arange(seeds))
        held += low <= math.log(200.0) <= high
    assert held / draws == pytest.approx(0.95, abs=0.02)


def test_seeds_of_one_cluster_are_left_out_together() -> None:
    errors = np.array([[30.0, 20.0, 10.0]] * 3 + [[32.0, 22.0, 12.0]] * 3)
    _, low, high = jackknife(PLACES, errors, np.full(6, 25.0), np.array([0, 0, 0, 1, 1, 1]))
    _, *alone = jackknife(PLACES, errors, np.full(6, 25.0), np.arange(6))
    assert high - low > 2 * (alone[1] - alone[0])
    whole, *interval = jackknife(PLACES, errors, np.full(6, 25.0), np.zeros(6))
    assert math.isfinite(whole) and all(map(math.isnan, interval))


def test_an_interval_ends_at_the_levels_that_were_run_and_a_void_curve_claims_nothing(
    spec_with: Callable[..., ReportSpec], runs_of: Callable[[ReportSpec], pd.DataFrame]
) -> None:
    found = LabelEfficiency("a", "b", "100", 800.0, 0.5, 20.0, 8, largest=1600.0, smallest=100.0)
    assert format_ratio(found) == ["800", "8.0", "less than 1.0 to more than 16.0"]
    assert format_ratio(replace(found, low=2.0, high=9.0))[2] == "2.0 to 9.0"
    check = ManipulationCheck("final/error", statement="learns", at_most=0.0)
    spec = spec_with(efficiency=(("word2vec", "random"),), checks=(("random", check),))
    rows = label_efficiency(check_grid(runs_of(spec), spec), spec)
    assert rows and all(format_ratio(row)[:1] == ["void"] for row in rows)
    assert "random at 100: learns in 0 of 6 runs; random at 1000: learns in 0 of 6 runs" in format_ratio(rows[0])[1]


def test_a_report_says_how_many_labels_another_variant_needs(
    spec_with: Callable[..., ReportSpec], runs_of: Callable[[ReportSpec], pd.DataFrame]
) -> None:
    spec = spec_with(efficiency=(("word2vec", "random"), ("random", "word2vec")))
    runs = check_grid(runs_of(spec), spec)
    found = efficiency_at(runs, spec, "word2vec", "random", "100")
    means = runs.groupby(["variant", "level"])["final/error"].mean() * 100
    share = (means["random", "100"] - means["word2vec", "100"]) / (means["random", "100"] - means["random", "1000"])
    assert found.needed == pytest.approx(100 * 10**share)
    assert found.low < found.ratio < found.high and found.n == 6
    report = markdown_report(runs, spec).partition("## Label efficiency")[2]
    assert f"| word2vec | 100 | random | {found.needed:,.0f} | {found.ratio:.1f} | " in report
    assert "| word2vec | 1,000 | random | more than 1,000 | more than 1.0 |  | 6 |" in report
    assert "| random | 100 | word2vec | its first level or fewer |  |  | 6 |" in report
    assert format_ratio(replace(found, low=math.nan))[2] == ""


def test_efficiency_needs_numbers_above_zero(experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match="must be two of its variants, crossed with numbers above 0"):
        replace(experiment, design=Design(efficiency=(("fine-tuned", "random"),)))
