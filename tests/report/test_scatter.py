"""What the scatter panels draw, read from the figure itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.analysis.association import correlations_of
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.report.scatter import dots_of, draw_scatter

Associated = tuple[pd.DataFrame, ReportSpec]


def test_every_run_of_a_model_is_a_mark_in_both_panels(associated: Associated) -> None:
    runs, spec = associated
    left, right = draw_scatter(check_grid(runs, spec), spec).axes
    for axis, column, scale in ((left, "final/lm_perplexity", 1), (right, "final/lm_accuracy", 100)):
        assert [line.get_label() for line in axis.lines] == list(spec.models)
        for line in axis.lines:
            mine = runs[runs["variant"] == line.get_label()]
            np.testing.assert_allclose(line.get_xdata(), mine[column] * scale)
            np.testing.assert_allclose(line.get_ydata(), mine["final/error"] * 100)
    assert (left.get_xscale(), right.get_xscale()) == ("log", "linear")
    assert left.get_ylim() == right.get_ylim()


def test_panels_tell_the_correlations_of_the_table(associated: Associated) -> None:
    runs, spec = associated
    grid = check_grid(runs, spec)
    found = correlations_of(grid, spec)["Spearman"].each
    for axis, each in zip(draw_scatter(grid, spec).axes, found, strict=True):
        assert axis.get_title(loc="left") == f"Spearman {each.value:+.2f} ({each.low:+.2f} to {each.high:+.2f})"


def test_the_caption_tells_n(associated: Associated) -> None:
    runs, spec = associated
    caption = " ".join(draw_scatter(check_grid(runs, spec), spec).get_supxlabel().split())
    assert "one mark per run, n = 48: 8 variants, 6 seeds each; perplexity on a logarithmic axis" in caption


def test_sixteen_models_differ_in_grey_too() -> None:
    looks = [dots_of(number) for number in range(16)]
    assert len({(look["marker"], look["markerfacecolor"] == "white") for look in looks}) == 16


def test_the_legend_does_not_cover_the_data(associated: Associated) -> None:
    figure = draw_scatter(check_grid(*associated), associated[1])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(axis.get_window_extent()) for axis in figure.axes)


def test_one_model_is_drawn_without_a_correlation(associated_of: Callable[..., Associated]) -> None:
    runs, spec = associated_of(models=1, seeds=2)
    left, _ = draw_scatter(check_grid(runs, spec), spec).axes
    assert len(left.lines) == 1 and left.get_title(loc="left") == ""


def test_without_associations_there_is_nothing_to_scatter(runs: pd.DataFrame, spec: ReportSpec) -> None:
    with pytest.raises(ValueError, match="no associations"):
        draw_scatter(check_grid(runs, spec), spec)
