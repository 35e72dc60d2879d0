"""Integrated gradients: they add up, and a word that says nothing gets nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ulmfit_lab.models.attributions import integrated_gradients, probabilities
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import Classifier, Features

PAD = 1


def classifier(features: Features) -> Classifier:
    """A classifier whose weights are large enough for its guesses to differ."""
    torch.manual_seed(0)
    encoder = AWDLSTM(30, emb_size=6, hidden_size=8, n_layers=2, dropouts=Dropouts())
    model = Classifier(encoder, 3, head_size=5, output_dropout=0.1, head_dropout=0.1, features=features)
    with torch.no_grad():
        for module, factor in ((encoder.embedding, 10), (encoder.lstms, 3), (model.head, 2)):
            for parameter in module.parameters():
                parameter.mul_(factor)
    return model.eval()


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(2, 30, (12,), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("features", ["last", "mix", "embeddings"])
def test_from_embeddings_a_model_says_what_it_says_from_ids(features: Features, ids: Tensor) -> None:
    model = classifier(features)
    from_ids = model(ids[:, None], torch.tensor([len(ids)])).softmax(1)
    torch.testing.assert_close(probabilities(model, model.encoder.embedding(ids)[:, None]), from_ids)


@pytest.mark.parametrize("features", ["last", "mix", "embeddings"])
@pytest.mark.parametrize("label", [0, 2])
def test_the_values_add_up_to_the_difference_of_the_probabilities(features: Features, label: int, ids: Tensor) -> None:
    model = classifier(features)
    found = integrated_gradients(model, ids, label)
    lengths = torch.tensor([len(ids)])
    assert found.probability == pytest.approx(
        float(model(ids[:, None], lengths).softmax(1)[0, label].detach()), abs=1e-6
    )
    assert abs(found.probability - found.baseline) > 0.01 > 10 * abs(found.gap)
    assert float(found.values.sum()) == pytest.approx(found.probability - found.baseline, abs=1e-3)
    assert abs(found.gap) <= abs(integrated_gradients(model, ids, label, steps=1).gap)


def test_over_all_classes_a_words_values_cancel(ids: Tensor) -> None:
    # probabilities add up to 1, so what a word adds to one class it takes from the others
    model = classifier("last")
    every = torch.stack([integrated_gradients(model, ids, label).values for label in range(3)])
    torch.testing.assert_close(every.sum(0), torch.zeros(len(ids)), rtol=0, atol=1e-5)


def test_a_word_without_an_embedding_gets_nothing(ids: Tensor) -> None:
    ids[4] = PAD  # whose embedding is zero, as in the baseline
    values = integrated_gradients(classifier("last"), ids, 0).values
    assert values[4] == 0 and values[[0, 3, 5]].all()


def test_one_word_gets_all_of_it() -> None:
    found = integrated_gradients(classifier("last"), torch.tensor([7]), 0, steps=512)
    assert float(found.values[0]) == pytest.approx(found.probability - found.baseline, abs=1e-4)
