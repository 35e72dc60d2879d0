"""The training compute of language models, and a power law through the lowest losses for their compute.

Compute is that of the matrix products, 6 operations a token and weight (Kaplan et al. 2020, "Scaling Laws for Neural
Language Models", section 2.1). The decoder's product counts, since it is most of it in a small model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ulmfit_lab.models.sizes import training_flops

SIZES = ("vocabulary.max_size", "lm.emb_size", "lm.hidden_size", "lm.n_layers")
"""Fields in the order of the arguments of `training_flops`."""
FEWEST_POINTS = 3
"""Minimum number of points for a fitted line."""


@dataclass(frozen=True)
class PowerLaw:
    """loss = factor * compute ** exponent."""

    factor: float
    exponent: float

    def at(self, compute: np.ndarray) -> np.ndarray:
        """Return the losses at these amounts of compute, (n,) to (n,)."""
        return np.asarray(self.factor * compute**self.exponent)


def training_compute(runs: pd.DataFrame) -> pd.Series[float]:
    """Return the operations of each run's pretraining, from its params.

    runs: a table with the columns `param/...`; `general.max_tokens` must be above 0
    """
    sizes = runs[[f"param/{name}" for name in SIZES]].astype(int)
    tokens = runs["param/general.max_tokens"].astype(float) * runs["param/pretraining.epochs"].astype(float)
    return tokens * [training_flops(*each) for each in sizes.itertuples(index=False)]


def lowest_for_compute(compute: Sequence[float], loss: Sequence[float]) -> list[int]:
    """Return the indices of the points of which no other has a lower loss for as much compute or less, by compute.

    >>> lowest_for_compute([1.0, 2.0, 2.0, 3.0], [5.0, 4.5, 4.0, 4.2])
    [0, 2]
    """
    found: list[int] = []
    for place in sorted(range(len(loss)), key=lambda i: (compute[i], loss[i])):
        if not found or loss[place] < loss[found[-1]]:
            found.append(place)
    return found


def fit_power_law(compute: Sequence[float], loss: Sequence[float]) -> PowerLaw | None:
    """Fit a line to the logarithms by least squares; None for fewer than three points."""
    if len(loss) < FEWEST_POINTS:
        return None
    exponent, intercept = np.polyfit(np.log(compute), np.log(loss), 1)
    return PowerLaw(float(np.exp(intercept)), float(exponent))
