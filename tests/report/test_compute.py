"""Losses against training compute: the operations by hand, the line through the lowest points, the figure."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.analysis.compute import fit_power_law, lowest_for_compute, training_compute
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.experiment.declaration import load_experiment
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.report.compute_figure import draw_compute
from ulmfit_lab.report.write import picture_files
from ulmfit_lab.utils.errors import ConfigError


@pytest.fixture
def spec() -> ReportSpec:
    """The study of sizes, at its tiny scale with three levels."""
    return replace(make_report_spec(load_experiment("lm_scaling"), "tiny"), levels=("1000", "2000", "4000"))


@pytest.fixture
def runs(spec: ReportSpec) -> pd.DataFrame:
    """Runs whose loss is 8 C^-0.1 with a tenth of the dropouts (C in 10^12 operations), and more with the others."""
    sizes = {"72/256": (72, 256), "128/384": (128, 384), "200/640": (200, 640)}
    rows = []
    for variant, level, seed in itertools.product(spec.variants, spec.levels, spec.seeds):
        emb, hidden = sizes[variant.partition(",")[0]]
        params = {"vocabulary.max_size": 10_000, "lm.emb_size": emb, "lm.hidden_size": hidden, "lm.n_layers": 2}
        params |= {"general.max_tokens": int(level), "pretraining.epochs": 1}
        row = {"variant": variant, "level": level, "seed": seed, "metrics": "", "status": "FINISHED"}
        rows.append(row | {f"param/{name}": str(value) for name, value in params.items()})
    table = pd.DataFrame(rows)
    worse = np.where(table["variant"].str.endswith("x 0.1"), 1.0, 1.3)
    return table.assign(**{"final/loss": 8 * (training_compute(table) / 1e12) ** -0.1 * worse})


def test_compute_is_operations_a_token_times_tokens_read(runs: pd.DataFrame) -> None:
    """By hand for 128/384 and 10,000 words: 3 (8 384 512 + 8 128 512 + 2 10,000 128) = 13,971,456."""
    one = runs[(runs["variant"] == "128/384, x 0") & (runs["level"] == "2000")]
    assert set(training_compute(one)) == {13_971_456 * 2000}


def test_a_point_is_among_the_lowest_if_no_cheaper_one_is_as_low() -> None:
    assert lowest_for_compute([3.0, 1.0, 2.0, 2.0], [4.2, 5.0, 4.5, 4.0]) == [1, 3]
    assert lowest_for_compute([1.0, 2.0], [4.0, 4.0]) == [0]


def test_the_line_is_the_one_that_the_points_lie_on() -> None:
    compute = np.array([1.0, 4.0, 9.0])
    law = fit_power_law(list(compute), list(5 * compute**-0.25))
    assert law is not None and (law.factor, law.exponent) == pytest.approx((5, -0.25))
    assert law.at(compute) == pytest.approx(5 * compute**-0.25)
    assert fit_power_law([1.0, 2.0], [2.0, 1.0]) is None


def test_the_figure_has_every_variant_and_the_line_of_the_lowest(runs: pd.DataFrame, spec: ReportSpec) -> None:
    (axis,) = draw_compute(runs, spec).axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert set(spec.variants) < set(lines)
    (fitted,) = set(lines) - set(spec.variants)
    assert str(fitted).startswith("8 C^-0.100")
    x, y = lines["128/384, x 0.1"].get_data()
    assert list(x) == pytest.approx([13_971_456 * int(level) / 1e12 for level in spec.levels])
    assert list(y) == pytest.approx(list(8 * np.asarray(x, float) ** -0.1))
    assert picture_files(runs, spec, ("svg",)) == picture_files(runs, spec, ("svg",))


def test_runs_of_all_tokens_are_refused_before_the_first() -> None:
    with pytest.raises(
        ConfigError, match=r"lm_scaling: the compute of runs is told from general\.max_tokens, which is 0"
    ):
        make_report_spec(replace(load_experiment("lm_scaling"), levels={"tiny": (1_000, 0)}), "tiny")
