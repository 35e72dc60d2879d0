"""What the loop does to weights, worked out by hand; what it learns; what it says when it cannot go on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelTrainingConfig, TrainingConfig
from ulmfit_lab.data.document_batches import DocumentBatches, FeatureBatches
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.training import loop
from ulmfit_lab.training.evaluation import compute_features, evaluate_classifier, evaluate_language_model
from ulmfit_lab.training.loop import fit, reason_to_stop
from ulmfit_lab.training.progress import Point, Progress
from ulmfit_lab.training.schedules import dropout_factor, lr_factor
from ulmfit_lab.training.steps import classifier_step, head_step, language_model_step
from ulmfit_lab.utils.errors import TrainingError

CPU = torch.device("cpu")
Step = Callable[..., Any]


def sgd(**options: Any) -> TrainingConfig:
    """Plain SGD at a constant rate of 0.1: a slope falls by exactly the rate."""
    return TrainingConfig(**{"optimizer": "nt-asgd", "lr": 0.1, "clip": 0.0, "schedule": "constant", **options})


def flat(model: nn.Module) -> dict[str, float]:
    """A validation that never changes."""
    return {"loss": 1.0}


def scripted(losses: Iterable[float]) -> Callable[[nn.Module], dict[str, float]]:
    """A validation that says these losses, one after the other."""
    following = iter(losses)
    return lambda model: {"loss": next(following)}


def test_a_tiny_language_model_learns_a_cycle() -> None:
    torch.manual_seed(0)
    model = LanguageModel(AWDLSTM(10, emb_size=16, hidden_size=16, n_layers=1, dropouts=Dropouts()))
    batches = StreamBatches(np.tile(np.arange(2, 10), 200), batch_size=8, bptt=10)
    config = LanguageModelTrainingConfig(epochs=5, lr=0.02, alpha=0.0, beta=0.0)
    step = language_model_step(config, "float32")
    result = fit(
        model, batches, step, lambda m: evaluate_language_model(m, batches, device=CPU), config, seed=0, device=CPU
    )
    assert result.final["loss"] < 0.1
    assert result.final["accuracy"] > 0.99
    assert result.history[0]["loss"] > result.final["loss"]


def test_each_group_falls_by_its_own_rate(slope: Any, slope_step: Step, one_batch: StreamBatches) -> None:
    """Rates 0.1 / 2.6^2, 0.1 / 2.6 and 0.1, bottom to top, with gradients of 1."""
    fit(slope, one_batch, slope_step, flat, sgd(layer_lr_decay=2.6), seed=0, device=CPU)
    assert slope.values() == pytest.approx([-0.1 / 6.76, -0.1 / 2.6, -0.1])


def test_the_schedule_runs_over_the_steps_of_all_epochs(
    slope: Any, slope_step: Step, five_batches: StreamBatches
) -> None:
    """Of 10 steps the slanted cut is 1: 1/32, then from 1 down by 1/9 of the way a step."""
    points: list[Point] = []
    config = sgd(epochs=2, schedule="slanted")
    fit(slope, five_batches, slope_step, flat, config, seed=0, device=CPU, record=points.append)
    factors = [1 / 32] + [(1 + 31 * (9 - k) / 9) / 32 for k in range(9)]
    assert factors == pytest.approx([lr_factor("slanted", step, 10) for step in range(10)])
    assert [p.values["lr"] for p in points if "lr" in p.values] == pytest.approx([0.1 * f for f in factors])
    assert slope.values()[-1] == pytest.approx(-0.1 * sum(factors), rel=1e-5)


def test_a_rescaled_rate_scales_the_update(slope: Any, slope_step: Step) -> None:
    """25 steps in windows of 10, 10 and 5: updates of 1, 1 and a half."""
    batches = StreamBatches(np.arange(26), batch_size=1, bptt=10, stochastic=False, rescale_lr=True)
    fit(slope, batches, slope_step, flat, sgd(), seed=0, device=CPU)
    assert slope.values() == pytest.approx([-0.25] * 3)


def test_the_gradient_is_clipped_to_its_norm(slope: Any, slope_step: Step, one_batch: StreamBatches) -> None:
    """Three gradients of 1 have norm sqrt(3); clipped to 0.3 each is 0.3 / sqrt(3)."""
    fit(slope, one_batch, slope_step, flat, sgd(clip=0.3), seed=0, device=CPU)
    assert slope.values() == pytest.approx([-0.1 * 0.3 / math.sqrt(3)] * 3, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "nt-asgd"])
def test_only_the_unfrozen_groups_change_and_only_they_have_a_graph(
    slope: Any, slope_step: Step, one_batch: StreamBatches, optimizer: Any
) -> None:
    """Chain-thaw: neither Adam's momentum nor weight decay moves a group that learned before and is frozen now."""
    seen: list[tuple[list[float], list[bool]]] = []

    def watch(model: Any, batch: Any, carry: Any) -> Any:
        seen.append((model.values(), [p.requires_grad for p in model.parameters()]))
        return slope_step(model, batch, carry)

    config = sgd(epochs=5, unfreeze="chain-thaw", optimizer=optimizer, weight_decay=0.1)
    fit(slope, one_batch, watch, flat, config, seed=0, device=CPU)
    values = [np.array(v) for v, _ in seen] + [np.array(slope.values())]
    changed = [set(np.flatnonzero(before != after)) for before, after in itertools.pairwise(values)]
    assert changed == [{2}, {0}, {1}, {0, 1, 2}, {0, 1, 2}]
    assert [set(np.flatnonzero(grad)) for _, grad in seen] == changed
    assert all(p.requires_grad for p in slope.parameters())


