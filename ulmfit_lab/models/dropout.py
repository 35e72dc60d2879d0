"""The AWD-LSTM's kinds of dropout as pure functions; masks come from torch's global generator."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_like(x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """A tensor of this shape that is 0 with probability p and 1 / (1 - p) otherwise; type and device are x's."""
    return torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - p).div_(1 - p)


def locked_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop the same features at every time step (Gal & Ghahramani 2016, arXiv 1512.05287).

    x (T, B, F) -> (T, B, F); one mask (1, B, F) a call.
    """
    if not training or p == 0:
        return x
    return x * mask_like(x, (1, x.shape[1], x.shape[2]), p)


def embedding_dropout(x: Tensor, ids: Tensor, n_words: int, p: float, training: bool) -> Tensor:
    """Drop whole words: all occurrences of a word together, the kept ones scaled by 1 / (1 - p).

    x (T, B, E) vectors of ids (T, B), which are below n_words -> (T, B, E). Scaling looked-up rows equals scaling
    the embedding matrix before the look-up (Merity et al. 2017, section 4.3) and spares a copy of it.
    """
    if not training or p == 0:
        return x
    return x * mask_like(x, (n_words, 1), p)[ids]


def drop_connect(weight: Tensor, p: float, training: bool) -> Tensor:
    """Drop single weights (Wan et al. 2013), the kept ones scaled by 1 / (1 - p); weight and result (M, N)."""
    if not training or p == 0:
        return weight
    return weight * mask_like(weight, tuple(weight.shape), p)
