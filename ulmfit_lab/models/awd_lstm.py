"""AWD-LSTM encoder (Merity et al. 2017, arXiv 1708.02182)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelConfig
from ulmfit_lab.models.dropout import drop_connect, embedding_dropout, locked_dropout
from ulmfit_lab.models.sizes import is_wide, layer_sizes
from ulmfit_lab.models.wide_lstm import autocasts_to_bfloat16, wide_lstm

# cuDNN needs contiguous weights, and torch copies them at every call: 40 MB for a layer of 1,150 units. Weight dropout
# creates new weights at every call anyway.
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")

State = list[tuple[Tensor, Tensor]]
"""Hidden state and cell (B, H) of each layer."""
Tree = TypeVar("Tree")
"""A state of any structure."""


@dataclass(frozen=True)
class Dropouts:
    """The five dropout rates, each in [0, 1), after multiplication by drop_mult."""

    input: float = 0.0
    output: float = 0.0
    weight: float = 0.0
    embedding: float = 0.0
    hidden: float = 0.0

    @classmethod
    def scaled(cls, rates: LanguageModelConfig | ClassifierConfig) -> Dropouts:
        """Return a config's rates times its multiplier."""
        names = ("input", "output", "weight", "embedding", "hidden")
        return cls(**{name: getattr(rates, f"{name}_dropout") * rates.drop_mult for name in names})

    def times(self, factor: float) -> Dropouts:
        """Return all rates times a factor."""
        return Dropouts(**{name: rate * factor for name, rate in vars(self).items()})


class LSTMLayer(nn.Module):
    """An LSTM layer with DropConnect on the hidden-to-hidden weights; one mask per call.

    Without weight dropout it computes the same as `nn.LSTM`. The parameters are the weights before dropout.
    """

    torch_layer: type[nn.Module] = nn.LSTM

    def __init__(self, input_size: int, hidden_size: int, weight_dropout: float) -> None:
        super().__init__()
        self.hidden_size, self.weight_dropout = hidden_size, weight_dropout
        # torch's initialisation and order of parameters
        self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = self.torch_layer(
            input_size, hidden_size
        ).parameters()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run over time: x (T, B, I), state (h, c) each (B, H) -> output (T, B, H) and the state after step T."""
        thinned = drop_connect(self.weight_hh, self.weight_dropout, self.training)
        if autocasts_to_bfloat16(x) and is_wide(x.shape[2], self.hidden_size):
            return wide_lstm(x, state, self.weight_ih, thinned, self.bias_ih + self.bias_hh)
        weights = [self.weight_ih, thinned, self.bias_ih, self.bias_hh]
        if x.is_cuda and torch.is_autocast_enabled("cuda"):
            # under autocast cuDNN computes in float16, in which small gradients underflow
            kind = torch.get_autocast_dtype("cuda")
            with torch.autocast("cuda", enabled=False):
                return run_lstm(x.to(kind), state, [weight.to(kind) for weight in weights], self.training)
        return run_lstm(x, state, weights, self.training)


def run_lstm(
    x: Tensor, state: tuple[Tensor, Tensor], weights: list[Tensor], training: bool
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run torch's LSTM layer over x (T, B, I); weights in the order of `nn.LSTM`'s parameters."""
    # a bfloat16 state from autocast may be combined with a float32 window
    carried = tuple(s.unsqueeze(0).to(x.dtype) for s in state)
    output, h, c = torch._VF.lstm(x, carried, weights, True, 1, 0.0, training, False, False)
    return output, (h.squeeze(0), c.squeeze(0))


