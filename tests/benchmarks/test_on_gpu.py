"""What only a GPU can show; on a bare machine: `python3 -m pytest --noconftest tests/benchmarks/test_on_gpu.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.awd_lstm import LSTMLayer
from ulmfit_lab.training.steps import autocast

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
CUDA = torch.device("cuda")


def test_a_layer_computes_in_the_type_that_autocast_was_asked_for() -> None:
    layer = LSTMLayer(8, 16, 0.5).to(CUDA)
    x, state = torch.randn(5, 3, 8, device=CUDA), torch.zeros(3, 16, device=CUDA)
    with autocast(CUDA, "bfloat16"):
        output, (h, _) = layer(x, (state, state))
    assert output.dtype == h.dtype == torch.bfloat16
    # below 6e-8 float16 knows zero alone
    output.backward(torch.full_like(output, 1e-9))
    assert float(layer.weight_ih.grad.abs().max()) > 0  # type: ignore[union-attr]


def test_a_stream_lies_on_the_card() -> None:
    batches = StreamBatches(np.arange(101), batch_size=4, bptt=5, stochastic=False)
    expected = [batch.targets.tolist() for batch in batches.epoch(0)]
    moved = list(batches.to(CUDA).epoch(0))
    assert all(batch.ids.is_cuda and batch.to(CUDA).ids is batch.ids for batch in moved)
    assert [batch.targets.tolist() for batch in moved] == expected
