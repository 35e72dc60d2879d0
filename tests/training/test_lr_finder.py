"""The sweep grows the rate exponentially, finds the steepest fall and touches nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ulmfit_lab.config.schema import LanguageModelTrainingConfig, TrainingConfig
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.training.lr_finder import find_lr, smoothed_until_diverged, steepest
from ulmfit_lab.training.steps import language_model_step
from ulmfit_lab.utils.errors import TrainingError

CPU = torch.device("cpu")


def test_the_steepest_fall_by_hand() -> None:
    """Over neighbours two apart the loss falls by 1, then 5, then 1: the middle of the second pair."""
    assert steepest([1e-4, 1e-3, 1e-2, 1e-1, 1.0], [9.0, 8.5, 8.0, 3.5, 7.0]) == 1e-2


def test_losses_are_smoothed_with_a_corrected_beginning() -> None:
    """Of 4, 2: first 4, then (.9 * .4 + .1 * 2) / (1 - .81) = .56 / .19."""
    assert list(smoothed_until_diverged(iter([4.0, 2.0]))) == pytest.approx([4.0, 0.56 / 0.19])


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e6])
def test_the_sweep_ends_where_the_loss_runs_away(bad: float) -> None:
    assert list(smoothed_until_diverged(iter([1.0, 1.0, bad, 1.0]))) == pytest.approx([1.0, 1.0])


def test_rates_grow_exponentially_over_as_many_epochs_as_it_takes(
    slope: nn.Module, slope_step: Callable[..., Any], one_batch: StreamBatches
) -> None:
    options: dict[str, Any] = {"device": CPU, "lowest": 1e-4, "highest": 1e-2, "steps": 5}
    found = find_lr(
        slope, one_batch, lambda m, b, c: (*slope_step(m, b, c)[:2], torch.tensor(1.0)), TrainingConfig(), **options
    )
    assert found.lrs == pytest.approx([1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2])
    assert found.losses == pytest.approx([1.0] * 5)


def test_lower_groups_are_swept_at_their_share_of_the_rate(slope_step: Callable[..., Any], slope: Any) -> None:
    """Plain gradient 1, a rate of 0.1 for one step: the three heights fall by 0.1 / 4, 0.1 / 2 and 0.1."""
    seen: list[list[float]] = []

    def watch(model: Any, batch: Any, carry: Any) -> Any:
        seen.append(model.values())
        return slope_step(model, batch, carry)

    batches = StreamBatches(np.arange(21), batch_size=1, bptt=10, stochastic=False)
    config = TrainingConfig(optimizer="nt-asgd", layer_lr_decay=2.0, clip=0.0)
    find_lr(slope, batches, watch, config, device=CPU, lowest=0.1, highest=0.1, steps=2)
    assert seen[1] == pytest.approx([-0.025, -0.05, -0.1])


def test_model_and_random_state_are_left_alone_and_the_search_repeats(
    make_language_model: Callable[..., LanguageModel], stream: np.ndarray
) -> None:
    model = make_language_model(dropout=0.3).eval()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    batches, config = StreamBatches(stream, batch_size=4, bptt=10), LanguageModelTrainingConfig()
    step = language_model_step(config, "float32")
    first = find_lr(model, batches, step, config, device=CPU, steps=30)
    torch.rand(3)
    second = find_lr(model, batches, step, config, device=CPU, steps=30)
    assert first == second
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    torch.set_rng_state(random)


def test_the_suggestion_for_a_cycle_is_a_rate_that_learns_it(make_language_model: Callable[..., LanguageModel]) -> None:
    cycle = np.tile(np.arange(2, 10), 100)
    batches, config = (
        StreamBatches(cycle, batch_size=4, bptt=10, stochastic=False),
        LanguageModelTrainingConfig(clip=0.0),
    )
    step = language_model_step(config, "float32")
    found = find_lr(make_language_model(), batches, step, config, device=CPU, steps=60)
    assert 1e-3 < found.suggestion < 0.5
    assert min(found.losses) < found.losses[0]


def test_a_loss_that_is_never_finite_is_an_error(
    slope: nn.Module, slope_step: Callable[..., Any], one_batch: StreamBatches
) -> None:
    with pytest.raises(TrainingError, match="not finite even at learning rate"):
        find_lr(
            slope,
            one_batch,
            lambda m, b, c: (*slope_step(m, b, c)[:2], torch.tensor(math.nan)),
            TrainingConfig(),
            device=CPU,
        )
