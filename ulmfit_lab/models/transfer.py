"""Moving what a model knows about words to another vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ulmfit_lab.models.word_vectors import WordVectors


def unseen_rows(known: Tensor, n: int, unseen: str, generator: torch.Generator) -> Tensor:
    """Rows (n, d) for words without one of their own, from those (m, d) of the words that have one.

    mean: the mean row (ULMFiT); zeros; normal or uniform: a draw with the known rows' mean and sd in each column.
    """
    mean, sd = known.mean(0), known.std(0, correction=0)
    draws = {
        "mean": lambda: mean.expand(n, -1),
        "zeros": lambda: torch.zeros(n, known.shape[1]),
        "normal": lambda: mean + sd * torch.randn(n, known.shape[1], generator=generator),
        # a uniform distribution over +-sqrt(3) sd has that sd
        "uniform": lambda: mean + sd * 3**0.5 * (2 * torch.rand(n, known.shape[1], generator=generator) - 1),
    }
    return draws[unseen]()


def transfer_rows(
    rows: Tensor, old: Sequence[str], new: Sequence[str], unseen: str, generator: torch.Generator
) -> Tensor:
    """Rows (V_new, d) for the new words: a known word's own row, `unseen_rows` for the others."""
    where = {word: number for number, word in enumerate(old)}
    source = torch.tensor([where.get(word, -1) for word in new])
    known = source >= 0
    moved = torch.empty(len(new), rows.shape[1], dtype=rows.dtype)
    rows = rows.detach().cpu()
    moved[known] = rows[source[known]]
    moved[~known] = unseen_rows(rows, int((~known).sum()), unseen, generator).to(rows.dtype)
    return moved


def embedding_from_vectors(
    vectors: WordVectors, words: Sequence[str], initial: Tensor, unseen: str, generator: torch.Generator
) -> Tensor:
    """An embedding matrix (V, E) that starts from word vectors (n, d), d <= E.

    The vectors are scaled to the initial matrix's sd, so that only what they say differs from a random start,
    not how loudly. Where d < E the first d columns are theirs and the others stay as they are in `initial` (V, E).
    """
    rows = torch.from_numpy(vectors.matrix)
    scaled = rows * (initial.std() / rows.std())
    width = min(rows.shape[1], initial.shape[1])
    moved = transfer_rows(scaled[:, :width], vectors.words, words, unseen, generator)
    return torch.cat([moved.to(initial.dtype), initial[:, width:]], 1)