def test_gradual_unfreezing_leaves_the_classifiers_lower_layers_as_they_were(
    make_classifier: Callable[..., Classifier], make_documents: Callable[..., Any]
) -> None:
    model = make_classifier()
    before = [[p.detach().clone() for p in group] for group in model.layer_groups()]
    config = TrainingConfig(epochs=2, lr=0.01, unfreeze="gradual", weight_decay=0.1)
    fit(model, make_documents(), classifier_step(ClassifierConfig()), flat, config, seed=0, device=CPU)
    same = [
        all(torch.equal(old, new) for old, new in zip(was, now, strict=True))
        for was, now in zip(before, model.layer_groups(), strict=True)
    ]
    assert same == [True, True, False, False]


def test_averaging_begins_after_the_trigger_and_ends_in_the_mean_of_the_weights(
    slope: Any, slope_step: Step, one_batch: StreamBatches
) -> None:
    """The 7th validation is the first that is worse than all but the last five before it.

    So the weights after steps 8, 9 and 10, that is -0.8, -0.9 and -1.0, are averaged, and validated as averages.
    """
    seen: list[float] = []
    losses = scripted([1, *[2] * 9])

    def evaluate(model: Any) -> dict[str, float]:
        seen.append(model.values()[0])
        return losses(model)

    result = fit(slope, one_batch, slope_step, evaluate, sgd(epochs=10), seed=0, device=CPU)
    assert result.averaging_began == 7
    assert seen == pytest.approx([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6, -0.7, -0.8, -0.85, -0.9])
    assert slope.values() == pytest.approx([-0.9] * 3)


def test_averaging_waits_as_many_validations_as_the_config_says(
    slope: Any, slope_step: Step, one_batch: StreamBatches
) -> None:
    losses = scripted([1, 2, 2, 2, 2])
    result = fit(slope, one_batch, slope_step, losses, sgd(epochs=5, non_monotone=2), seed=0, device=CPU)
    assert result.averaging_began == 4  # the fourth validation is worse than the first, two before it not counted
    never = fit(slope, one_batch, slope_step, flat, sgd(epochs=9), seed=0, device=CPU)
    assert never.averaging_began is None


