"""Looks add seeds where a comparison is open, and nowhere else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ulmfit_lab.analysis.comparisons import compare_variants, headline
from ulmfit_lab.analysis.interim import Cell, replay_looks
from ulmfit_lab.analysis.run_table import check_grid, runs_frame
from ulmfit_lab.analysis.sequential import level_at
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.analysis.statistics import smallest_difference
from ulmfit_lab.report.figures import caption_of
from ulmfit_lab.report.ledger import LOOKED, Entry, ledger_text, result_of
from ulmfit_lab.report.tables import markdown_report, print_report
from ulmfit_lab.utils.errors import IncompleteError

LOOKS = (6, 8, 10)


@pytest.fixture
def spec(spec_with: Callable[..., ReportSpec]) -> ReportSpec:
    """Two comparisons: one of a huge difference, one of none."""
    contrasts = (("word2vec", "random"), ("tf-idf", "random"))
    return spec_with(levels=("100",), seeds=tuple(range(10)), looks=LOOKS, contrasts=contrasts, published=())


def measure(spec: ReportSpec, shift: float = 40.0) -> dict[Cell, float]:
    """What every cell would measure: word2vec differs, tf-idf differs in noise alone."""
    noise = np.random.default_rng(0).standard_normal((3, len(spec.seeds)))
    means = dict(zip(spec.variants, (50.0, 50.0 - shift, 50.0), strict=True))
    cells = itertools.product(spec.variants, spec.levels, spec.seeds)
    return {(v, at, s): means[v] + noise[spec.variants.index(v), s] for v, at, s in cells}


def run_until_decided(spec: ReportSpec, world: dict[Cell, float]) -> set[Cell]:
    """Make the runs that each next look needs, as a sweep does."""
    made: set[Cell] = set()
    while not (looks := replay_looks({cell: world[cell] for cell in made}, spec)).ended:
        assert looks.needed - made
        made |= looks.needed
    return made


def runs_made(spec: ReportSpec, runs_of: Callable[[ReportSpec], pd.DataFrame]) -> tuple[list[bool], pd.DataFrame]:
    """The table of runs with all seeds, and which of them a sweep makes."""
    world = measure(spec)
    made, runs = run_until_decided(spec, world), runs_of(spec)
    cells = list(zip(runs["variant"], runs["level"], runs["seed"], strict=True))
    runs["final/error"] = [world[cell] / 100 for cell in cells]
    return [cell in made for cell in cells], runs


def test_a_decided_comparison_gets_no_more_seeds_and_an_open_one_all(spec: ReportSpec) -> None:
    made = run_until_decided(spec, measure(spec))
    count = {v: sum(cell[0] == v for cell in made) for v in spec.variants}
    assert count == {"random": 10, "word2vec": 6, "tf-idf": 10}


def test_nothing_is_added_where_all_is_decided(spec: ReportSpec) -> None:
    one = measure(spec)
    for cell in [cell for cell in one if cell[0] == "tf-idf"]:
        one[cell] += 30
    assert len(run_until_decided(spec, one)) == 18


def test_what_was_decided_stays_decided_by_the_seeds_that_it_had(spec: ReportSpec) -> None:
    world = measure(spec)
    early = replay_looks({cell: v for cell, v in world.items() if cell[2] < 6}, spec)
    late = replay_looks(world, spec)
    place = ("100", "word2vec", "random")
    assert early.results[place] == late.results[place] and late.results[place].n == 6
    assert early.open == late.open == (("100", "tf-idf", "random"),)


def test_the_report_needs_just_these_runs_and_says_how_they_came_about(
    spec: ReportSpec, runs_of: Callable[[ReportSpec], pd.DataFrame]
) -> None:
    made, runs = runs_made(spec, runs_of)
    kept = runs[made]
    table = check_grid(kept, spec)
    assert len(table) == 26
    pd.testing.assert_frame_equal(check_grid(runs, spec), table)  # what nobody needed is left out
    rows = compare_variants(table, spec)
    assert [(row.result.n, row.verdict) for row in rows] == [(6, "better"), (10, "no difference shown")]
    assert headline(rows, spec).startswith("Over 6 to 10 paired seeds, ")
    text = markdown_report(runs_frame(table), spec)
    assert "Interim analyses after 6, 8, 10 seeds" in text and "Interim analyses saved 4 of 30 runs." in text
    assert "repeated p-value" in text and "95% t interval" not in text and "further seeds" not in text
    assert "over n = 6 to 10 seeds, not adjusted for interim analyses" in caption_of(spec)
    with pytest.raises(IncompleteError, match=r"1 of 26 runs are missing .*--until-decided` \(looks after 6, 8, 10"):
        check_grid(kept.iloc[:-1], spec)


def test_the_terminal_says_that_p_and_interval_are_repeated_ones(
    spec: ReportSpec, runs_of: Callable[[ReportSpec], pd.DataFrame]
) -> None:
    made, runs = runs_made(spec, runs_of)
    console = Console(file=StringIO(), width=100)
    print_report(runs[made], spec, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(f" ({n})" in shown for n in (6, 10))  # the seeds of each cell, where they differ
    assert "over 6 to 10 seeds" in shown and "repeated 95% CI; repeated p adjusted (Holm)" in shown


def test_the_ledger_tells_seeds_of_each_contrast_and_what_the_last_look_could_have_shown(
    spec: ReportSpec, runs_of: Callable[[ReportSpec], pd.DataFrame]
) -> None:
    made, runs = runs_made(spec, runs_of)
    contrasts = [(variant, "random", "100") for variant in ("word2vec", "tf-idf")]
    result = result_of(check_grid(runs[made], spec), spec, contrasts)
    level = level_at(LOOKS, 10, 0.025)  # of two comparisons the hardest
    assert level < 0.025
    open_ = result.headlines[1]
    assert open_.smallest == smallest_difference(open_.row.result.sd, 10, alpha=level)
    text = ledger_text([Entry("vectors", "A claim.", "A lecture", "A question?", "vectors", result)], "")
    assert "| 6 to 10 |" in text and text.endswith(LOOKED + "\n")
