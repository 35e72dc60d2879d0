"""Known words keep their rows; the rows of unseen ones are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.models.transfer import Unseen, embedding_from_vectors, move_language_model, transfer_rows, unseen_rows
from ulmfit_lab.models.word_vectors import WordVectors

OLD = ("xxunk", "xxpad", "the", "film")
NEW = ("xxunk", "xxpad", "film", "actor", "the", "plot")
ROWS = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 8.0], [4.0, -2.0]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(unseen: Unseen, rows: Tensor = ROWS) -> Tensor:
    return transfer_rows(rows, OLD, NEW, unseen, generator())


def test_known_rows_are_copied_and_unseen_ones_are_the_mean_row() -> None:
    # the mean of (1, 0, 3, 4) is 2, that of (2, 0, 8, -2) is 2
    expected = [[1.0, 2.0], [0.0, 0.0], [4.0, -2.0], [2.0, 2.0], [3.0, 8.0], [2.0, 2.0]]
    assert moved("mean").tolist() == expected


def test_unseen_rows_can_be_zeros() -> None:
    assert moved("zeros")[[3, 5]].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("unseen", ["normal", "uniform"])
def test_drawn_rows_have_the_known_rows_mean_and_sd_in_each_column(unseen: Unseen) -> None:
    rows = unseen_rows(ROWS, 200_000, unseen, generator())
    # by hand: variances (1 + 4 + 1 + 4) / 4 = 2.5 and (0 + 4 + 36 + 16) / 4 = 14
    torch.testing.assert_close(rows.mean(0), torch.tensor([2.0, 2.0]), rtol=0, atol=0.05)
    torch.testing.assert_close(rows.std(0), torch.tensor([2.5, 14.0]).sqrt(), rtol=0.01, atol=0)
    if unseen == "uniform":
        assert bool(((rows - 2).abs() <= (3 * torch.tensor([2.5, 14.0])).sqrt() + 1e-5).all())
    else:
        # a normal draw leaves +-sqrt(3) sd with probability 8.3%
        share = ((rows - 2).abs() > (3 * torch.tensor([2.5, 14.0])).sqrt()).float().mean()
        assert float(share) == pytest.approx(0.083, abs=0.005)


@pytest.mark.parametrize("unseen", ["normal", "uniform"])
def test_draws_depend_on_the_generator_alone(unseen: Unseen) -> None:
    torch.manual_seed(1)
    first = transfer_rows(ROWS, OLD, NEW, unseen, generator(5))
    torch.manual_seed(2)
    assert torch.equal(transfer_rows(ROWS, OLD, NEW, unseen, generator(5)), first)
    assert not torch.equal(transfer_rows(ROWS, OLD, NEW, unseen, generator(6)), first)


def test_the_same_words_in_another_order_are_a_permutation() -> None:
    there = transfer_rows(ROWS, OLD, OLD[::-1], "mean", generator())
    assert torch.equal(there, ROWS.flip(0))
    assert torch.equal(transfer_rows(there, OLD[::-1], OLD, "mean", generator()), ROWS)


def test_type_and_source_are_left_as_they_are() -> None:
    rows = ROWS.double().requires_grad_()
    there = moved("mean", rows)
    assert there.dtype == torch.float64
    there.zero_()
    assert torch.equal(rows, ROWS.double())


def language_model(tie: bool) -> LanguageModel:
    torch.manual_seed(0)
    encoder = AWDLSTM(len(OLD), emb_size=3, hidden_size=5, n_layers=2, dropouts=Dropouts(input=0.1))
    model = LanguageModel(encoder, tie_weights=tie)
    torch.nn.init.uniform_(model.decoder_bias)
    return model.eval()


@pytest.mark.parametrize("unseen", ["zeros", "normal", "uniform"])
def test_new_words_have_the_mean_bias_however_their_embeddings_start(unseen: Unseen) -> None:
    model = language_model(True)
    there = move_language_model(model, OLD, NEW, unseen, generator())
    mean = move_language_model(model, OLD, NEW, "mean", generator())
    assert torch.equal(there.decoder_bias, mean.decoder_bias)
    assert not torch.equal(there.encoder.embedding.weight, mean.encoder.embedding.weight)


@pytest.mark.parametrize("tie", [True, False])
def test_a_moved_model_thinks_the_same_of_words_it_knew(tie: bool) -> None:
    model = language_model(tie)
    there = move_language_model(model, OLD, NEW, "mean", generator())
    known = [word for word in NEW if word in OLD]
    old_ids, new_ids = ([words.index(word) for word in known] for words in (OLD, NEW))
    before = model.logits(model(torch.tensor(old_ids)[:, None])[0])[..., old_ids]
    after = there.logits(there(torch.tensor(new_ids)[:, None])[0])[..., new_ids]
    torch.testing.assert_close(after, before)
    assert there.encoder.dropouts == model.encoder.dropouts


@pytest.mark.parametrize("tie", [True, False])
def test_embedding_bias_and_an_untied_decoder_move_together(tie: bool) -> None:
    model = language_model(tie)
    there = move_language_model(model, OLD, NEW, "mean", generator())
    assert there.encoder.embedding.weight.shape == there.decoder_weight.shape == (len(NEW), 3)
    assert there.encoder.embedding.num_embeddings == len(NEW)
    assert (there.decoder_weight is there.encoder.embedding.weight) == tie
    actor = NEW.index("actor")
    torch.testing.assert_close(there.decoder_bias[actor], model.decoder_bias.mean())
    torch.testing.assert_close(there.encoder.embedding.weight[actor], model.encoder.embedding.weight.mean(0))
    torch.testing.assert_close(there.decoder_weight[actor], model.decoder_weight.mean(0))


def test_a_moved_model_trains_without_touching_the_one_it_came_from() -> None:
    model = language_model(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    there = move_language_model(model, OLD, NEW, "mean", generator())
    there.logits(there(torch.tensor([[1], [5]]))[0]).sum().backward()
    assert all(p.grad is not None for p in there.parameters())
    with torch.no_grad():
        for parameter in there.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def vectors(width: int) -> WordVectors:
    matrix = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
    return WordVectors(("the", "film", "rare"), matrix)


def test_vectors_as_wide_as_the_embedding_become_it_at_the_initial_scale() -> None:
    initial, given = torch.randn(len(NEW), 4) * 0.05, vectors(4)
    matrix = embedding_from_vectors(given, NEW, initial, "mean", generator())
    scaled = torch.from_numpy(given.matrix) * float(initial.std()) / float(torch.from_numpy(given.matrix).std())
    torch.testing.assert_close(matrix[NEW.index("the")], scaled[0])
    torch.testing.assert_close(matrix[NEW.index("film")], scaled[1])
    torch.testing.assert_close(matrix[NEW.index("plot")], scaled.mean(0))


def test_narrower_vectors_fill_the_first_columns_and_leave_the_others() -> None:
    initial = torch.randn(len(NEW), 6) * 0.05
    matrix = embedding_from_vectors(vectors(4), NEW, initial, "mean", generator())
    assert torch.equal(matrix[:, 4:], initial[:, 4:])
    assert not torch.isclose(matrix[:, :4], initial[:, :4]).any()


def test_wider_vectors_are_cut() -> None:
    initial = torch.randn(len(NEW), 2)
    given = vectors(4)
    matrix = embedding_from_vectors(given, NEW, initial, "zeros", generator())
    ratio = matrix[NEW.index("the")] / torch.from_numpy(given.matrix[0, :2])
    assert matrix.shape == initial.shape
    torch.testing.assert_close(ratio[0], ratio[1])