class AWDLSTM(nn.Module):
    """Encode word ids as contextual vectors; the caller carries the hidden state.

    Dropout is applied to whole words of the embedding, to its output (locked), to the recurrent weights, and between
    layers (locked). The output dropout is in the language model's head. Embeddings start uniform in +-0.1; that of the
    padding starts at zero and stays there unless a decoder shares the matrix. All layers but the last have hidden_size
    units, the last has emb_size.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        emb_size: int,
        hidden_size: int,
        n_layers: int,
        dropouts: Dropouts,
        pad: int = 1,
        layer: type[LSTMLayer] = LSTMLayer,
    ) -> None:
        super().__init__()
        self.rates = self.dropouts = dropouts  # configured and current rates (see scale_dropouts)
        self.pad = pad
        self.embedding = nn.Embedding(vocab_size, emb_size, padding_idx=pad)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        with torch.no_grad():
            self.embedding.weight[pad].zero_()
        sizes = layer_sizes(emb_size, hidden_size, n_layers)
        self.lstms = nn.ModuleList(layer(below, above, dropouts.weight) for below, above in sizes)

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Encode one window of a stream; its steps share one weight-dropout mask.

        ids    (T, B)           int64  word ids
        state  n_layers x (h, c), each (B, H_l), from the previous window; None: zeros
        ->     (T, B, E) float  last layer's output before dropout, and the state after step T
        """
        x = self.embed(ids)
        after: State = []
        for output, new in self.run(x, state):
            x = output  # frees the outputs of lower layers
            after.append(new)
        return x, after

    def layers(self, ids: Tensor, state: State | None = None) -> tuple[list[Tensor], State]:
        """Return the outputs (T, B, width), before dropout, of embedding and LSTM layers, and the last state."""
        embedded = self.embed(ids)
        outputs, after = zip(*self.run(embedded, state), strict=True)
        return [embedded, *outputs], list(after)

    def run(self, x: Tensor, state: State | None) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
        """Run the LSTM layers on embedded ids (T, B, E); yield each output (T, B, H_l) and state after step T."""
        state = self.initial_state(x.shape[1]) if state is None else state
        rate = self.dropouts.input
        for lstm, carried in zip(self.lstms, state, strict=True):
            x, new = lstm(locked_dropout(x, rate, self.training), carried)
            yield x, new
            rate = self.dropouts.hidden

    def embed(self, ids: Tensor) -> Tensor:
        """Return the vectors (T, B, E) of word ids (T, B), with embedding dropout in training."""
        x = cast(Tensor, self.embedding(ids))
        return embedding_dropout(x, ids, self.embedding.num_embeddings, self.dropouts.embedding, self.training)

    @property
    def widths(self) -> list[int]:
        """Sizes of the outputs of the embedding and of each LSTM layer, bottom to top."""
        return [self.embedding.embedding_dim, *(cast(LSTMLayer, lstm).hidden_size for lstm in self.lstms)]

    def scale_dropouts(self, factor: float) -> None:
        """Set all dropouts, including the language model's output dropout, to the configured rates times a factor."""
        self.dropouts = self.rates.times(factor)
        for lstm in self.lstms:
            cast(LSTMLayer, lstm).weight_dropout = self.dropouts.weight

    def initial_state(self, batch_size: int) -> State:
        """Return a state of zeros on the weights' device: n_layers x (h, c), each (B, H_l)."""
        weight = self.embedding.weight
        return [(weight.new_zeros(batch_size, h), weight.new_zeros(batch_size, h)) for h in self.widths[1:]]


def detach(state: Tree) -> Tree:
    """Detach a state from the graph of its window."""
    return map_tensors(Tensor.detach, state)


def map_tensors(function: Callable[[Tensor], Tensor], state: Tree) -> Tree:
    """Apply a function to every tensor of a state: nested lists, tuples and dicts, or None."""
    return cast(Tree, tree_map_only(Tensor, function, state))


def rnn_layer_groups(encoder: AWDLSTM) -> list[list[nn.Parameter]]:
    """Return the parameters of each LSTM layer, bottom to top."""
    return [list(lstm.parameters()) for lstm in encoder.lstms]


def parameters_of(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Return all parameters of some modules, a shared one once."""
    return list(dict.fromkeys(p for module in modules for p in module.parameters()))
