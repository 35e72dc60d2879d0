"""What sits on the encoder: a decoder that predicts the next word, or a head that pools and classifies."""

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
    """An encoder and a linear decoder whose weight is the embedding matrix, if tied (Press & Wolf 2017)."""

    def __init__(self, encoder: AWDLSTM, *, tie_weights: bool = True) -> None:
        super().__init__()
        self.encoder, self.tied = encoder, tie_weights
        words, size = encoder.embedding.weight.shape
        self.decoder_bias = nn.Parameter(torch.zeros(words))
        self.untied_weight = None if tie_weights else nn.Parameter(torch.empty(words, size).uniform_(-0.1, 0.1))

    @property
    def decoder_weight(self) -> Tensor:
        """The decoder's weight (V, E)."""
        return self.encoder.embedding.weight if self.untied_weight is None else self.untied_weight

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """Read one window: ids (T, B) -> last layer's output (T, B, E) dropped out, the same raw, the state after."""
        raw, after = self.encoder(ids, state)
        return locked_dropout(raw, self.encoder.dropouts.output, self.training), raw, after

    def logits(self, dropped: Tensor) -> Tensor:
        """Decode outputs (..., E) to logits (..., V); training uses `linear_cross_entropy`, which never holds them."""
        return nn.functional.linear(dropped, self.decoder_weight, self.decoder_bias)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Each LSTM layer from the bottom, then embedding and decoder, which tying makes one (as in fastai)."""
        top = [*parameters_of([self.encoder.embedding]), self.decoder_bias]
        return [*rnn_layer_groups(self.encoder), top + ([] if self.untied_weight is None else [self.untied_weight])]


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that lets a batch of one through, which has no variance of its own.

    In training such a batch is normalised with the running statistics and leaves them as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, F) -> (B, F)."""
        if not self.training or len(x) > 1:
            return super().forward(x)
        mean, var = self.running_mean, self.running_var
        return nn.functional.batch_norm(x, mean, var, self.weight, self.bias, training=False, eps=self.eps)


class LayerMix(nn.Module):
    """ELMo's task-weighted layers (Peters et al. 2018, eq. 1): layer j's features times gamma * softmax(scores)_j.

    ELMo adds its layers up. Ours differ in width, so they stay side by side, and the weights say how loud each one
    is, not which share of one sum it has. They start equal, and gamma at 1.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.scores = nn.Parameter(torch.zeros(len(self.widths)))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, sum of widths) -> the same shape."""
        weights = self.gamma * self.scores.softmax(0)
        return torch.cat([part * weight for part, weight in zip(x.split(self.widths, 1), weights, strict=True)], 1)


class Head(nn.Sequential):
    """The layers that classify pooled features (B, F) -> logits (B, C); trained alone where the encoder is frozen."""

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """One group."""
        return [list(self.parameters())]


class Classifier(nn.Module):
    """An encoder and ULMFiT's head (Howard & Ruder 2018, section 3.3), its layers in fastai's order.

    Concat pooling; batch norm, dropout, linear (F, head_size), ReLU; batch norm, dropout, linear (head_size, C).

    last        the last layer is pooled, F = 3E
    embeddings  the word embeddings are pooled, F = 3E; the LSTM layers are not run and belong to no layer group
    mix         embeddings and all LSTM layers are pooled, F = 3 * sum(widths), and weighted by a `LayerMix`. It lies
                behind the batch norm, which would undo any weight before it; ELMo's authors normalise each layer
                before weighting too (section 3.2)

    What is pooled is a layer's output before the locked dropout behind it. All parameters of the head, a mix's
    among them, are the top layer group.
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
        """Logits (B, C) of pooled features (B, F)."""
        return cast(Tensor, self.head(pooled.to(self.encoder.embedding.weight.dtype)))

    def features(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Pooled outputs (B, F) of documents: ids (T, B) padded at the end, lengths (B,) of at least 1."""
        return self.read(ids, lengths).pooled

    def read(self, ids: Tensor, lengths: Tensor, *, penalise: bool = False) -> Reading:
        """Pooled outputs of documents and, where they are to be penalised, the means of AR and TAR."""
        penalise = penalise and self.pooling != "embeddings"
        return read_documents(self.read_window, ids, lengths, self.windows, penalise=penalise)

    def read_window(self, ids: Tensor, state: Any) -> tuple[list[Tensor], Any]:
        """Outputs of the layers that the head pools, for a window ids (T, B), and the state after it."""
        if self.pooling == "embeddings":
            return [self.encoder.embed(ids)], None
        if self.pooling == "mix":
            return self.encoder.layers(ids, state)
        output, after = self.encoder(ids, state)
        return [output], after

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Embedding, each LSTM layer that is run, head."""
        lstms = [] if self.pooling == "embeddings" else rnn_layer_groups(self.encoder)
        return [parameters_of([self.encoder.embedding]), *lstms, parameters_of([self.head])]
