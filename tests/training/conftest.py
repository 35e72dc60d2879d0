"""Models small enough to be worked out by hand, and tiny real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ulmfit_lab.data.document_batches import DocumentBatches
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import Classifier, LanguageModel

CPU = torch.device("cpu")
WORDS = 20


class Slope(nn.Module):
    """One number a layer group, all 0; with `descend` each one's gradient is always 1, so it falls by its rate."""

    def __init__(self, n_groups: int = 3) -> None:
        super().__init__()
        self.heights = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(n_groups))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [[height] for height in self.heights]

    def values(self) -> list[float]:
        return [float(height.detach()) for height in self.heights]


def descend(model: Slope, batch: Any, carry: Any) -> tuple[Tensor, Any, Tensor]:
    """A step whose loss is the sum of the heights."""
    loss = sum(model.heights, torch.zeros(()))  # not stack().sum(), whose gradients share one place in memory
    return loss, None, loss.detach()


@pytest.fixture
def slope() -> Slope:
    return Slope()


@pytest.fixture
def slope_step() -> Callable[..., Any]:
    return descend


@pytest.fixture
def one_batch() -> StreamBatches:
    """An epoch of a single batch."""
    return StreamBatches(np.arange(11), batch_size=1, bptt=10, stochastic=False)


@pytest.fixture
def five_batches() -> StreamBatches:
    return StreamBatches(np.arange(51), batch_size=1, bptt=10, stochastic=False)


@pytest.fixture
def make_language_model() -> Callable[..., LanguageModel]:
    def make(seed: int = 0, dropout: float = 0.0, n_layers: int = 2) -> LanguageModel:
        torch.manual_seed(seed)
        rates = Dropouts(*[dropout] * 5)
        return LanguageModel(AWDLSTM(WORDS, emb_size=8, hidden_size=10, n_layers=n_layers, dropouts=rates))

    return make


@pytest.fixture
def make_classifier() -> Callable[..., Classifier]:
    def make(seed: int = 0, dropout: float = 0.0) -> Classifier:
        torch.manual_seed(seed)
        encoder = AWDLSTM(WORDS, emb_size=8, hidden_size=10, n_layers=2, dropouts=Dropouts(*[dropout] * 5))
        return Classifier(encoder, 3, head_size=6, output_dropout=dropout, head_dropout=dropout)

    return make


@pytest.fixture
def stream() -> np.ndarray:
    return np.random.default_rng(0).integers(2, WORDS, 401)


@pytest.fixture
def make_documents() -> Callable[..., DocumentBatches]:
    def make(n: int = 50, **options: Any) -> DocumentBatches:
        rng = np.random.default_rng(1)
        texts = [rng.integers(2, WORDS, rng.integers(3, 15)) for _ in range(n)]
        return DocumentBatches(texts, rng.integers(0, 3, n), **{"batch_size": 8, **options})

    return make
