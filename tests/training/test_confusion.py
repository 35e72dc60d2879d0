"""Confusion matrices against ones counted by hand, and what their pictures show."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ulmfit_lab.training.confusion import MOST_DRAWN, confusion_matrix, draw_confusion
from ulmfit_lab.training.metrics import macro_f1

TRUTH, GUESSES = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0])
MATRIX = np.array([[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


def texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def drawn(matrix: np.ndarray, names: list[str]) -> Axes:
    figure = draw_confusion(matrix, names)
    assert isinstance(figure, Figure)
    figure.savefig("/dev/null", format="png")
    return figure.axes[0]


def test_rows_are_the_truth_and_a_class_without_documents_keeps_its_place() -> None:
    np.testing.assert_array_equal(confusion_matrix(TRUTH, GUESSES, 4), MATRIX)
    # F1 = 2 hits / (true + guessed): 4/7, 2/4 and 0/1
    assert np.isclose(macro_f1(np.eye(3)[GUESSES], TRUTH), (4 / 7 + 1 / 2 + 0) / 3)


def test_a_cell_has_its_count_and_its_share_of_the_row() -> None:
    axis = drawn(MATRIX, ["a", "$b", "c" * 40, "d"])
    assert texts(axis) == ["2\n67%", "1\n33%", *[""] * 2, "1\n50%", "1\n50%", *[""] * 2, "1\n100%", *[""] * 7]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", r"\$b", "c" * 15 + "…", "d"]
    assert (axis.get_ylabel(), axis.get_xlabel(), axis.get_title()) == ("true", "predicted", "6 test documents")


def test_of_many_classes_the_most_frequent_are_drawn() -> None:
    matrix = np.diag(np.arange(40))
    matrix[39, 0] = 39  # a column that is not drawn, but counts in its row
    axis = drawn(matrix, [f"class {number}" for number in range(40)])
    assert [label.get_text() for label in axis.get_yticklabels()] == [f"class {n}" for n in range(10, 40)]
    assert len(texts(axis)) == MOST_DRAWN**2 and texts(axis)[-1] == "39\n50%"
    assert "the 30 largest of 40 classes" in axis.get_title()
