"""Runs that are no test of what they compare are marked, and no verdict is given on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.analysis.comparisons import compare_variants, summarize_variants
from ulmfit_lab.analysis.manipulation_checks import find_failed_checks
from ulmfit_lab.analysis.run_table import check_grid, runs_frame
from ulmfit_lab.analysis.spec import ManipulationCheck, ReportSpec
from ulmfit_lab.config.paths import fingerprint
from ulmfit_lab.report.figures import draw
from ulmfit_lab.report.ledger import RESULT_HEADER, Entry, ledger_row, result_of
from ulmfit_lab.report.tables import markdown_report
from ulmfit_lab.report.write import declared, sweep_metrics

BEGAN = ManipulationCheck("final/pretraining_averaging_began", statement="averaging began", at_least=0)


def diverged(runs: pd.DataFrame, seeds: tuple[int, ...]) -> pd.DataFrame:
    """The grid, of which word2vec's runs at 1000 labels diverged with some seeds."""
    ill = (runs["variant"] == "word2vec") & (runs["level"] == "1000") & runs["seed"].isin(seeds)
    measured = runs["final/error"].where(~ill, 1e304)
    return runs_frame(runs.assign(diverged=np.where(ill, "lower pretraining.lr", ""), **{"final/error": measured}))


def began(runs: pd.DataFrame, steps: list[float]) -> pd.DataFrame:
    """The grid, with the step at which word2vec's runs began to average, seed by seed."""
    values = runs["seed"].map(dict(enumerate(steps))).where(runs["variant"] == "word2vec")
    return runs_frame(runs.assign(**{BEGAN.metric: values}))


def section(text: str, name: str) -> str:
    return text.partition(f"## {name}\n")[2].partition("\n## ")[0]


def test_runs_that_diverged_are_in_no_mean_and_their_comparison_is_void(runs: pd.DataFrame, spec: ReportSpec) -> None:
    table = check_grid(diverged(runs, (1, 4)), spec)
    assert find_failed_checks(table, spec) == {("word2vec", "1000"): "2 of 6 runs diverged"}
    left = runs[(runs["variant"] == "word2vec") & (runs["level"] == "1000") & ~runs["seed"].isin((1, 4))]
    found = summarize_variants(table, spec)["word2vec", "1000"]
    assert found.n == 4 and found.mean == pytest.approx(100 * left["final/error"].mean())
    sound, void = compare_variants(table, spec)
    assert (void.verdict, void.why, void.result.n) == ("void", "word2vec: 2 of 6 runs diverged", 4)
    assert sound.verdict == "better" and sound.corrected_p == pytest.approx(sound.result.p)  # a void one is no test
    text = markdown_report(table, spec)
    assert "(4); void: 2 of 6 runs diverged" in section(text, "Test error (%)")
    assert "- word2vec @ 1000, seed 1: lower pretraining.lr" in section(text, "Diverged")
    assert "nothing is claimed of word2vec against random at labels 1,000" in text


def test_where_all_diverged_there_is_no_number_and_the_figure_is_drawn(
    runs: pd.DataFrame, spec_with: Callable[..., ReportSpec]
) -> None:
    for levels in (("100", "1000"), ("1000",)):
        spec = spec_with(levels=levels)
        table = check_grid(diverged(runs, tuple(range(6))), spec)
        assert "none (0); void: 6 of 6 runs diverged" in markdown_report(table, spec)
        assert not any("word2vec at 1000" in name for name in sweep_metrics(table, spec))
        assert max(draw(table, spec).axes[0].get_xlim()) < 1e6 and max(draw(table, spec).axes[0].get_ylim()) < 1e6


def test_a_manipulation_that_never_happened_voids_its_comparisons_and_one_that_did_is_shown(
    runs: pd.DataFrame, spec_with: Callable[..., ReportSpec]
) -> None:
    spec = spec_with(checks=(("word2vec", BEGAN),))
    never = began(runs, [-1.0] * 6)
    assert [row.verdict for row in compare_variants(never, spec)] == ["void", "void"]
    text = markdown_report(never, spec)
    assert "void: averaging began in 0 of 6 runs" in section(text, "Test error (%)")
    assert "| word2vec | 100 | averaging began | 0 of 6 | -1, -1, -1, -1, -1, -1 |" in section(text, "Checks")
    some = began(runs, [-1.0, 70.0, 0.0, -1.0, -1.0, np.nan])
    assert [row.verdict for row in compare_variants(some, spec)] == ["better", "better"]
    assert "| averaging began | 2 of 6 | -1, 70, 0, -1, -1, nan |" in section(markdown_report(some, spec), "Checks")
    assert find_failed_checks(runs_frame(runs), spec)  # a number that no run has measured shows nothing


def test_the_ledger_claims_nothing_of_what_is_void(runs: pd.DataFrame, spec_with: Callable[..., ReportSpec]) -> None:
    spec = spec_with(checks=(("word2vec", BEGAN),))
    result = result_of(began(runs, [-1.0] * 6), spec, [("word2vec", "random", "1000")])
    row = ledger_row(Entry("vectors", "They do.", "A lecture", "Do they?", "vectors", result))
    told = dict(zip(("claim", "source", *RESULT_HEADER), row, strict=True))
    assert told["verdict"].endswith("**void** (word2vec: averaging began in 0 of 6 runs)")
    assert told["detectable difference"] == "-"


def test_a_check_is_part_of_what_is_declared_only_where_there_is_one(spec: ReportSpec) -> None:
    checked = replace(spec, checks=(("word2vec", BEGAN),))
    assert "checks" not in declared(spec) and "checks" in declared(checked)
    assert fingerprint(declared(checked)) != fingerprint(declared(spec))


def test_bounds_hold_on_both_sides_and_nothing_measured_passes_none() -> None:
    check = ManipulationCheck("final/gap", statement="it overfits", at_least=0.1, at_most=0.5)
    assert [check.passes(value) for value in (0.09, 0.1, 0.5, 0.51, float("nan"))] == [False, True, True, False, False]
