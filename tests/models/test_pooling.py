"""Concat pooling: by hand, and beside torch's own reductions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit_lab.models.pooling import concat_pool


def plain(output: Tensor, lengths: Tensor) -> Tensor:
    """The reference: masked copies, reduced, with autograd's own gradients."""
    kind = torch.promote_types(output.dtype, torch.float32)
    padding = (torch.arange(len(output))[:, None] >= lengths[None, :])[..., None]
    last = output[lengths - 1, torch.arange(output.shape[1])]
    highest = output.masked_fill(padding, float("-inf")).amax(0)
    mean = output.masked_fill(padding, 0.0).sum(0, dtype=kind) / lengths[:, None]
    return torch.cat([last.to(kind), highest.to(kind), mean], 1)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=6), seed=st.integers(0, 9))
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
def test_values_and_gradients_are_the_bits_of_the_plain_reference(
    kind: torch.dtype, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    # a tenth of a unit: many steps share a maximum, and so its gradient
    output = torch.randn(max(lengths), len(lengths), 5).mul(10).round().div(10).to(kind).requires_grad_()
    sizes, weight = torch.tensor(lengths), torch.randn(len(lengths), 15)
    found = []
    for pool in (concat_pool, plain):
        pooled = pool(output, sizes)
        found.append((pooled, *torch.autograd.grad((pooled * weight).sum(), output)))
    (ours, our_gradient), (theirs, their_gradient) = found
    assert torch.equal(ours, theirs)
    assert torch.equal(our_gradient, their_gradient)


def test_gradients_agree_with_differences() -> None:
    torch.manual_seed(0)
    output, lengths = torch.randn(6, 3, 2, dtype=torch.float64, requires_grad=True), torch.tensor([6, 1, 4])
    assert torch.autograd.gradcheck(concat_pool, (output, lengths))


def test_pooling_worked_out_by_hand() -> None:
    output = torch.tensor([[[1.0], [-2.0]], [[5.0], [-4.0]], [[3.0], [9.0]]])  # (T, B, E) = (3, 2, 1)
    pooled = concat_pool(output, torch.tensor([3, 2]))
    # the second document ends after two steps: its third, 9, is padding
    assert pooled.tolist() == [[3.0, 5.0, 3.0], [-4.0, -2.0, -3.0]]


def test_padding_gets_no_gradient() -> None:
    output = torch.randn(6, 2, 4, requires_grad=True)
    concat_pool(output, torch.tensor([6, 2])).square().sum().backward()
    assert output.grad is not None
    assert output.grad[:2, 1].any()
    assert not output.grad[2:, 1].any()


def test_pooling_is_done_in_float32_at_least() -> None:
    lengths = torch.tensor([3])
    kinds = {torch.bfloat16: torch.float32, torch.float32: torch.float32, torch.float64: torch.float64}
    assert {kind: concat_pool(torch.ones(3, 1, 2, dtype=kind), lengths).dtype for kind in kinds} == kinds
    # 1001 steps of 1 sum to 1001, which bfloat16 cannot hold
    assert concat_pool(torch.ones(1001, 1, 1, dtype=torch.bfloat16), torch.tensor([1001]))[0, 2] == 1
