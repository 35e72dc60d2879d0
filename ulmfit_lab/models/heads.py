"""Heads of the encoder: the language model's decoder and the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from ulmfit_lab.models.awd_lstm import AWDLSTM, State, parameters_of, rnn_layer_groups
from ulmfit_lab.models.dropout import locked_dropout
from ulmfit_lab.models.windowed_encoding import Reading, Windows, read_documents

DEFAULT_WINDOWS = Windows()
Features: TypeAlias = Literal["last", "mix", "embeddings"]


class LanguageModel(nn.Module):
    """An encoder and a linear decoder, whose weight is the embedding matrix if tied (Press & Wolf 2017)."""

    def __init__(self, encoder: AWDLSTM, *, tie_weights: bool = True) -> None:
        super().__init__()
        self.encoder, self.tied = encoder, tie_weights
        words, size = encoder.embedding.weight.shape
        self.decoder_bias = nn.Parameter(torch.zeros(words))
        self.untied_weight = None if tie_weights else nn.Parameter(torch.empty(words, size).uniform_(-0.1, 0.1))

    @property
    def decoder_weight(self) -> Tensor:
        """Weight (V, E) of the decoder."""
        return self.encoder.embedding.weight if self.untied_weight is None else self.untied_weight

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """Read ids (T, B); return the last layer's output (T, B, E) with and without dropout, and the state after."""
        raw, after = self.encoder(ids, state)
        return locked_dropout(raw, self.encoder.dropouts.output, self.training), raw, after

    def logits(self, dropped: Tensor) -> Tensor:
        """Decode outputs (..., E) to logits (..., V); training uses `linear_cross_entropy` instead."""
        return nn.functional.linear(dropped, self.decoder_weight, self.decoder_bias)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return each LSTM layer, bottom to top, then embedding and decoder (as in fastai)."""
        top = [*parameters_of([self.encoder.embedding]), self.decoder_bias]
        return [*rnn_layer_groups(self.encoder), top + ([] if self.untied_weight is None else [self.untied_weight])]


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that applies the running statistics, without updating them, to a training batch of one."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, F) -> (B, F)."""
        if not self.training or len(x) > 1:
            return super().forward(x)
        mean, var = self.running_mean, self.running_var
        return nn.functional.batch_norm(x, mean, var, self.weight, self.bias, training=False, eps=self.eps)


class LayerMix(nn.Module):
    """Task-weighted layers of ELMo (Peters et al. 2018, eq. 1): multiplies layer j by gamma * softmax(scores)_j.

    Unlike in ELMo, the layers have different widths and are concatenated, not added. All scores start at 0, gamma at 1.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.scores = nn.Parameter(torch.zeros(len(self.widths)))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Weight x (B, sum of widths)."""
        weights = self.gamma * self.scores.softmax(0)
        return torch.cat([part * weight for part, weight in zip(x.split(self.widths, 1), weights, strict=True)], 1)


class Head(nn.Sequential):
    """Layers from pooled features (B, F) to logits (B, C)."""

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return one group."""
        return [list(self.parameters())]


class Classifier(nn.Module):
    """An encoder and ULMFiT's head (Howard & Ruder 2018, section 3.3), with the layers in fastai's order.

    Concat pooling; batch norm, dropout, linear (F, head_size), ReLU; batch norm, dropout, linear (head_size, C).

    last        pools the last layer, F = 3E
    embeddings  pools the word embeddings, F = 3E; the LSTM layers are not run and are in no layer group
    mix         pools embeddings and all LSTM layers, F = 3 * sum(widths), and weights them by a `LayerMix` after the
                batch norm, which would cancel weights before it

    Outputs are pooled before the locked dropout of the next layer. The head's parameters are the top layer group.
    """

    def __init__(
        self,
        encoder: AWDLSTM,
        n_classes: int,
        *,
        head_size: int,
        output_dropout: float,
        head_dropout: float,
        features: Features = "last",
        windows: Windows = DEFAULT_WINDOWS,
    ) -> None:
        super().__init__()
        self.encoder, self.pooling, self.windows = encoder, features, windows
        widths = [3 * width for width in (encoder.widths if features == "mix" else encoder.widths[:1])]
        pooled = sum(widths)
        self.head = Head(
            BatchNorm(pooled),
            *([LayerMix(widths)] if features == "mix" else []),
            nn.Dropout(output_dropout),
            nn.Linear(pooled, head_size),
            nn.ReLU(),
            BatchNorm(head_size),
            nn.Dropout(head_dropout),
            nn.Linear(head_size, n_classes),
        )

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Classify documents: ids (T, B) padded at the end, lengths (B,) of at least 1 -> logits (B, C)."""
        return self.classify(self.features(ids, lengths))

    def classify(self, pooled: Tensor) -> Tensor:
        """Return the logits (B, C) of pooled features (B, F)."""
        return cast(Tensor, self.head(pooled.to(self.encoder.embedding.weight.dtype)))

    def features(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the pooled features (B, F) of documents: ids (T, B) padded at the end, lengths (B,) of at least 1."""
        return self.read(ids, lengths).pooled

    def read(self, ids: Tensor, lengths: Tensor, *, penalise: bool = False) -> Reading:
        """Return the pooled features of documents and, with penalise, the means for AR and TAR."""
        penalise = penalise and self.pooling != "embeddings"
        return read_documents(self.read_window, ids, lengths, self.windows, penalise=penalise)

    def read_window(self, ids: Tensor, state: Any) -> tuple[list[Tensor], Any]:
        """Return the outputs of the pooled layers for a window ids (T, B), and the state after it."""
        if self.pooling == "embeddings":
            return [self.encoder.embed(ids)], None
        if self.pooling == "mix":
            return self.encoder.layers(ids, state)
        output, after = self.encoder(ids, state)
        return [output], after

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return embedding, each LSTM layer that is run, and head."""
        lstms = [] if self.pooling == "embeddings" else rnn_layer_groups(self.encoder)
        return [parameters_of([self.encoder.embedding]), *lstms, parameters_of([self.head])]
