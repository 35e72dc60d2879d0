"""Updates and averages against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ulmfit_lab.config.schema import TrainingConfig
from ulmfit_lab.training.optimizers import WeightAverage, make_optimizer, set_rates, should_average


def one_step(config: TrainingConfig, start: float, gradient: float) -> float:
    """A number after one step of the optimiser."""
    weight = nn.Parameter(torch.tensor([start]))
    optimizer = make_optimizer([[weight]], config)
    weight.grad = torch.tensor([gradient])
    optimizer.step()
    return float(weight.detach())


def test_adams_first_step_is_its_rate_and_its_weight_decay_is_decoupled() -> None:
    """The first step of Adam is lr whatever the gradient's size; decay takes lr * 0.5 * 2 off besides."""
    for gradient in (0.01, 100.0):
        assert one_step(TrainingConfig(lr=0.1), 2.0, gradient) == pytest.approx(2 - 0.1, abs=1e-5)
        assert one_step(TrainingConfig(lr=0.1, weight_decay=0.5), 2.0, gradient) == pytest.approx(
            2 - 0.1 - 0.1, abs=1e-5
        )


def test_sgds_weight_decay_is_an_l2_penalty() -> None:
    config = TrainingConfig(lr=0.1, weight_decay=0.5, optimizer="nt-asgd")
    assert one_step(config, 2.0, 3.0) == pytest.approx(2 - 0.1 * (3 + 0.5 * 2))


def test_adam_uses_the_configs_betas() -> None:
    """Gradients 1 then 0: mean = b1 (1 - b1) / (1 - b1^2), square = b2 (1 - b2) / (1 - b2^2), each bias-corrected."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer([[weight]], TrainingConfig(lr=1.0, beta1=0.5, beta2=0.75))
    for gradient in (1.0, 0.0):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
    second = (0.5 * 0.5 / 0.75) / (0.75 * 0.25 / 0.4375) ** 0.5
    assert float(weight.detach()) == pytest.approx(-1 - second, abs=1e-5)


def test_each_group_has_its_own_rate() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer = make_optimizer([[w] for w in weights], TrainingConfig(optimizer="nt-asgd"))
    set_rates(optimizer, [0.1, 0.2, 0.4])
    for weight in weights:
        weight.grad = torch.ones(1)
    optimizer.step()
    assert [float(w.detach()) for w in weights] == pytest.approx([-0.1, -0.2, -0.4])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.0], False),
        ([1, 2, 2, 2, 2, 2], False),  # five before: too few
        ([1, 2, 2, 2, 2, 2, 2], True),  # worse than the first, five before the newest not counted
        ([2, 1, 1, 1, 1, 1, 2], False),  # no worse than the first; the better ones are too recent
        ([2, 1, 1, 1, 1, 1, 1, 2], True),
        ([7, 6, 5, 4, 3, 2, 1, 0.5], False),
    ],
)
def test_the_non_monotone_trigger_by_hand(losses: list[float], expected: bool) -> None:
    """len(hist) > 5 and val > min(hist[:-5]), where hist is what came before val."""
    assert should_average(losses, 5) is expected


def test_the_average_is_the_mean_of_the_weights_after_every_step_since_it_began() -> None:
    weight = nn.Parameter(torch.tensor([100.0, 0.0]))
    average = WeightAverage([weight])
    average.update()  # not begun: not counted
    average.start(7)
    assert average.began == 7
    for value in (1.0, 2.0, 6.0):
        weight.data.fill_(value)
        average.update()
    average.swap()
    assert weight.tolist() == pytest.approx([3, 3])
    average.swap()
    assert weight.tolist() == [6, 6]


def test_swapping_before_the_first_step_leaves_the_weights() -> None:
    weight = nn.Parameter(torch.tensor([5.0]))
    average = WeightAverage([weight])
    average.swap()
    average.start(0)
    average.swap()
    assert weight.tolist() == [5]


def test_an_average_restored_goes_on_as_if_uninterrupted() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    first = WeightAverage([weight])
    first.start(3)
    first.update()
    second = WeightAverage([weight])
    second.restore(first.state())
    weight.data.fill_(4.0)
    second.update()
    second.swap()
    assert weight.tolist() == pytest.approx([2.5])
    assert second.began == 3
