"""The blocked loss and its gradients are those of torch's own, plainly written out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ulmfit_lab.models import cross_entropy
from ulmfit_lab.models.cross_entropy import BLOCK, GATHERED, MANY_WORDS, linear_cross_entropy, linear_metrics

Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def problem(n: int = 11, k: int = 4, v: int = 9, kind: torch.dtype = torch.float64) -> Problem:
    generator = torch.Generator().manual_seed(n)
    hidden, weight, bias = (torch.randn(*s, generator=generator, dtype=kind) for s in ((n, k), (v, k), (v,)))
    targets = torch.randint(0, v, (n,), generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), targets


def plain(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(torch.nn.functional.linear(hidden, weight, bias), targets)


def gradients(loss: Tensor, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, tensors))


@pytest.mark.parametrize("n", [1, 11, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_loss_and_gradients_are_torchs(n: int) -> None:
    p = problem(n)
    loss, expected = linear_cross_entropy(*p), plain(*p)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(loss, p[:3]), gradients(expected, p[:3]), rtol=1e-10, atol=1e-14)


def test_gradients_are_those_of_finite_differences() -> None:
    *tensors, targets = problem(5)
    assert torch.autograd.gradcheck(lambda *t: linear_cross_entropy(*t, targets), tuple(tensors))


def test_the_gradient_is_scaled_by_what_comes_from_above() -> None:
    p = problem()
    scaled = gradients(3 * linear_cross_entropy(*p) ** 2, p[:3])
    torch.testing.assert_close(scaled, gradients(3 * plain(*p) ** 2, p[:3]), rtol=1e-10, atol=1e-14)


def test_the_backward_pass_can_be_repeated() -> None:
    p = problem()
    loss = linear_cross_entropy(*p)
    first = torch.autograd.grad(loss, p[:3], retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, torch.autograd.grad(loss, p[:3]), strict=True))


@pytest.mark.parametrize("frozen", [{0}, {1}, {2}, {1, 2}, {0, 1}])
def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same_one(frozen: set[int]) -> None:
    p = problem()
    expected = dict(enumerate(gradients(plain(*p), p[:3])))
    for number in frozen:
        p[number].requires_grad_(False)
    linear_cross_entropy(*p).backward()
    assert {i for i in range(3) if p[i].grad is None} == frozen
    for number in {0, 1, 2} - frozen:
        torch.testing.assert_close(p[number].grad, expected[number], rtol=1e-10, atol=1e-14)


def test_without_gradients_the_loss_is_the_same_and_has_no_graph() -> None:
    p = problem()
    with torch.no_grad():
        loss = linear_cross_entropy(*p)
    assert not loss.requires_grad
    assert loss == linear_cross_entropy(*p).detach()


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, bias, _ = problem(kind=torch.float32)
    targets = torch.zeros(len(hidden), dtype=torch.int64)
    p = (hidden * 1000).detach().requires_grad_(), weight, bias, targets
    loss, expected = linear_cross_entropy(*p), plain(*p)
    assert torch.isfinite(loss)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, p[:3]), gradients(expected, p[:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "loss_bound", "bound"), [("float32", 1e-7, 1e-6), ("bfloat16", 1e-4, 4e-3)])
def test_relative_error_at_a_real_size_is_bounded(precision: str, loss_bound: float, bound: float) -> None:
    """Errors relative to float64; bfloat16 keeps 8 bits, so a factor is off by up to 0.2% when it is rounded."""
    generator = torch.Generator().manual_seed(0)
    hidden = (torch.randn(2 * BLOCK + 88, 64, generator=generator) * 0.3).requires_grad_()
    weight = (torch.randn(3000, 64, generator=generator) * 0.3).requires_grad_()
    bias = torch.zeros(3000, requires_grad=True)
    tensors = hidden, weight, bias
    targets = torch.randint(0, 3000, (len(hidden),), generator=generator)
    loss = linear_cross_entropy(*tensors, targets, precision)
    exact = plain(*(t.double() for t in tensors), targets)
    assert loss.dtype == torch.float32
    assert float((loss - exact).detach().abs() / exact.detach()) < loss_bound
    for mine, expected in zip(gradients(loss, tensors), gradients(exact, tensors), strict=True):
        assert mine.dtype == torch.float32
        assert float((mine - expected).norm() / expected.norm()) < bound


@pytest.mark.parametrize("n", [7, BLOCK, GATHERED * BLOCK, GATHERED * BLOCK + BLOCK + 3])
def test_with_many_words_slopes_are_gathered_and_give_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    p = problem(n, 8, 40, torch.float32)
    each = [loss := linear_cross_entropy(*p, "bfloat16"), *gradients(loss, p[:3])]
    monkeypatch.setattr(cross_entropy, "MANY_WORDS", 40)
    gathered = [loss := linear_cross_entropy(*p, "bfloat16"), *gradients(loss, p[:3])]
    loss, hidden, weight, bias = (torch.equal(a, b) for a, b in zip(gathered, each, strict=True))
    assert loss and hidden and bias
    assert weight == (n <= BLOCK)  # else summed in another order, each product rounded to 8 bits
    assert float((gathered[2] - each[2]).norm() / each[2].norm()) < 4e-3


def test_with_many_words_no_more_rows_are_held_than_are_gathered() -> None:
    *tensors, targets = problem(2 * GATHERED * BLOCK, 4, MANY_WORDS, torch.float32)
    with Watch() as watched:
        linear_cross_entropy(*tensors, targets, "bfloat16").backward()
    assert watched.largest == GATHERED * BLOCK * MANY_WORDS


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_autocast_does_not_meddle(precision: str) -> None:
    p = problem(kind=torch.float32)
    expected = linear_cross_entropy(*p, precision)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(*p, precision)
        metrics = linear_metrics(*p, precision)
    assert torch.equal(loss, expected)
    # they are computed in the forward pass, so that autocast would reach them too
    assert all(torch.equal(a, b) for a, b in zip(gradients(loss, p[:3]), gradients(expected, p[:3]), strict=True))
    assert metrics == linear_metrics(*p, precision)


def test_the_lstms_bfloat16_output_is_taken_as_it_is() -> None:
    hidden, weight, bias, targets = problem(kind=torch.float32)
    low = hidden.detach().bfloat16().requires_grad_()
    loss = linear_cross_entropy(low, weight, bias, targets)
    torch.testing.assert_close(loss, plain(low.float(), weight, bias, targets))
    assert gradients(loss, (low,))[0].dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_numbers_come_out_every_time(precision: str) -> None:
    p = problem(2 * BLOCK + 3, 16, 300, torch.float32)
    results = []
    for _ in range(2):
        loss = linear_cross_entropy(*p, precision)
        results.append([loss, *gradients(loss, p[:3])])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


class Watch(TorchDispatchMode):
    """Watches every operation: the largest tensor made, and the number of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_)
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_the_logits_of_all_rows_are_never_held() -> None:
    v = 50
    *tensors, targets = problem(8 * BLOCK, 4, v, torch.float32)
    with Watch() as watched:
        linear_cross_entropy(*tensors, targets).backward()
        linear_metrics(*tensors, targets)
    assert watched.largest == BLOCK * v


