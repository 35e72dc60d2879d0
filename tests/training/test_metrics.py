"""Metrics do not depend on how the data is cut into batches."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from ulmfit_lab.data.document_batches import DocumentBatches
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.training.evaluation import evaluate_classifier, evaluate_language_model

CPU = torch.device("cpu")


def test_a_language_model_without_opinion_needs_log_v_nats_a_token(
    make_language_model: Callable[..., LanguageModel], stream: np.ndarray
) -> None:
    model = make_language_model()
    with torch.no_grad():
        model.decoder_weight.zero_()
    found = evaluate_language_model(model, StreamBatches(stream, batch_size=3, bptt=7), device=CPU)
    assert found["loss"] == pytest.approx(math.log(20), rel=1e-5)
    assert found["perplexity"] == pytest.approx(20, rel=1e-4)


@pytest.mark.parametrize("bptt", [5, 13, 99])
def test_a_stream_has_one_loss_however_it_is_cut_into_windows(
    make_language_model: Callable[..., LanguageModel], stream: np.ndarray, bptt: int
) -> None:
    """The state is carried, and a short last window counts by its tokens."""
    model = make_language_model(dropout=0.5)  # switched off in evaluation
    columns = StreamBatches(stream, batch_size=4, bptt=bptt, stochastic=False)
    found = evaluate_language_model(model, columns, device=CPU)
    with torch.no_grad():
        output, _, _ = model.eval()(columns.columns[:-1], None)
        logits, targets = model.logits(output).flatten(0, 1), columns.columns[1:].flatten()
    assert found["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, targets)), rel=1e-5)
    assert found["accuracy"] == pytest.approx(float((logits.argmax(1) == targets).float().mean()))


def test_evaluation_leaves_mode_weights_and_random_state_as_they_were(
    make_language_model: Callable[..., LanguageModel], stream: np.ndarray
) -> None:
    model = make_language_model(dropout=0.5).train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    evaluate_language_model(model, StreamBatches(stream, batch_size=4, bptt=9), device=CPU)
    assert model.training
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("sampler", ["sorted", "sortish", "shuffled"])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_classifiers_predictions_come_in_the_documents_own_order(
    make_classifier: Callable[..., Classifier],
    make_documents: Callable[..., DocumentBatches],
    sampler: str,
    batch_size: int,
) -> None:
    """Each document's probabilities are those it has when read alone."""
    model = make_classifier(dropout=0.5).eval()
    batches = make_documents(sampler=sampler, batch_size=batch_size)
    found = evaluate_classifier(model, batches, device=CPU)
    with torch.no_grad():
        alone = [model(torch.as_tensor(d)[:, None], torch.tensor([len(d)])).softmax(1) for d in batches.documents]
    assert np.allclose(found.probabilities, torch.cat(alone).numpy(), atol=1e-5)
    truth = batches.labels.numpy()
    guesses = found.probabilities.argmax(1)
    assert found.metrics["accuracy"] == pytest.approx(np.mean(guesses == truth))
    assert found.metrics["error"] == pytest.approx(np.mean(guesses != truth))
    assert found.metrics["loss"] == pytest.approx(-np.log(found.probabilities[np.arange(50), truth]).mean(), rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.bfloat16)])
def test_threads_that_share_the_batches_find_what_one_finds(
    make_classifier: Callable[..., Classifier], make_documents: Callable[..., DocumentBatches], precision: str
) -> None:
    model, batches, found = make_classifier(), make_documents(sampler="sorted"), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(evaluate_classifier(model, batches, device=CPU, precision=precision))
            assert torch.get_num_threads() == threads and model.training
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0].probabilities, found[1].probabilities)
    assert found[0].metrics == found[1].metrics
