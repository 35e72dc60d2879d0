"""Each kind of dropout drops what it says, keeps the mean, and is nothing in evaluation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ulmfit_lab.models.dropout import drop_connect, embedding_dropout, locked_dropout

P = 0.25
IDS = torch.tensor([[0, 1, 2], [3, 0, 1], [2, 2, 0]])  # (T, B) of 4 words


def dropped_words(p: float, training: bool) -> Tensor:
    return embedding_dropout(torch.ones(3, 3, 5), IDS, 4, p, training)


def test_locked_dropout_is_constant_over_time_and_differs_between_streams() -> None:
    torch.manual_seed(0)
    y = locked_dropout(torch.ones(7, 4, 50), P, training=True)
    assert torch.equal(y, y[:1].expand(7, -1, -1))
    assert not torch.equal(y[:, 0], y[:, 1])


@pytest.mark.parametrize(
    "drop",
    [
        lambda: locked_dropout(torch.ones(2, 100, 400), P, training=True)[0],
        lambda: drop_connect(torch.ones(200, 200), P, training=True),
        lambda: embedding_dropout(torch.ones(1, 40_000, 1), torch.arange(40_000)[None], 40_000, P, True),
    ],
)
def test_kept_values_are_scaled_and_the_rate_is_p(drop: Callable[[], Tensor]) -> None:
    torch.manual_seed(0)
    y = drop()
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    # 40,000 draws: the share's standard error is 0.0022
    assert float((y == 0).float().mean()) == pytest.approx(P, abs=0.01)


def test_embedding_dropout_takes_every_occurrence_of_a_word_whole() -> None:
    torch.manual_seed(0)
    fates = set()
    for _ in range(20):
        y = dropped_words(0.5, training=True)
        for word in range(4):
            values = y[word == IDS].unique()
            assert len(values) == 1
            fates.add(float(values))
    assert fates == {0.0, 2.0}


def test_embedding_dropout_equals_dropping_rows_of_the_matrix_before_the_look_up() -> None:
    weight = torch.randn(4, 5)
    torch.manual_seed(3)
    y = embedding_dropout(weight[IDS], IDS, 4, 0.5, training=True)
    torch.manual_seed(3)
    mask = torch.empty(4, 1).bernoulli_(0.5) / 0.5
    assert torch.equal(y, (weight * mask)[IDS])


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero_and_no_random_number_is_drawn() -> None:
    x = torch.randn(3, 3, 5)
    before = torch.get_rng_state()
    for p, training in ((P, False), (0.0, True)):
        assert locked_dropout(x, p, training) is x
        assert embedding_dropout(x, IDS, 4, p, training) is x
        assert drop_connect(x[0], p, training).data_ptr() == x.data_ptr()
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_come_from_the_global_generator() -> None:
    x, state = torch.ones(3, 3, 5), torch.get_rng_state()
    first = [locked_dropout(x, P, True), dropped_words(P, True), drop_connect(x[0], P, True)]
    torch.set_rng_state(state)
    again = [locked_dropout(x, P, True), dropped_words(P, True), drop_connect(x[0], P, True)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
