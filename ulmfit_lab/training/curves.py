"""Loss curves of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ulmfit_lab.training.progress import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_curves(curves: Mapping[str, Sequence[Point]]) -> Figure:
    """Draw training and validation loss over epochs, one panel per stage."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(4.2 * len(curves), 3.2))
    figure.subplots_adjust(left=0.55 / 4.2 / len(curves), right=0.98, bottom=0.15, top=0.9)
    for axis, (name, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for key, style in (("loss", "-"), ("valid_loss", "o--")):
            shown = [(p.epoch, p.values[key]) for p in points if key in p.values]
            if shown:
                axis.plot(*zip(*shown, strict=True), style, label=key.replace("_", " "), markersize=4)
        axis.set(title=name.replace("_", "-"), xlabel="epoch", ylabel="cross-entropy (nats)")
        axis.legend(frameon=False)
    return figure
