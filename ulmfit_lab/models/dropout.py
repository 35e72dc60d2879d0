"""Dropout functions of the AWD-LSTM; masks are drawn from torch's global generator."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_like(x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """Return a tensor that is 0 with probability p and 1 / (1 - p) otherwise, with type and device of x."""
    return torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - p).div_(1 - p)


def locked_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop the same features at every time step (Gal & Ghahramani 2016, arXiv 1512.05287).

    x (T, B, F) -> (T, B, F); one mask (1, B, F) per call.
    """
    if not training or p == 0:
        return x
    return x * mask_like(x, (1, x.shape[1], x.shape[2]), p)


def embedding_dropout(x: Tensor, ids: Tensor, n_words: int, p: float, training: bool) -> Tensor:
    """Drop all occurrences of a word together; scale the others by 1 / (1 - p).

    x (T, B, E), the vectors of ids (T, B) < n_words -> (T, B, E). Equivalent to dropout of rows of the embedding
    matrix (Merity et al. 2017, section 4.3), without copying it.
    """
    if not training or p == 0:
        return x
    return x * mask_like(x, (n_words, 1), p)[ids]


def drop_connect(weight: Tensor, p: float, training: bool) -> Tensor:
    """Drop single weights (Wan et al. 2013); scale the others by 1 / (1 - p). weight (M, N) -> (M, N)."""
    if not training or p == 0:
        return weight
    return weight * mask_like(weight, tuple(weight.shape), p)