@pytest.mark.parametrize(("frozen", "products"), [((), 3), ((0,), 2), ((1,), 2), ((0, 1), 1), ((0, 1, 2), 1)])
def test_no_product_is_made_for_a_gradient_that_nobody_wants(frozen: tuple[int, ...], products: int) -> None:
    p = problem()
    for number in frozen:
        p[number].requires_grad_(False)
    with Watch() as watched:
        linear_cross_entropy(*p)
    assert watched.products == products


def test_without_gradients_one_product_is_made() -> None:
    with Watch() as watched, torch.no_grad():
        linear_cross_entropy(*problem())
    assert watched.products == 1


@pytest.mark.parametrize("n", [1, 11, BLOCK + 1])
def test_metrics_are_torchs(n: int) -> None:
    p = problem(n)
    nll, correct = linear_metrics(*p)
    logits = torch.nn.functional.linear(*p[:3]).detach()
    assert nll == pytest.approx(float(torch.nn.functional.cross_entropy(logits, p[3], reduction="sum")), rel=1e-12)
    assert correct == int((logits.argmax(1) == p[3]).sum())


def test_metrics_and_loss_agree_in_bfloat16() -> None:
    p = problem(BLOCK + 1, kind=torch.float32)
    nll, _ = linear_metrics(*p, "bfloat16")
    assert nll / (BLOCK + 1) == pytest.approx(linear_cross_entropy(*p, "bfloat16").item(), rel=1e-6)


def test_the_size_of_a_block_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(50)
    whole = [loss := linear_cross_entropy(*p), *gradients(loss, p[:3])]
    monkeypatch.setattr(cross_entropy, "BLOCK", 7)
    parts = [loss := linear_cross_entropy(*p), *gradients(loss, p[:3])]
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-14)


def test_a_block_is_a_share_of_a_cards_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 GiB / 256 hold 2,520 rows of 33,280 float32 logits, of which nine times 256 are taken; never less than 256."""
    cuda = torch.device("cuda")
    for memory, rows in ((80 * 2**30, 2304), (2 * 2**30, 256)):
        card = SimpleNamespace(total_memory=memory)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, card=card: card)
        assert cross_entropy.block_rows(33_280, cuda) == rows
    assert cross_entropy.block_rows(33_280, torch.device("cpu")) == BLOCK


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("rows", [3, 7, 1000])
def test_blocks_of_any_size_give_the_same_loss_and_gradients(
    rows: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for block in (BLOCK, rows):
        monkeypatch.setattr(cross_entropy, "block_rows", lambda words, device, block=block: block)
        torch.manual_seed(0)
        tensors = [torch.randn(shape, requires_grad=True) for shape in ((20, 6), (11, 6), (11,))]
        loss = linear_cross_entropy(*tensors, torch.arange(20) % 11, precision)
        loss.backward()
        found.append([loss, *(tensor.grad for tensor in tensors)])
    tolerance = 1e-5 if precision == "float32" else 2e-2
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance / 10)
