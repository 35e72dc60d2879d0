"""Transfer of word-specific weights to another vocabulary."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.models.word_vectors import WordVectors

Unseen: TypeAlias = Literal["mean", "zeros", "normal", "uniform"]


def unseen_rows(known: Tensor, n: int, unseen: Unseen, generator: torch.Generator) -> Tensor:
    """Return rows (n, d) for new words, given the rows (m, d) of known words.

    mean: the mean row (Howard & Ruder 2018); zeros; normal or uniform: drawn with the known rows' mean and standard
    deviation in each column.
    """
    mean, sd = known.mean(0), known.std(0, correction=0)
    size = n, known.shape[1]
    match unseen:
        case "mean":
            return mean.repeat(n, 1)
        case "zeros":
            return known.new_zeros(size)
        case "normal":
            return mean + sd * torch.randn(size, generator=generator)
        case "uniform":  # over +-sqrt(3) standard deviations
            return mean + sd * 3**0.5 * (2 * torch.rand(size, generator=generator) - 1)


def transfer_rows(
    rows: Tensor, old: Sequence[str], new: Sequence[str], unseen: Unseen, generator: torch.Generator
) -> Tensor:
    """Return rows (V_new, d) for the new words: a known word's row of (V_old, d), `unseen_rows` for the others.

    The result is on the CPU and has the rows' type.
    """
    rows = rows.detach().cpu()
    where = {word: number for number, word in enumerate(old)}
    source = torch.tensor([where.get(word, -1) for word in new], dtype=torch.int64)
    known = source >= 0
    moved = rows.new_empty(len(new), rows.shape[1])
    moved[known] = rows[source[known]]
    moved[~known] = unseen_rows(rows, int((~known).sum()), unseen, generator).to(rows.dtype)
    return moved


def move_language_model(
    model: LanguageModel, old: Sequence[str], new: Sequence[str], unseen: Unseen, generator: torch.Generator
) -> LanguageModel:
    """Return a copy of a language model with another vocabulary.

    `transfer_rows` moves embedding, decoder bias and an untied decoder's weight; the rest is copied. New words have the
    mean bias whatever `unseen` is: the bias says how frequent a word is, and its mean is far from 0.
    """

    def moved_rows(rows: Tensor, unseen: Unseen) -> Tensor:
        table = rows.reshape(len(old), -1)
        return transfer_rows(table, old, new, unseen, generator).reshape(-1, *rows.shape[1:]).to(rows.device)

    moved = copy.deepcopy(model)
    embedding = moved_rows(model.encoder.embedding.weight, unseen)
    moved.encoder.embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        embedding, freeze=False, padding_idx=model.encoder.pad
    )
    moved.decoder_bias = nn.Parameter(moved_rows(model.decoder_bias, "mean"))
    if model.untied_weight is not None:
        moved.untied_weight = nn.Parameter(moved_rows(model.untied_weight, unseen))
    return moved


def embedding_from_vectors(
    vectors: WordVectors, words: Sequence[str], initial: Tensor, unseen: Unseen, generator: torch.Generator
) -> Tensor:
    """Return an embedding matrix (V, E) initialised from word vectors (n, d).

    The vectors are scaled to the standard deviation of `initial` (V, E), so that starts differ in direction only. If
    d < E the remaining columns are those of `initial`; if d > E only the first E dimensions are used.
    """
    rows = torch.from_numpy(vectors.matrix)
    scaled = rows * (initial.std() / rows.std())
    width = min(rows.shape[1], initial.shape[1])
    moved = transfer_rows(scaled[:, :width], vectors.words, words, unseen, generator)
    return torch.cat([moved.to(initial.dtype), initial[:, width:]], 1)
