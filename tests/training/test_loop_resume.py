"""A run that was interrupted ends, bit for bit, like one that was not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelTrainingConfig
from ulmfit_lab.data.document_batches import DocumentBatches
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.awd_lstm import Dropouts
from ulmfit_lab.models.checkpoint import load_resume_state
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.training.evaluation import evaluate_classifier, evaluate_language_model
from ulmfit_lab.training.loop import FitResult, fit
from ulmfit_lab.training.progress import Point, Progress
from ulmfit_lab.training.steps import classifier_step, language_model_step

CPU = torch.device("cpu")


class Interrupted(Exception):
    """Power cut."""


@dataclass
class Ended:
    """What is left of a run."""

    result: FitResult
    weights: dict[str, torch.Tensor]
    points: list[Point]


Train = Callable[..., Ended]


class GRUEncoder(nn.Module):
    """An encoder with another cell, whose state is one tensor a layer, in a dict."""

    def __init__(self, words: int = 20, size: int = 8) -> None:
        super().__init__()
        self.dropouts = Dropouts()
        self.embedding = nn.Embedding(words, size)
        self.lstms = nn.ModuleList([nn.GRU(size, size)])

    def forward(self, ids: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        output, after = self.lstms[0](self.embedding(ids), None if state is None else state["layers"][0])
        return output, {"layers": [after]}


@pytest.fixture
def train_language_model(make_language_model: Callable[..., LanguageModel], stream: np.ndarray) -> Train:
    """Trains the same model, from the same initial weights, each time; validation gets worse, so averaging begins."""

    def train(resume: Path | None = None, stop_at: int = -1, every: float = 0.0, **options: Any) -> Ended:
        config = LanguageModelTrainingConfig(**{"epochs": 3, "lr": 0.02, "unfreeze": "gradual", **options})
        batches = StreamBatches(stream, batch_size=4, bptt=12, rescale_lr=True, seed=2)
        step = language_model_step(config, "float32")

        def evaluate(model: nn.Module) -> dict[str, float]:
            found = evaluate_language_model(model, batches, device=CPU)
            return {**found, "loss": -found["loss"]} if config.optimizer == "nt-asgd" else found

        return run(make_language_model(dropout=0.2), batches, step, evaluate, config, resume, stop_at, every)

    return train


@pytest.fixture
def train_classifier(
    make_classifier: Callable[..., Classifier], make_documents: Callable[..., DocumentBatches]
) -> Train:
    def train(resume: Path | None = None, stop_at: int = -1, every: float = 0.0, **options: Any) -> Ended:
        config = ClassifierConfig(
            **{"epochs": 4, "lr": 0.02, "unfreeze": "chain-thaw", "checkpoint": "best", **options}
        )
        batches = make_documents(seed=2)

        def evaluate(model: nn.Module) -> dict[str, float]:
            return evaluate_classifier(model, batches, device=CPU).metrics

        model = make_classifier(dropout=0.2)
        return run(model, batches, classifier_step(ClassifierConfig()), evaluate, config, resume, stop_at, every)

    return train


@pytest.fixture
def train_gru(stream: np.ndarray) -> Train:
    def train(resume: Path | None = None, stop_at: int = -1, every: float = 0.0) -> Ended:
        torch.manual_seed(0)
        model = LanguageModel(cast(Any, GRUEncoder()))
        batches, config = (
            StreamBatches(stream, batch_size=4, bptt=12, seed=2),
            LanguageModelTrainingConfig(epochs=2, lr=0.02),
        )
        step = language_model_step(config, "float32")

        def evaluate(model: nn.Module) -> dict[str, float]:
            return evaluate_language_model(model, batches, device=CPU)

        return run(model, batches, step, evaluate, config, resume, stop_at, every)

    return train


def run(
    model: Any, batches: Any, step: Any, evaluate: Any, config: Any, resume: Path | None, stop_at: int, every: float
) -> Ended:
    def progress(progress: Progress) -> None:
        if progress.done_steps == stop_at:
            raise Interrupted

    points: list[Point] = []
    result = fit(
        model, batches, step, evaluate, config, seed=5, device=CPU, resume=resume, record=points.append,
        progress=progress, checkpoint_seconds=every,
    )  # fmt: skip
    return Ended(result, {k: v.clone() for k, v in model.state_dict().items()}, points)


def interrupted(train: Train, resume: Path, at: list[int], **options: Any) -> Ended:
    """The run as it ends when the power is cut after each of these steps."""
    for step in at:
        with pytest.raises(Interrupted):
            train(resume, step, **options)
        torch.manual_seed(99)  # another process has another random state
    return train(resume, **options)


def assert_same(one: Ended, other: Ended) -> None:
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name
    assert one.points == other.points
    for field in ("history", "best", "final", "steps", "tokens", "stopped"):
        assert getattr(one.result, field) == getattr(other.result, field), field


@pytest.mark.parametrize("every", [0.0, 1e9], ids=["every step saved", "epochs saved"])
@pytest.mark.parametrize(
    "options",
    [{}, {"checkpoint": "best"}, {"dropout_schedule": "rising"}, {"optimizer": "nt-asgd", "epochs": 9, "lr": 0.5}],
    ids=str,
)
def test_an_interrupted_language_model_ends_like_an_uninterrupted_one(
    train_language_model: Train, tmp_path: Path, options: dict[str, Any], every: float
) -> None:
    whole = train_language_model(**options)
    at = sorted(random.Random(0).sample(range(1, whole.result.steps), 3))
    resume = tmp_path / "resume.pt"
    assert_same(whole, interrupted(train_language_model, resume, at, every=every, **options))
    averaged = load_resume_state(resume)["average"]["count"]
    assert (averaged > 0) == (options.get("optimizer") == "nt-asgd")


@pytest.mark.parametrize("every", [0.0, 1e9], ids=["every step saved", "epochs saved"])
@pytest.mark.parametrize(
    "options",
    [{}, {"checkpoint": "last", "patience": 1}, {"optimizer": "nt-asgd"}, {"dropout_schedule": "falling"}],
    ids=str,
)
def test_an_interrupted_classifier_ends_like_an_uninterrupted_one(
    train_classifier: Train, tmp_path: Path, options: dict[str, Any], every: float
) -> None:
    whole = train_classifier(**options)
    at = sorted(random.Random(1).sample(range(1, whole.result.steps), 3))
    assert_same(whole, interrupted(train_classifier, tmp_path / "resume.pt", at, every=every, **options))


def test_a_state_of_another_shape_is_carried_over_an_interruption(train_gru: Train, tmp_path: Path) -> None:
    whole = train_gru()
    at = sorted(random.Random(2).sample(range(1, whole.result.steps), 3))
    assert_same(whole, interrupted(train_gru, tmp_path / "resume.pt", at))


def test_averaging_that_has_begun_goes_on_after_an_interruption(train_language_model: Train, tmp_path: Path) -> None:
    """Averaging begins after the 7th epoch; the cut comes in the middle of the 8th, then the 9th."""
    options: dict[str, Any] = {"optimizer": "nt-asgd", "epochs": 9, "lr": 0.5}
    whole = train_language_model(**options)
    per_epoch = whole.result.steps // 9
    at = [7 * per_epoch + per_epoch // 2, 8 * per_epoch + per_epoch // 2]
    assert_same(whole, interrupted(train_language_model, tmp_path / "resume.pt", at, **options))


def test_a_cut_after_every_single_step_changes_nothing(train_classifier: Train, tmp_path: Path) -> None:
    """The last step of an epoch among them, where validation is still to come."""
    whole = train_classifier(epochs=2)
    at = list(range(1, whole.result.steps + 1))
    assert_same(whole, interrupted(train_classifier, tmp_path / "resume.pt", at, epochs=2))


def test_a_run_taken_up_goes_on_where_it_was_cut(train_language_model: Train, tmp_path: Path) -> None:
    """Not from the beginning: the step after the cut is the first that is made."""
    resume, seen = tmp_path / "resume.pt", 6
    with pytest.raises(Interrupted):
        train_language_model(resume, seen)
    assert load_resume_state(resume)["position"]["step"] == seen
    with pytest.raises(Interrupted):
        train_language_model(resume, seen + 1)
    assert load_resume_state(resume)["position"]["step"] == seen + 1


@pytest.mark.parametrize("options", [{}, {"patience": 1, "epochs": 30, "lr": 0.5}], ids=["all epochs", "stopped early"])
def test_a_finished_run_is_not_trained_further(
    train_classifier: Train, tmp_path: Path, options: dict[str, Any]
) -> None:
    resume = tmp_path / "resume.pt"
    first = train_classifier(resume, **options)
    again = train_classifier(resume, stop_at=first.result.steps + 1, **options)
    assert_same(first, again)


@pytest.mark.parametrize("content", ["half", "text", "pickle"])
def test_a_torn_resume_state_starts_training_again_and_says_so(
    train_language_model: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    resume = tmp_path / "resume.pt"
    whole = train_language_model()
    with pytest.raises(Interrupted):
        train_language_model(resume, 5)
    bytes_ = {"half": resume.read_bytes()[:2000], "text": b"no state", "pickle": b"\x80\x04cos\nsystem\n."}
    resume.write_bytes(bytes_[content])
    again = train_language_model(resume)
    assert "training starts from the beginning" in caplog.text
    assert_same(whole, again)


def test_an_interruption_leaves_no_half_written_state(train_language_model: Train, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train_language_model(tmp_path / "resume.pt", 5)
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]
