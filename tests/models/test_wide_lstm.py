"""The wide layer computes what nn.LSTM does, and its written-out gradients are those of finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ulmfit_lab.models import sizes
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts, LSTMLayer
from ulmfit_lab.models.wide_lstm import WideLSTM, wide_lstm

T, B, INPUT, HIDDEN = 5, 3, 4, 6
NAMES = ("x", "h", "c", "weight_ih", "weight_hh", "bias")


def arguments(kind: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (T, B, INPUT), (B, HIDDEN), (B, HIDDEN), (4 * HIDDEN, INPUT), (4 * HIDDEN, HIDDEN), (4 * HIDDEN,)
    return [torch.randn(*shape, generator=generator, dtype=kind).requires_grad_() for shape in shapes]


def torchs_own(x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Output and last cell of nn.LSTM's own function."""
    weights = [w_ih, w_hh, bias, torch.zeros_like(bias)]
    output, _, cell = torch._VF.lstm(x, (h[None], c[None]), weights, True, 1, 0.0, False, False, False)
    return output, cell[0]


def test_output_and_state_are_those_of_nn_lstm() -> None:
    x, h, c, w_ih, w_hh, bias = arguments()
    output, (last, cell) = wide_lstm(x, (h, c), w_ih, w_hh, bias, torch.float64)
    expected, expected_cell = torchs_own(*arguments())
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(cell, expected_cell, rtol=0, atol=1e-12)
    assert torch.equal(last, output[-1])
    assert last.untyped_storage().nbytes() == B * HIDDEN * 8  # and not the whole window's


def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(WideLSTM.apply, tuple(arguments()))


@pytest.mark.parametrize("frozen", range(6))
def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same_one(frozen: int) -> None:
    whole, part = arguments(), arguments()
    part[frozen].requires_grad_(False)
    for these in (whole, part):
        output, cell = WideLSTM.apply(*these)
        (output.square().sum() + cell.sum()).backward()
    for number, (mine, other) in enumerate(zip(part, whole, strict=True)):
        if number == frozen:
            assert mine.grad is None
        else:
            torch.testing.assert_close(mine.grad, other.grad, msg=NAMES[number])


@pytest.mark.bfloat16
def test_at_full_size_errors_are_no_larger_than_those_of_torchs_own_bfloat16() -> None:
    """Relative errors against float32, output and gradients, of this layer and of nn.LSTM under autocast."""
    torch.manual_seed(0)
    x, wanted = torch.randn(20, 8, 400), torch.randn(20, 8, 1152)
    layer = LSTMLayer(400, 1152, 0.0)
    state = (torch.zeros(8, 1152), torch.zeros(8, 1152))

    def results(low: bool) -> list[Tensor]:
        layer.zero_grad()
        inside = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            output, (_, cell) = layer(inside, state)
        (output * wanted).sum().backward()
        return [output.detach(), cell.detach(), inside.grad, *(p.grad for p in layer.parameters())]

    exact, wide = results(low=False), results(low=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "WIDE", 10**9)
        own = results(low=True)
    for mine, theirs, expected in zip(wide, own, exact, strict=True):
        error, their_error = (float((r.float() - expected).norm() / expected.norm()) for r in (mine, theirs))
        assert error < 0.01
        assert error < 1.25 * their_error


@pytest.mark.parametrize(
    ("emb", "hidden", "wide"),
    [(400, 1152, [True] * 3), pytest.param(128, 384, [False] * 3, marks=pytest.mark.bfloat16)],
)
def test_layers_of_the_papers_size_take_it_under_autocast_alone(emb: int, hidden: int, wide: list[bool]) -> None:
    model = AWDLSTM(10, emb_size=emb, hidden_size=hidden, n_layers=3, dropouts=Dropouts(weight=0.5))
    ids = torch.randint(2, 10, (2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        low = [output for output, _ in model.run(model.embed(ids), None)]
    plain = [output for output, _ in model.run(model.embed(ids), None)]
    assert [output.grad_fn.name() == "WideLSTMBackward" for output in low] == wide
    assert not any(output.grad_fn.name() == "WideLSTMBackward" for output in plain)
    assert {output.dtype for output in low} == {torch.bfloat16}


def test_an_encoder_of_the_papers_size_learns_and_carries_its_state_on() -> None:
    torch.manual_seed(0)
    model = AWDLSTM(10, emb_size=400, hidden_size=1152, n_layers=2, dropouts=Dropouts())
    ids = torch.randint(2, 10, (6, 2))
    with torch.autocast("cpu", torch.bfloat16):
        whole, _ = model(ids)
        first, state = model(ids[:4])
        second, _ = model(ids[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0.02, atol=1e-3)
    whole.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(ids)[0], whole)
