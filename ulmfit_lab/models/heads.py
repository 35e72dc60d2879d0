"""What sits on the encoder: a decoder that predicts the next word, or a head that pools and classifies."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ulmfit_lab.models.awd_lstm import AWDLSTM, State, lstm_groups, parameters_of
from ulmfit_lab.models.dropout import locked_dropout


class LanguageModel(nn.Module):
    """An encoder and a linear decoder whose weight is the embedding matrix, if tied (Press & Wolf 2017)."""

    def __init__(self, encoder: AWDLSTM, *, tie_weights: bool = True) -> None:
        super().__init__()
        self.encoder, self.tied = encoder, tie_weights
        words, size = encoder.embedding.weight.shape
        self.decoder_bias = nn.Parameter(torch.zeros(words))
        self.untied_weight = None if tie_weights else nn.Parameter(torch.empty(words, size).uniform_(-0.1, 0.1))

    @property
    def decoder_weight(self) -> nn.Parameter:
        """The decoder's weight (V, E)."""
        return self.encoder.embedding.weight if self.untied_weight is None else self.untied_weight

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """ids (T, B) -> last layer's output (T, B, E) with output dropout, without it, and the state after."""
        raw, after = self.encoder(ids, state)
        return locked_dropout(raw, self.encoder.dropouts.output, self.training), raw, after

    def logits(self, dropped: Tensor) -> Tensor:
        """(..., E) -> (..., V), for generation and tests; training uses `linear_cross_entropy`."""
        return nn.functional.linear(dropped, self.decoder_weight, self.decoder_bias)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Each LSTM layer from the bottom, then embedding and decoder, which tying makes one (as in fastai)."""
        top = parameters_of([self.encoder.embedding]) + [self.decoder_bias]
        return [*lstm_groups(self.encoder), top + ([] if self.untied_weight is None else [self.untied_weight])]


class Classifier(nn.Module):
    """An encoder and ULMFiT's head: concat pooling, one hidden layer, batch norm and dropout before each layer."""

    def __init__(
        self, encoder: AWDLSTM, n_classes: int, *, head_size: int, output_dropout: float, head_dropout: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        pooled = 3 * encoder.embedding.embedding_dim
        self.head = nn.Sequential(
            nn.BatchNorm1d(pooled),
            nn.Dropout(output_dropout),
            nn.Linear(pooled, head_size),
            nn.ReLU(),
            nn.BatchNorm1d(head_size),
            nn.Dropout(head_dropout),
            nn.Linear(head_size, n_classes),
        )

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids (T, B) padded at the end, lengths (B,) -> logits (B, C)."""
        pooled = self.features(ids, lengths).to(self.encoder.embedding.weight.dtype)
        return cast(Tensor, self.head(pooled))

    def features(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids (T, B), lengths (B,) -> (B, 3E): last output, maximum and mean over time, padding left out."""
        output, _ = self.encoder(ids)
        return concat_pool(output, lengths)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Embedding, each LSTM layer, head."""
        return [parameters_of([self.encoder.embedding]), *lstm_groups(self.encoder), parameters_of([self.head])]


def concat_pool(output: Tensor, lengths: Tensor) -> Tensor:
    """output (T, B, E), lengths (B,) -> (B, 3E): [last, max, mean] of each document's own steps."""
    steps = torch.arange(output.shape[0], device=output.device)
    padding = (steps[:, None] >= lengths[None, :])[..., None]
    last = output[lengths - 1, torch.arange(output.shape[1], device=output.device)]
    highest = output.masked_fill(padding, float("-inf")).amax(0)
    mean = output.masked_fill(padding, 0.0).sum(0, dtype=torch.float32) / lengths[:, None]
    return torch.cat([last.float(), highest.float(), mean], 1)
