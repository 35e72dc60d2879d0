"""What the figure of a search draws, and that its files say the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.analysis.tuning_table import fields_of, measure_of, measure_words, read_tuning, values_words
from ulmfit_lab.report.tuning_figure import best_so_far, draw_again, draw_tuning, tuning_figure, write_tuning
from ulmfit_lab.utils.errors import DataError

FACTS: dict[str, Any] = {
    "experiment": "starts",
    "scale": "tiny",
    "measure": "final/valid_error",
    "seeds": [1001, 1002, 1003],
    "space": {},
    "importance_method": "fANOVA",
    "importance": {"random": {"classifier.lr": 0.75, "classifier.drop_mult": 0.25}, "LM": {}},
}


@pytest.fixture
def table() -> pd.DataFrame:
    """Four trials of two variants, one of them stopped with a low mean over fewer seeds, one diverged."""
    return pd.DataFrame(
        {
            "variant": ["random"] * 4 + ["LM"] * 4,
            "trial": [0, 1, 2, 3, 0, 1, 2, 4],
            "classifier.lr": [0.003, 0.0123, 0.1 / 3, 0.2, 0.003, 0.0123, 0.04, 0.2],
            "classifier.drop_mult": [0.5, 0.1, 0.2, 0.3, 0.5, 0.1, 0.2, 0.3],
            "valid_error": [0.4, 0.1, 0.3, 0.35, np.nan, 0.25, 0.24, 0.5],
            "seeds": [3, 2, 3, 3, 0, 3, 3, 3],
            "state": ["complete", "pruned", "complete", "complete", "diverged", "complete", "complete", "complete"],
        }
    )


def test_the_best_so_far_counts_complete_trials_only(table: pd.DataFrame) -> None:
    np.testing.assert_array_equal(best_so_far(table, "random"), [0.4, 0.4, 0.3, 0.3])
    np.testing.assert_array_equal(best_so_far(table, "LM"), [np.nan, 0.25, 0.24, 0.24])


def test_lines_show_the_best_and_marks_the_importance(table: pd.DataFrame) -> None:
    upper, lower = draw_tuning(table, FACTS).axes
    lines = {line.get_label(): line for line in upper.lines}
    np.testing.assert_allclose(lines["random"].get_ydata(), [40, 40, 30, 30])
    assert list(lines["random"].get_xdata()) == [1, 2, 3, 4]
    assert lines["random"].get_markevery() == [0, 2]
    marks = {line.get_label(): line for line in lower.lines}
    np.testing.assert_allclose(marks["random"].get_xdata(), [0.75, 0.25])
    assert np.isnan(marks["LM"].get_xdata()).all()
    assert [tick.get_text() for tick in lower.get_yticklabels()] == ["classifier.lr", "classifier.drop_mult"]


def test_the_caption_tells_seeds_early_stops_and_the_method(table: pd.DataFrame) -> None:
    caption = draw_tuning(table, FACTS).get_supxlabel().replace("\n", " ")
    assert "over seeds 1001, 1002, 1003" in caption and "1 of 8 trials pruned" in caption
    assert "importance by fANOVA" in caption


def test_a_single_field_has_no_importance_to_draw(table: pd.DataFrame) -> None:
    assert len(draw_tuning(table.drop(columns="classifier.drop_mult"), FACTS).axes) == 1


def test_the_same_table_gives_the_same_bytes(table: pd.DataFrame) -> None:
    assert tuning_figure(table, FACTS) == tuning_figure(table.copy(), FACTS)


def test_what_is_written_is_read_back_and_drawn_again_from_the_files(table: pd.DataFrame, tmp_path: Path) -> None:
    written = write_tuning(table, FACTS, tmp_path)
    read, facts = read_tuning(tmp_path)
    assert read is not None
    pd.testing.assert_frame_equal(read, table, check_exact=True)
    assert facts["importance"] == FACTS["importance"]
    assert (measure_of(read), fields_of(read)) == ("valid_error", ["classifier.lr", "classifier.drop_mult"])
    before = {path.name: path.read_bytes() for path in written}
    draw_again(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_a_search_or_with_a_grid_there_is_nothing_to_draw(table: pd.DataFrame, tmp_path: Path) -> None:
    assert read_tuning(tmp_path) == (None, {}) and draw_again(tmp_path) == []
    table.drop(columns=["trial", "state"]).to_csv(tmp_path / "tuning.csv", index=False)
    assert draw_again(tmp_path) == []


@pytest.mark.parametrize(("name", "text"), [("tuning.csv", "a,b\n1,2\n"), ("tuning.json", "{")])
def test_files_that_are_no_search_are_named(table: pd.DataFrame, tmp_path: Path, name: str, text: str) -> None:
    write_tuning(table, FACTS, tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"tuning\.csv cannot be read"):
        read_tuning(tmp_path)


def test_measures_and_spaces_in_words() -> None:
    assert measure_words("valid_error") == ("validation error (%)", 100.0)
    assert measure_words("lm_loss") == ("validation LM loss", 1.0)
    assert measure_words("valid_macro_f1") == ("validation macro F1 (%)", 100.0)
    assert values_words({"low": 4, "high": 32, "log": False}) == "4 to 32"
    assert values_words(["all", 0.001]) == "one of all, 0.001"
