"""On a GPU: the numbers of the CPU, training that never waits for the host between two points, resumes, windows.

Skipped where there is no GPU. It needs torch, numpy and safetensors alone, so that `pytest --noconftest
tests/test_cuda.py` runs on a machine without the lab's other packages.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelTrainingConfig, TrainingConfig
from ulmfit_lab.data.document_batches import DocumentBatches, FeatureBatches
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.models.windowed_encoding import Windows
from ulmfit_lab.training.evaluation import compute_features, evaluate_classifier, evaluate_language_model
from ulmfit_lab.training.loop import fit
from ulmfit_lab.training.progress import Point
from ulmfit_lab.training.steps import autocast, classifier_step, head_step, language_model_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
CPU, GPU, WORDS = torch.device("cpu"), torch.device("cuda"), 300
RATES = Dropouts(input=0.25, output=0.1, weight=0.2, embedding=0.02, hidden=0.15)


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Products in float32 and not in TF32, which keeps ten bits."""
    torch.backends.cudnn.allow_tf32, was = False, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32 = was
    torch.cuda.set_sync_debug_mode("default")


def language_model(dropouts: Dropouts = RATES) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(AWDLSTM(WORDS, emb_size=40, hidden_size=56, n_layers=3, dropouts=dropouts))


def classifier(windows: Windows = Windows(), dropouts: Dropouts = RATES, features: Any = "last") -> Classifier:  # noqa: B008
    torch.manual_seed(0)
    encoder = AWDLSTM(WORDS, emb_size=40, hidden_size=56, n_layers=2, dropouts=dropouts)
    return Classifier(
        encoder, 3, head_size=20, output_dropout=0.2, head_dropout=0.1, features=features, windows=windows
    )


def stream(n: int = 8001) -> np.ndarray:
    return np.random.default_rng(0).integers(2, WORDS, n)


def documents(longest: int = 60, n: int = 96, **options: Any) -> DocumentBatches:
    rng = np.random.default_rng(1)
    texts = [rng.integers(2, WORDS, rng.integers(3, longest)) for _ in range(n)]
    labels = np.array([int(text.mean() > WORDS / 2) for text in texts])
    return DocumentBatches(texts, labels, **{"batch_size": 16, **options})


def flat(model: nn.Module) -> dict[str, float]:
    return {"loss": 1.0}


def gradients(model: nn.Module, step: Any, batch: Any, device: torch.device, precision: str) -> list[Tensor]:
    """Loss and gradients, on the CPU."""
    moved = copy.deepcopy(model).to(device)
    with autocast(device, precision):
        loss, _, _ = step(moved, batch.to(device), None)
    loss.backward()
    return [loss.detach().cpu(), *(p.grad.cpu() for p in moved.parameters() if p.grad is not None)]


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-3), ("bfloat16", 0.25)])
@pytest.mark.parametrize("kind", ["language model", "last", "mix", "embeddings", "windows"])
def test_losses_and_gradients_are_those_of_the_cpu_in_float32(kind: str, precision: str, bound: float) -> None:
    """Distance of all gradients together; with bfloat16's eight bits another step may be the maximum that is pooled."""
    model: Any
    if kind == "language model":
        model, batch = language_model(Dropouts()), next(StreamBatches(stream(), batch_size=8, bptt=35).epoch(0))
        steps = [language_model_step(LanguageModelTrainingConfig(), each) for each in ("float32", precision)]
    else:
        windows = Windows(8, 3, 20) if kind == "windows" else Windows()
        model = classifier(windows, Dropouts(), "last" if kind == "windows" else kind)
        for part in model.head:
            part.p = 0.0
        batch = next(documents().epoch(0))
        steps = [classifier_step(ClassifierConfig())] * 2
    expected = gradients(model, steps[0], batch, CPU, "float32")
    found = gradients(model, steps[1], batch, GPU, precision)
    assert len(found) == len(expected)
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=bound / 10)
    one, other = (torch.cat([gradient.flatten() for gradient in each[1:]]) for each in (found, expected))
    assert float((one - other).norm() / other.norm()) < bound


class Unsynchronised:
    """Batches whose steps may not make the host wait: a copy or a value that is read between them is an error."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def count(self, epoch: int) -> int:
        return self.batches.count(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        try:
            for batch in self.batches.epoch(epoch, start):
                torch.cuda.set_sync_debug_mode("error")
                yield batch
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["language model", "classifier", "windows", "head"])
def test_no_step_between_two_points_makes_the_host_wait(kind: str, precision: str) -> None:
    model: Any
    batches: Any
    step: Any
    if kind == "language model":
        model, step = language_model().to(GPU), language_model_step(LanguageModelTrainingConfig(), precision)
        batches = StreamBatches(stream(), batch_size=8, bptt=20).to(GPU)
    else:
        batches, step = documents(), classifier_step(ClassifierConfig())
        model = classifier(Windows(8, 3, 20) if kind == "windows" else Windows()).to(GPU)
        if kind == "head":
            batches = FeatureBatches(batches, compute_features(model, batches, device=GPU, precision=precision))
            model, step = model.head, head_step
    fit(
        model, batches, step, flat, TrainingConfig(epochs=1), seed=0, device=GPU, precision=precision
    )  # what only the first does
    epochs, points = 20, list[Point]()
    total = sum(batches.count(epoch) for epoch in range(epochs))
    every = -(-total // 50)  # steps between two points
    assert every > 1
    steps = iter(range(total))

    def watched(model: Any, batch: Any, carry: Any) -> Any:
        result = step(model, batch, carry)
        if (next(steps) + 1) % every == 0:
            torch.cuda.set_sync_debug_mode("default")
        return result

    options: dict[str, Any] = {"seed": 0, "device": GPU, "precision": precision, "record": points.append}
    fit(model, Unsynchronised(batches), watched, flat, TrainingConfig(epochs=epochs), **options)
    assert len([point for point in points if "loss" in point.values]) == total // every


def test_training_learns_and_goes_on_from_where_it_was_interrupted(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def train(resume: Path | None, stop_at: int = -1) -> LanguageModel:
        model = language_model().to(GPU)
        batches = StreamBatches(np.resize(np.arange(2, 30), 6000), batch_size=8, bptt=20).to(GPU)
        recipe = LanguageModelTrainingConfig(epochs=3, lr=1e-2)

        def progress(at: Any) -> None:
            if at.done_steps == stop_at:
                raise Stopped

        def evaluate(model: nn.Module) -> dict[str, float]:
            return evaluate_language_model(model, batches, device=GPU)

        options: dict[str, Any] = {"seed": 0, "device": GPU, "resume": resume, "progress": progress}
        result = fit(
            model, batches, language_model_step(recipe, "float32"), evaluate, recipe, **options, checkpoint_seconds=0
        )
        assert result.final["loss"] < result.history[0]["loss"]
        return model

    whole = train(None)
    path = tmp_path / "resume.pt"
    with pytest.raises(Stopped):
        train(path, stop_at=50)
    again = train(path)
    assert all(
        torch.allclose(one, other, rtol=1e-4, atol=1e-5)
        for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("features", ["last", "mix", "embeddings"])
def test_documents_in_windows_are_classified_as_on_the_cpu(features: str) -> None:
    model, batches = classifier(Windows(8, 3, 20), features=features), documents()
    expected = evaluate_classifier(model, batches, device=CPU)
    found = evaluate_classifier(model.to(GPU), batches, device=GPU)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