@pytest.mark.parametrize(
    ("unfreeze", "cycles"), [("gradual", [5, 5, 15]), ("chain-thaw", [5, 5, 5, 10]), ("all", [25]), ("last", [25])]
)
def test_each_stage_of_unfreezing_is_a_cycle_of_its_own_and_the_last_has_the_remaining_epochs(
    slope: Any, slope_step: Step, five_batches: StreamBatches, unfreeze: Any, cycles: list[int]
) -> None:
    def rates(**options: Any) -> list[float]:
        points: list[Point] = []
        config = sgd(epochs=5, schedule="slanted", unfreeze=unfreeze, **options)
        fit(slope, five_batches, slope_step, flat, config, seed=0, device=CPU, record=points.append)
        return [point.values["lr"] for point in points if "lr" in point.values]

    restarted = [0.1 * lr_factor("slanted", step, steps) for steps in cycles for step in range(steps)]
    assert rates() == pytest.approx(restarted)
    assert rates(restart_schedule=False) == pytest.approx([0.1 * lr_factor("slanted", step, 25) for step in range(25)])


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for a device: values that are read, copies to the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = ("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::nonzero", "aten::equal")
        self.count += func._schema.name in reads
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["language model", "classifier"])
def test_between_two_points_no_step_reads_a_value_from_the_device(
    kind: str,
    make_language_model: Callable[..., LanguageModel],
    make_classifier: Callable[..., Classifier],
    make_documents: Callable[..., Any],
    stream: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CPU looks at every loss; other devices only at points, of which 79 steps have 39."""
    model: Any
    batches: Any
    if kind == "classifier":
        model, batches = make_classifier(dropout=0.2), make_documents(79 * 2, batch_size=2)
        step = classifier_step(ClassifierConfig())
    else:
        model, batches = make_language_model(dropout=0.2), StreamBatches(np.resize(stream, 791), batch_size=1, bptt=10)
        step = language_model_step(LanguageModelTrainingConfig(), "float32")
    monkeypatch.setattr(loop, "reads_every_loss", lambda device: False)
    points: list[Point] = []
    with HostReads() as reads:
        fit(model, batches, step, flat, TrainingConfig(), seed=0, device=CPU, record=points.append)
    curve = [point for point in points if "loss" in point.values]
    assert batches.count(0) > 2 * len(curve) - 2
    assert reads.count <= len(curve)


def test_a_loss_that_is_not_finite_is_found_at_the_next_point_where_losses_are_not_read(
    slope: Any, slope_step: Step, five_batches: StreamBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = itertools.count()

    def breaks(model: Any, batch: Any, carry: Any) -> Any:
        loss, carry, reported = slope_step(model, batch, carry)
        return loss, carry, reported * (math.nan if next(steps) == 100 else 1)

    monkeypatch.setattr(loop, "reads_every_loss", lambda device: False)
    with pytest.raises(TrainingError, match=r"mean loss of the last 3 steps is nan at step 102 \(epoch 20"):
        fit(slope, five_batches, breaks, flat, sgd(epochs=30), seed=0, device=CPU)


@pytest.mark.parametrize(("keep", "expected"), [("best", -0.2), ("last", -0.4)])
def test_training_stops_without_progress_and_keeps_the_epoch_it_is_told_to(
    slope: Any, slope_step: Step, one_batch: StreamBatches, keep: Any, expected: float
) -> None:
    """The second epoch is the best; two worse ones end training after the fourth of nine."""
    config = sgd(epochs=9, patience=2, checkpoint=keep)
    result = fit(slope, one_batch, slope_step, scripted([3, 1, 2, 1.5, 0]), config, seed=0, device=CPU)
    assert slope.values() == pytest.approx([expected] * 3)
    assert [h["loss"] for h in result.history] == [3, 1, 2, 1.5]
    assert (result.best["loss"], result.final["loss"], result.steps) == (1, 1.5, 4)
    assert result.stopped == "no better validation loss in 2 epochs"
    assert reason_to_stop(replace(config, checkpoint="best-accuracy"), 4, {"epoch": 1}).startswith(
        "no better validation acc"
    )


def test_a_run_that_gets_better_uses_all_its_epochs(slope: Any, slope_step: Step, one_batch: StreamBatches) -> None:
    config = sgd(epochs=4, patience=1)
    result = fit(slope, one_batch, slope_step, scripted([4, 3, 2, 1]), config, seed=0, device=CPU)
    assert (result.steps, result.stopped, result.tokens) == (4, "all epochs done", 40)


def test_no_epochs_validate_the_model_as_it_is(slope: Any, slope_step: Step, one_batch: StreamBatches) -> None:
    result = fit(slope, one_batch, slope_step, scripted([7]), sgd(epochs=0), seed=0, device=CPU)
    assert (result.best, result.final, result.steps, result.history) == ({"loss": 7}, {"loss": 7}, 0, [])
    assert slope.values() == [0, 0, 0]


def test_what_is_carried_goes_from_batch_to_batch_and_is_dropped_at_an_epochs_start(
    slope: Any, slope_step: Step
) -> None:
    batches = StreamBatches(np.arange(31), batch_size=1, bptt=10, stochastic=False)
    seen: list[Any] = []

    def counting(model: Any, batch: Any, carry: Any) -> Any:
        seen.append(carry)
        loss, _, stats = slope_step(model, batch, carry)
        return loss, 0 if carry is None else carry + 1, stats

    fit(slope, batches, counting, flat, sgd(epochs=2), seed=0, device=CPU)
    assert seen == [None, 0, 1, None, 0, 1]


def test_a_loss_that_is_not_finite_ends_training_naming_where_and_why(
    slope: Any, slope_step: Step, five_batches: StreamBatches
) -> None:
    steps = itertools.count()

    def breaks(model: Any, batch: Any, carry: Any) -> Any:
        loss, carry, stats = slope_step(model, batch, carry)
        return loss * (math.nan if next(steps) == 7 else 1), carry, stats

    with pytest.raises(TrainingError, match=r"nan at step 7 \(epoch 1, batch 2\) with learning rate 0\.1; lower lr"):
        fit(slope, five_batches, breaks, flat, sgd(epochs=2), seed=0, device=CPU)


def test_a_validation_that_is_not_finite_ends_training_rather_than_being_kept_as_best(
    slope: Any, slope_step: Step, one_batch: StreamBatches
) -> None:
    with pytest.raises(TrainingError, match="validation loss is nan at step 1"):
        fit(slope, one_batch, slope_step, scripted([math.nan]), sgd(checkpoint="best"), seed=0, device=CPU)


def test_points_are_means_since_the_point_before_and_not_too_many(slope: Any, slope_step: Step) -> None:
    """79 batches at one loss each, 0 to -0.3 * 78: every second step a point, the mean of two neighbours."""
    batches = StreamBatches(np.arange(791), batch_size=1, bptt=10, stochastic=False)
    points: list[Point] = []
    fit(slope, batches, slope_step, scripted([5.0]), sgd(), seed=0, device=CPU, record=points.append)
    curve = [p for p in points if "loss" in p.values]
    assert [p.step for p in curve] == list(range(2, 80, 2))
    assert [p.values["loss"] for p in curve] == pytest.approx([-0.3 * (s - 1.5) for s in range(2, 80, 2)], rel=1e-4)
    assert points[-1] == Point(79, 1.0, {"valid_loss": 5.0})
    assert curve[0].epoch == pytest.approx(2 / 79)


def test_progress_counts_every_step_and_ends_with_nothing_left(
    slope: Any, slope_step: Step, five_batches: StreamBatches
) -> None:
    seen: list[Progress] = []
    fit(slope, five_batches, slope_step, flat, sgd(epochs=2), seed=0, device=CPU, progress=seen.append)
    assert [(p.done_steps, p.total_steps, p.epoch) for p in seen] == [(s, 10, (s - 1) // 5) for s in range(1, 11)]
    assert seen[-1].seconds_left == 0
    assert all(p.tokens_per_second > 0 for p in seen)


@pytest.mark.parametrize(("precision", "expected"), [("float32", False), ("bfloat16", True)])
def test_the_forward_pass_alone_is_made_in_the_precision(
    slope: Any, slope_step: Step, one_batch: StreamBatches, precision: str, expected: bool
) -> None:
    seen: list[bool] = []

    def watch(model: Any, batch: Any, carry: Any) -> Any:
        seen.append(torch.is_autocast_enabled("cpu"))
        return slope_step(model, batch, carry)

    fit(slope, one_batch, watch, flat, sgd(), seed=0, device=CPU, precision=precision)
    assert seen == [expected]
    assert not torch.is_autocast_enabled("cpu")


def test_the_seed_draws_the_dropout(make_language_model: Callable[..., LanguageModel], stream: np.ndarray) -> None:
    def trained(seed: int) -> list[float]:
        model = make_language_model(dropout=0.3)
        config = LanguageModelTrainingConfig(lr=0.01)
        batches = StreamBatches(stream, batch_size=4, bptt=20)
        fit(model, batches, language_model_step(config, "float32"), flat, config, seed=seed, device=CPU)
        return model.encoder.embedding.weight.detach().flatten().tolist()

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


@pytest.mark.parametrize("schedule", ["rising", "falling"])
def test_dropouts_follow_their_schedule_over_all_epochs_and_go_back(
    make_classifier: Callable[..., Classifier], make_documents: Callable[..., Any], schedule: Any
) -> None:
    model, batches = make_classifier(dropout=0.2), make_documents()
    step = classifier_step(ClassifierConfig())
    seen: list[tuple[float, float, float]] = []

    def watch(model: Any, batch: Any, carry: Any) -> Any:
        seen.append((model.encoder.dropouts.hidden, model.encoder.lstms[0].weight_dropout, model.head[1].p))
        return step(model, batch, carry)

    config = TrainingConfig(epochs=2, dropout_schedule=schedule)
    fit(model, batches, watch, flat, config, seed=0, device=CPU)
    total = 2 * batches.count(0)
    expected = [0.2 * dropout_factor(schedule, number, total) for number in range(total)]
    assert [hidden for hidden, _, _ in seen] == pytest.approx(expected)
    assert [weight for _, weight, _ in seen] == pytest.approx(expected)
    assert {head for _, _, head in seen} == {0.2}
    assert model.encoder.dropouts == model.encoder.rates == Dropouts(*[0.2] * 5)
    assert model.encoder.lstms[0].weight_dropout == 0.2


def test_the_first_falling_step_is_one_at_twice_the_rate(
    make_language_model: Callable[..., LanguageModel], stream: np.ndarray
) -> None:
    """Twice a rate at the first step is that step of a constant rate twice as high, bit for bit."""
    batches = StreamBatches(stream, batch_size=4, bptt=12)
    losses: dict[str, list[float]] = {}

    def trained(name: str, dropout: float, schedule: Any) -> None:
        config = LanguageModelTrainingConfig(epochs=1, dropout_schedule=schedule)
        points: list[Point] = []
        model = make_language_model(dropout=dropout)
        step = language_model_step(config, "float32")
        fit(model, batches, step, flat, config, seed=0, device=CPU, record=points.append)
        losses[name] = [point.values["loss"] for point in points if "loss" in point.values]

    trained("falling", 0.2, "falling")
    trained("high", 0.4, "constant")
    trained("constant", 0.2, "constant")
    assert losses["falling"][0] == losses["high"][0] != losses["constant"][0]
    assert losses["falling"][1] != losses["high"][1]


def test_a_head_trained_on_stored_features_is_that_of_a_frozen_encoder_without_dropout(
    make_classifier: Callable[..., Classifier], make_documents: Callable[..., DocumentBatches]
) -> None:
    config = ClassifierConfig(epochs=3, lr=0.01, unfreeze="last", weight_decay=0.1)
    documents = make_documents()
    whole, alone = make_classifier(), make_classifier()
    fit(whole, documents, classifier_step(config), flat, config, seed=0, device=CPU)
    batches = FeatureBatches(documents, compute_features(alone, documents, device=CPU))
    fit(alone.head, batches, head_step, flat, config, seed=0, device=CPU)
    for one, other in zip(whole.state_dict().values(), alone.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    expected = evaluate_classifier(whole, documents, device=CPU)
    found = evaluate_classifier(alone.head, batches, device=CPU)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
