"""Confusion matrix of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

MOST_DRAWN = 30
"""Classes drawn; of more, those with the most documents."""
LONGEST_NAME = 16
"""Characters of a class name drawn."""


def confusion_matrix(truth: np.ndarray, guesses: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the number of documents (C, C) int64 by true (row) and predicted class (column), from class ids (n,)."""
    from sklearn.metrics import confusion_matrix as count  # slow to import

    found: np.ndarray = count(truth, guesses, labels=np.arange(n_classes))
    return found


def draw_confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix; each field shows its count and its share of the row, which is also its shade."""
    import seaborn as sns

    totals = matrix.sum(1)
    kept = np.sort(np.argsort(-totals, kind="stable")[:MOST_DRAWN])
    shares = (matrix / np.maximum(totals, 1)[:, None])[np.ix_(kept, kept)]
    counts, names = matrix[np.ix_(kept, kept)], [shortened(classes[number]) for number in kept]
    cells = [
        [f"{n:,}\n{s:.0%}" if n else "" for n, s in zip(*row, strict=True)] for row in zip(counts, shares, strict=True)
    ]
    side = 2.2 + 0.62 * len(kept)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    look = {"cmap": "Greys", "vmin": 0, "vmax": 1, "square": True, "linewidths": 0.5, "linecolor": "0.8"}
    words = {"annot": np.array(cells), "fmt": "", "annot_kws": {"fontsize": 8}, "cbar_kws": {"label": "share of row"}}
    sns.heatmap(shares, ax=axis, xticklabels=names, yticklabels=names, **look, **words)
    axis.tick_params(axis="y", rotation=0)
    title = f"{matrix.sum():,} test documents"
    if len(kept) < len(matrix):
        title += f"; the {len(kept)} largest of {len(matrix)} classes, shares are of the whole row"
    axis.set(xlabel="predicted", ylabel="true", title=title)
    return figure


def shortened(name: str) -> str:
    """Return a class name on one line, cut; $ is escaped since it starts a formula."""
    name = " ".join(name.split())
    return (name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…").replace("$", r"\$")
