"""Sizes of a language model, and thresholds above which large ones use other kernels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

WIDE = 1500
"""Inputs plus units from which `wide_lstm` is used. At 400 to 1,152 units it is 1.04 to 1.3 times as fast as torch's
layer; at 128 to 384 it takes 1.6 times as long."""
MANY_WORDS = 2**15
"""Words from which the output layer's gradient is computed for several blocks at once (see `cross_entropy`)."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a language model's weights."""

    words: int
    emb_size: int
    hidden_size: int
    n_layers: int
    tie_weights: bool


def layer_sizes(emb_size: int, hidden_size: int, n_layers: int) -> list[tuple[int, int]]:
    """Return inputs and units of each LSTM layer, bottom to top.

    >>> layer_sizes(400, 1150, 3)
    [(400, 1150), (1150, 1150), (1150, 400)]
    """
    return list(pairwise([emb_size] + [hidden_size] * (n_layers - 1) + [emb_size]))


def training_flops(words: int, emb_size: int, hidden_size: int, n_layers: int) -> int:
    """Return the floating-point operations of training on a token, matrix products alone.

    An LSTM layer multiplies 4H rows by I + H columns, the decoder V rows by E; a product takes a multiplication and an
    addition for every number, and the backward pass makes two products for each of the forward pass.

    >>> training_flops(10, 2, 3, 2)
    720
    """
    lstm = sum(8 * units * (inputs + units) for inputs, units in layer_sizes(emb_size, hidden_size, n_layers))
    return 3 * (lstm + 2 * words * emb_size)


def is_wide(input_size: int, hidden_size: int) -> bool:
    """Return whether a layer uses `wide_lstm` on a CPU in bfloat16."""
    return input_size + hidden_size >= WIDE
