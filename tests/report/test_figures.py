"""What the figure draws, read from the figure itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from ulmfit_lab.analysis.comparisons import summarize_variants
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.spec import Margin, ReportSpec
from ulmfit_lab.analysis.statistics import Summary
from ulmfit_lab.report.differences_figure import drawn_rows, pair_differences
from ulmfit_lab.report.figures import bars, caption_of, draw, style_of, window_of

Runs = Callable[[ReportSpec], pd.DataFrame]
Spec = Callable[..., ReportSpec]


def figure_of(spec: ReportSpec, runs: pd.DataFrame) -> Figure:
    return draw(check_grid(runs, spec), spec)


def interval_of(container: ErrorbarContainer) -> np.ndarray:
    (lines,) = container[2]
    return np.array([segment[:, 1] for segment in lines.get_segments()])  # (levels, [low, high])


def test_means_and_intervals_are_those_of_the_table(runs: pd.DataFrame, spec: ReportSpec) -> None:
    axis = figure_of(spec, runs).axes[0]
    found = summarize_variants(check_grid(runs, spec), spec)
    drawn = {container.get_label(): container for container in axis.containers}
    assert list(drawn) == ["random", "word2vec"]
    for variant, container in drawn.items():
        cells = [found[variant, level] for level in spec.levels]
        np.testing.assert_allclose(container[0].get_ydata(), [s.mean for s in cells])
        np.testing.assert_allclose(interval_of(container), [[s.low, s.high] for s in cells])


def test_the_reference_is_a_dashed_line_with_its_interval_as_band(runs: pd.DataFrame, spec: ReportSpec) -> None:
    axis = figure_of(spec, runs).axes[0]
    found = [summarize_variants(check_grid(runs, spec), spec)["tf-idf", level] for level in spec.levels]
    (line,) = [line for line in axis.lines if line.get_label() == "tf-idf"]
    assert line.get_linestyle() == "--"
    np.testing.assert_allclose(line.get_ydata(), [s.mean for s in found])
    (band,) = [c for c in axis.collections if len(c.get_paths()) == 1 and c.get_alpha() == 0.2]
    corners = band.get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == pytest.approx((min(s.low for s in found), max(s.high for s in found)))


def test_ticks_stand_at_the_levels_on_a_logarithmic_axis(runs: pd.DataFrame, spec: ReportSpec) -> None:
    axis = figure_of(spec, runs).axes[0]
    assert axis.get_xscale() == "log"
    assert list(axis.get_xticks()) == [100, 1000] and list(axis.get_xticks(minor=True)) == []
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["100", "1,000"]


def test_levels_are_drawn_in_the_order_of_numbers(runs_of: Runs, spec_with: Spec) -> None:
    spec = spec_with(levels=("0.5", "0", "0.25"))
    axis = figure_of(spec, runs_of(spec)).axes[0]
    assert axis.get_xscale() == "linear"  # zero has no logarithm
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0", "0.25", "0.5"]
    assert all(np.all(np.diff(container[0].get_xdata()) > 0) for container in axis.containers)


@pytest.mark.parametrize("levels", [("",), ("cbow", "skip-gram"), ("500",)])
def test_without_numbers_to_cross_every_variant_has_a_row(
    runs_of: Runs, spec_with: Spec, levels: tuple[str, ...]
) -> None:
    spec = spec_with(levels=levels, level_name="kind" if levels[0] else "")
    axis = figure_of(spec, runs_of(spec)).axes[0]
    rows = ["random", "word2vec", *(["tf-idf"] if len(levels) > 1 else [])]  # one level: the reference is a line
    assert [tick.get_text() for tick in axis.get_yticklabels()] == rows
    assert len(axis.containers) == len(levels)


def test_the_legend_does_not_cover_the_data(runs: pd.DataFrame, spec: ReportSpec) -> None:
    figure = figure_of(spec, runs)
    figure.draw_without_rendering()
    (legend,) = figure.subfigs[0].legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_the_legend_lists_the_lines_as_they_end(runs: pd.DataFrame, spec: ReportSpec) -> None:
    (legend,) = figure_of(spec, runs).subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["random", "word2vec", "tf-idf"]


def test_level_labels_do_not_overlap(runs_of: Runs, spec_with: Spec) -> None:
    spec = spec_with(levels=("1000", "1100", "1200", "20000"))
    figure = figure_of(spec, runs_of(spec))
    figure.draw_without_rendering()
    assert {label.get_rotation() for label in figure.axes[0].get_xticklabels()} == {40.0}


def test_eight_variants_differ_in_colour_and_without_it() -> None:
    looks = [style_of(number) for number in range(8)]
    assert len({look["color"] for look in looks}) == 8
    assert len({look["marker"] for look in looks}) == 8
    assert len({look["linestyle"] for look in looks}) == 8


def test_one_seed_draws_no_interval() -> None:
    means, error = bars([Summary(3.0, np.nan, np.nan, np.nan, 1)])
    assert means.tolist() == [3.0] and error.tolist() == [[0.0], [0.0]]


def test_the_caption_tells_the_seeds(spec: ReportSpec, spec_with: Spec) -> None:
    assert "95% t interval over n = 6 seeds" in caption_of(spec)
    assert "grey band: interval of the reference" in caption_of(spec)
    assert "one seed, no interval" in caption_of(spec_with(seeds=(0,)))
    assert "band" not in caption_of(spec_with(reference=None))


def test_an_axis_is_cut_only_where_intervals_would_flatten_the_rest() -> None:
    seeds = pd.Series([10.0, 14.0])
    assert window_of(seeds, [Summary(12.0, 2.0, 8.0, 16.0, 2)]) is None
    assert window_of(seeds, [Summary(12.0, 2.0, -13.0, 37.0, 2)]) == (9.0, 15.0)
    assert window_of(seeds, [Summary(12.0, np.nan, np.nan, np.nan, 1)]) is None


def test_a_cut_axis_is_told_in_the_caption(runs_of: Runs, spec_with: Spec) -> None:
    spec = spec_with(seeds=(3, 4), variants=("random", "word2vec"), reference=None, levels=("100", "200"))
    runs = runs_of(spec)
    runs["final/error"] = [0.5, 0.4] * 4
    figure = figure_of(spec, runs)
    assert figure.axes[0].get_ylim() == pytest.approx((37.5, 52.5))
    assert "some intervals extend beyond the axis" in figure.get_supxlabel()
    assert "beyond" not in figure_of(spec_with(), runs_of(spec_with())).get_supxlabel()


def test_a_figure_shows_the_differences_that_are_tested(spec_with: Spec, runs_of: Runs) -> None:
    spec = spec_with(margins=(Margin("word2vec", "random", 2.0, "so"),))
    runs = check_grid(runs_of(spec), spec)
    rows = drawn_rows(runs, spec)
    assert [(row.variant, row.against, row.level) for row in rows] == [
        (v, a, spec.levels[-1]) for v, a in spec.chosen_pairs
    ]
    figure = draw(runs, spec)
    axis = figure.axes[1]
    shown = [line for line in axis.lines if line.get_marker() == "o"]
    for row, line in zip(rows, shown, strict=True):
        assert list(line.get_xdata()) == pair_differences(row, runs, spec)
        assert sum(line.get_xdata()) / len(spec.seeds) == pytest.approx(row.result.difference)
    written = [text.get_text() for text in axis.texts]
    assert [words.split("\n")[0] for words in written] == [row.verdict for row in rows]
    low, high = axis.get_xlim()
    assert low < -2.0 and high > 2.0, "the margin is on the axis"
    assert not drawn_rows(runs, replace(spec, seeds=(0,)))
