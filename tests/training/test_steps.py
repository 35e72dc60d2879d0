"""The loss of one step against plain torch, and penalties worked out on paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelTrainingConfig
from ulmfit_lab.data.document_batches import DocumentBatches
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.training.steps import activation_penalty, autocast, classifier_step, language_model_step
from ulmfit_lab.utils.errors import TrainingError

PLAIN = LanguageModelTrainingConfig(alpha=0.0, beta=0.0)


def column(*values: float) -> torch.Tensor:
    """Outputs (T, 1, 1) of one unit at batch size 1."""
    return torch.tensor(values).view(-1, 1, 1)


def test_the_penalty_on_paper_at_batch_size_one() -> None:
    """AR: 2 * mean(1, 9) = 10, on the dropped output. TAR: 1 * mean(2^2, 1^2) = 2.5, on the raw one."""
    dropped, raw = column(1.0, 3.0), column(0.0, 2.0, 3.0)
    assert float(activation_penalty(dropped, raw, 2.0, 0.0)) == pytest.approx(10)
    assert float(activation_penalty(dropped, raw, 0.0, 1.0)) == pytest.approx(2.5)
    assert float(activation_penalty(dropped, raw, 2.0, 1.0)) == pytest.approx(12.5)


def test_a_window_of_one_step_has_no_temporal_penalty() -> None:
    assert float(activation_penalty(column(3.0), column(3.0), 2.0, 1.0)) == pytest.approx(18)


def test_the_loss_is_cross_entropy_plus_penalty_and_the_cross_entropy_is_reported(
    make_language_model: Callable[..., LanguageModel], stream: np.ndarray
) -> None:
    model = make_language_model().eval()
    batch = next(StreamBatches(stream, batch_size=4, bptt=9, stochastic=False).epoch(0))
    loss, _, reported = language_model_step(LanguageModelTrainingConfig(alpha=2.0, beta=1.0), "float32")(
        model, batch, None
    )
    with torch.no_grad():
        dropped, raw, _ = model(batch.ids, None)
        logits = model.logits(dropped).flatten(0, 1)
    plain = nn.functional.cross_entropy(logits, batch.targets.flatten())
    penalty = 2 * (dropped**2).mean() + ((raw[1:] - raw[:-1]) ** 2).mean()
    assert float(reported) == pytest.approx(float(plain), rel=1e-5)
    assert float(loss.detach()) == pytest.approx(float(plain + penalty), rel=1e-5)


def test_the_carried_state_joins_windows_and_is_cut_from_their_graph(
    make_language_model: Callable[..., LanguageModel], stream: np.ndarray
) -> None:
    """Two windows of 10 steps have together the loss of one of 20, and only if the state is carried."""
    model, step = make_language_model().eval(), language_model_step(PLAIN, "float32")
    whole = next(StreamBatches(stream, batch_size=2, bptt=20, stochastic=False).epoch(0))
    halves = StreamBatches(stream, batch_size=2, bptt=10, stochastic=False).epoch(0)
    _, carry, first = step(model, next(halves), None)
    assert not any(tensor.requires_grad for layer in carry for tensor in layer)
    batch = next(halves)
    _, _, second = step(model, batch, carry)
    _, _, forgotten = step(model, batch, None)
    _, _, both = step(model, whole, None)
    assert float(first + second) / 2 == pytest.approx(float(both), rel=1e-5)
    assert abs(float(forgotten - second)) > 1e-4


@pytest.mark.bfloat16
def test_in_bfloat16_products_are_coarse_and_the_loss_is_float32(
    make_language_model: Callable[..., LanguageModel], stream: np.ndarray
) -> None:
    model = make_language_model().eval()
    batch = next(StreamBatches(stream, batch_size=4, bptt=9, stochastic=False).epoch(0))

    def loss_in(precision: str) -> torch.Tensor:
        with autocast(torch.device("cpu"), precision):
            loss, _, _ = language_model_step(LanguageModelTrainingConfig(), precision)(model, batch, None)
        return loss

    fine, coarse = loss_in("float32"), loss_in("bfloat16")
    assert coarse.dtype == torch.float32
    assert float(coarse.detach()) == pytest.approx(float(fine.detach()), rel=1e-2)
    assert float(coarse.detach()) != float(fine.detach())


def test_the_classifiers_loss_is_cross_entropy_of_its_labels(
    make_classifier: Callable[..., Classifier], make_documents: Callable[..., DocumentBatches]
) -> None:
    model, batch = make_classifier().eval(), next(make_documents().epoch(0))
    loss, carry, reported = classifier_step(ClassifierConfig(alpha=0, beta=0))(model, batch, None)
    chosen = model(batch.ids, batch.lengths).log_softmax(1)[torch.arange(8), batch.labels]
    assert float(loss.detach()) == pytest.approx(float(-chosen.mean().detach()), rel=1e-5)
    assert float(reported) == float(loss.detach())
    assert carry is None


def test_the_classifiers_penalty_is_ar_and_tar_over_the_words_and_not_the_padding(
    make_classifier: Callable[..., Classifier], make_documents: Callable[..., DocumentBatches]
) -> None:
    model, batch = make_classifier().eval(), next(make_documents().epoch(0))
    assert batch.lengths.unique().numel() > 1
    loss, _, reported = classifier_step(ClassifierConfig(alpha=2.0, beta=1.0))(model, batch, None)
    with torch.no_grad():
        columns = model.encoder(batch.ids)[0].unbind(1)
    outputs = [column[:length] for column, length in zip(columns, batch.lengths.tolist(), strict=True)]
    ar = torch.cat(outputs).square().mean()
    tar = torch.cat([output[1:] - output[:-1] for output in outputs]).square().mean()
    assert float(loss.detach() - reported) == pytest.approx(float(2 * ar + tar), rel=1e-5)


def test_one_document_alone_is_an_error_that_says_what_to_do(
    make_classifier: Callable[..., Classifier], make_documents: Callable[..., DocumentBatches]
) -> None:
    batch: Any = next(make_documents(1).epoch(0))
    with pytest.raises(TrainingError, match="raise batch_size"):
        classifier_step(ClassifierConfig())(make_classifier(), batch, None)
