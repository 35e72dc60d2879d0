"""The table of runs: exact through CSV, and complete or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.analysis.run_table import check_grid, csv_text, of_language_model, read_runs, runs_frame
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.utils.errors import DataError, IncompleteError, MismatchError


def through_csv(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    path = folder / "runs.csv"
    path.write_bytes(csv_text(runs).encode())
    return read_runs(path)


def test_csv_is_exact(runs: pd.DataFrame, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    runs["final/error"] = generator.random(len(runs)) * 10.0 ** generator.integers(-300, 300, len(runs))
    runs["best/valid_loss"] = [np.nan, np.inf, 1e-310, *[0.1] * (len(runs) - 3)]
    runs["param/quoted"] = ['a,"b"', "two\nlines", "NA", *["007"] * (len(runs) - 3)]
    written = runs_frame(runs)
    pd.testing.assert_frame_equal(through_csv(written, tmp_path), written, check_exact=True)


def test_text_stays_text_and_numbers_numbers(runs: pd.DataFrame, tmp_path: Path) -> None:
    found = through_csv(runs_frame(runs), tmp_path)
    assert found["level"].iloc[0] == "100"
    assert found["param/classifier.lr"].iloc[0] == "0.010"
    assert found["stage/classifier"].iloc[0] == "00e1"  # a number to a careless reader
    assert [found[name].dtype.kind for name in ("seed", "final/error", "dirty")] == ["i", "f", "b"]


def test_tidy_does_not_depend_on_order_of_columns_or_types(runs: pd.DataFrame) -> None:
    other = runs[runs.columns[::-1]].assign(level=runs["level"].astype(int), seed=runs["seed"].astype(str), dirty=False)
    pd.testing.assert_frame_equal(runs_frame(other), runs_frame(runs))


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"runs\.csv.*no column run_id"):
        read_runs(path)
    with pytest.raises(DataError, match=r"absent\.csv"):
        read_runs(tmp_path / "absent.csv")


def test_a_measure_that_is_no_number_is_named(runs: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"final/error.*'high'"):
        runs_frame(runs.assign(**{"final/error": "high"}))


def test_the_grid_comes_in_declared_order(runs: pd.DataFrame, spec: ReportSpec) -> None:
    shuffled = runs.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(check_grid(shuffled, spec), runs_frame(runs))


def test_runs_outside_the_grid_are_left_out(runs: pd.DataFrame, spec: ReportSpec) -> None:
    others = [{"seed": 99}, {"level": "5"}, {"variant": "old"}, {"scale": "paper"}, {"status": "FAILED"}]
    extra = [runs.iloc[[0]].assign(**other) for other in others]
    assert len(check_grid(pd.concat([runs, *extra]), spec)) == len(runs)


def test_holes_are_refused_by_name(runs: pd.DataFrame, spec: ReportSpec) -> None:
    with pytest.raises(IncompleteError) as caught:
        check_grid(runs.drop(index=[7, 35]), spec)
    message = str(caught.value)
    assert "2 of 36" in message
    assert "random @ 1000, seed 1; tf-idf @ 1000, seed 5" in message
    assert "ulmfit-lab sweep vectors --scale tiny" in message


def test_only_the_first_holes_are_named(runs: pd.DataFrame, spec: ReportSpec) -> None:
    with pytest.raises(IncompleteError, match=r"36 of 36 .*random @ 100, seed 2; and 33 more"):
        check_grid(runs.iloc[:0], spec)


def test_a_run_that_failed_is_a_hole(runs: pd.DataFrame, spec: ReportSpec) -> None:
    runs.loc[0, "status"] = "FAILED"
    with pytest.raises(IncompleteError, match="random @ 100, seed 0"):
        check_grid(runs, spec)


def test_a_cell_that_ran_twice_is_refused(runs: pd.DataFrame, spec: ReportSpec) -> None:
    again = runs.iloc[[3]].assign(run_id="again")
    with pytest.raises(IncompleteError, match=r"random @ 100, seed 3.*003, again"):
        check_grid(pd.concat([runs, again]), spec)


def test_a_run_without_the_measure_is_refused(runs: pd.DataFrame, spec: ReportSpec) -> None:
    runs.loc[2, "final/error"] = float("nan")
    with pytest.raises(IncompleteError, match=r"1 finished runs have no finite final/error .*seed 2"):
        check_grid(runs, spec)


def test_a_measure_that_no_run_has_is_refused(runs: pd.DataFrame, spec_with: Callable[..., ReportSpec]) -> None:
    with pytest.raises(IncompleteError, match=r"final/eror.*Known: final/error"):
        check_grid(runs, spec_with(metric="final/eror"))


def test_perplexities_over_different_vocabularies_are_refused(
    runs: pd.DataFrame, spec: ReportSpec, spec_with: Callable[..., ReportSpec]
) -> None:
    mixed = runs.assign(**{"final/lm_perplexity": 50.0, "param/vocabulary": ["a"] * 30 + ["b"] * 6})
    with pytest.raises(MismatchError, match=r"2 vocabularies .*tf-idf @ 1000, seed 0"):
        check_grid(mixed, spec_with(metric="final/lm_perplexity"))
    assert len(check_grid(mixed, spec)) == 36  # errors of a classifier may be compared
    by_level = mixed.assign(**{"param/vocabulary": mixed["level"]})
    assert len(check_grid(by_level, spec_with(metric="final/lm_perplexity"))) == len(mixed)
    with_loss = mixed.assign(**{"final/loss": 4.0, "param/last_stage": "classifier"})
    assert len(check_grid(with_loss, spec_with(metric="final/loss"))) == 36
    of_models = with_loss.assign(**{"param/last_stage": "fine-tuned"})
    with pytest.raises(MismatchError, match="final/loss over 2 vocabularies"):
        check_grid(of_models, spec_with(metric="final/loss"))
    same = mixed.assign(**{"param/vocabulary": "a"})
    assert len(check_grid(same, spec_with(metric="final/lm_perplexity"))) == 36


def test_a_model_without_a_number_to_associate_is_refused_but_not_a_variant_that_takes_no_part(
    associated: tuple[pd.DataFrame, ReportSpec],
) -> None:
    runs, spec = associated
    runs.loc[runs["variant"] == "twin", "final/lm_accuracy"] = float("nan")
    assert len(check_grid(runs, spec)) == 54
    runs.loc[0, "final/lm_accuracy"] = float("nan")
    with pytest.raises(IncompleteError, match=r"1 finished runs have no finite final/lm_accuracy .*model 0, seed 0"):
        check_grid(runs, spec)
    with pytest.raises(IncompleteError, match="no run has the metric 'final/lm_perplexity'"):
        check_grid(runs.drop(columns="final/lm_perplexity"), spec)


def test_models_of_different_vocabularies_are_not_associated(associated: tuple[pd.DataFrame, ReportSpec]) -> None:
    runs, spec = associated
    mixed = runs.assign(**{"param/vocabulary": ["a"] * 48 + ["b"] * 6})
    assert len(check_grid(mixed, spec)) == 54  # the other vocabulary's variant takes no part
    with pytest.raises(MismatchError, match="final/lm_perplexity over 2 vocabularies"):
        check_grid(runs.assign(**{"param/vocabulary": ["a"] * 12 + ["b"] * 42}), spec)


@pytest.mark.parametrize("measure", ["final/lm_loss", "pretraining/valid_loss", "final/lm_perplexity"])
def test_measures_that_depend_on_the_vocabulary(measure: str) -> None:
    assert of_language_model(measure)


@pytest.mark.parametrize("measure", ["final/error", "final/valid_loss", "best/valid_loss", "pretraining/accuracy"])
def test_measures_that_do_not_depend_on_the_vocabulary(measure: str) -> None:
    assert not of_language_model(measure)
