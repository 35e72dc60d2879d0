"""Documents read in one graph and in windows: the same numbers, gradients of the last windows, bounded memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import Classifier
from ulmfit_lab.models.pooling import concat_pool
from ulmfit_lab.models.windowed_encoding import Windows, read_documents

WORDS, PAD = 40, 1
FEATURES = ["last", "mix", "embeddings"]


class AlwaysWindows(Windows):
    """Windows in which a document is read even where it would fit into one graph."""

    @property
    def graph(self) -> int:
        return self.size


def classifier(windows: Windows, features: Any = "last", **sizes: int) -> Classifier:
    torch.manual_seed(0)
    encoder = AWDLSTM(WORDS, **{"emb_size": 6, "hidden_size": 9, "n_layers": 2, **sizes}, dropouts=Dropouts(), pad=PAD)
    return Classifier(
        encoder, 3, head_size=5, output_dropout=0.0, head_dropout=0.0, features=features, windows=windows
    ).double()


def batch(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, WORDS, (max(lengths), len(lengths)), generator=generator)
    for column, length in enumerate(lengths):
        ids[length:, column] = PAD
    return ids, torch.tensor(lengths)


def results(model: Classifier, ids: Tensor, lengths: Tensor) -> list[Tensor]:
    """Features, the means that are penalised, and all gradients of their sum."""
    model.zero_grad()
    read = model.read(ids, lengths, penalise=True)
    (read.pooled.square().sum() + 3 * read.activation + 7 * read.change).backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.encoder.parameters()]
    return [read.pooled.detach(), read.activation.detach(), read.change.detach(), *gradients]


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6), size=st.integers(5, 12), seed=st.integers(0, 9))
@pytest.mark.parametrize("features", FEATURES)
def test_windows_give_what_one_graph_gives(features: str, lengths: list[int], size: int, seed: int) -> None:
    ids, sizes = batch(lengths, seed)
    whole, parts = classifier(Windows(40, 1, 12), features), classifier(AlwaysWindows(size, 40, 12), features)
    for one, other in zip(results(whole, ids, sizes), results(parts, ids, sizes), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-6)


def test_masks_for_each_window_change_training_alone_and_nothing_without_dropout() -> None:
    ids, lengths = batch([23, 4, 11])
    whole, anew = classifier(Windows(5, 8, 12)), classifier(Windows(5, 8, 12, masked_anew=True))
    for one, other in zip(results(whole, ids, lengths), results(anew, ids, lengths), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-6)
    called: list[int] = []

    def read(window: Tensor, state: Any) -> tuple[list[Tensor], Any]:
        called.append(len(window))
        return [window[..., None].double()], torch.zeros(window.shape[1], 1)

    for windows, grad, expected in (
        (anew.windows, True, [5, 5, 5, 5, 4]),  # the last windows hold 3, 4 and 1 words
        (anew.windows, False, [23]),
        (whole.windows, True, [23]),
    ):
        called.clear()
        with torch.set_grad_enabled(grad):
            read_documents(read, ids, lengths, windows)
        assert called == expected


@pytest.mark.parametrize("features", FEATURES)
def test_a_document_reads_the_same_beside_longer_ones_and_alone(features: str) -> None:
    model = classifier(Windows(5, 2, 8), features).eval()
    ids, lengths = batch([23, 4, 11, 10, 17])
    together = model.features(ids, lengths)
    for number, length in enumerate(lengths.tolist()):
        alone = model.features(ids[:length, number : number + 1], lengths[number : number + 1])
        torch.testing.assert_close(together[number : number + 1], alone, rtol=0, atol=1e-12)


def test_only_the_last_positions_are_pooled() -> None:
    output = torch.tensor([[[9.0]], [[1.0]], [[5.0]], [[3.0]]])  # (T, B, E) = (4, 1, 1)
    assert concat_pool(output, torch.tensor([4]), 3).tolist() == [[3.0, 5.0, 3.0]]
    assert concat_pool(output, torch.tensor([4])).tolist() == [[3.0, 9.0, 4.5]]
    assert concat_pool(output, torch.tensor([2]), 1).tolist() == [[1.0, 1.0, 1.0]]


def test_gradients_agree_with_differences_where_only_the_last_positions_are_pooled() -> None:
    torch.manual_seed(0)
    output, lengths = torch.randn(6, 3, 2, dtype=torch.float64, requires_grad=True), torch.tensor([6, 1, 4])
    assert torch.autograd.gradcheck(lambda x: concat_pool(x, lengths, 3), (output,))


def test_gradients_flow_through_the_last_windows_alone() -> None:
    model = classifier(Windows(size=4, backprop=2, positions=100))
    ids, lengths = batch([14, 6])  # four windows of 4, 4, 4, 2 and two of 4, 2
    ids[:4, 0], ids[4:8, 0], ids[8:12, 0], ids[12:, 0] = 10, 11, 12, 13
    ids[:4, 1], ids[4:6, 1] = 14, 15
    model.read(ids, lengths, penalise=True).pooled.square().sum().backward()
    gradient = model.encoder.embedding.weight.grad
    assert gradient is not None
    touched = {number for number in range(10, 16) if gradient[number].any()}
    assert touched == {12, 13, 14, 15}


def test_the_first_windows_reach_the_last_by_the_state() -> None:
    model = classifier(Windows(size=4, backprop=1, positions=4)).eval()
    ids, lengths = batch([14])
    other = ids.clone()
    other[0, 0] = 2 if ids[0, 0] != 2 else 3
    assert not torch.equal(model.features(ids, lengths), model.features(other, lengths))


def test_penalised_means_worked_out_by_hand() -> None:
    outputs = torch.tensor([[1.0, 2.0], [3.0, 5.0], [4.0, 0.0]], requires_grad=True)[..., None]  # (T, B, E)
    read = read_documents(
        lambda ids, state: ([outputs], None), outputs[..., 0], torch.tensor([3, 2]), Windows(), penalise=True
    )
    # squares 1, 9, 16 and 4, 25; steps 2, 1 and 3; the second document's third step is padding
    assert float(read.activation.detach()) == pytest.approx((1 + 9 + 16 + 4 + 25) / 5)
    assert float(read.change.detach()) == pytest.approx((4 + 1 + 9) / 3)


def test_embeddings_and_evaluation_have_no_penalty() -> None:
    ids, lengths = batch([9, 5])
    assert float(classifier(Windows(), "embeddings").read(ids, lengths, penalise=True).activation) == 0
    with torch.inference_mode():
        assert float(classifier(Windows()).read(ids, lengths, penalise=True).change) == 0


def saved_bytes(model: Classifier, lengths: list[int]) -> int:
    """Bytes that the graph of a training step holds."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        read = model.train().read(*batch(lengths), penalise=True)
        loss = read.pooled.square().sum() + read.activation + read.change
    loss.backward()
    return sum(held.values())


def test_memory_is_bounded_by_the_windows_and_not_by_the_longest_document() -> None:
    model = classifier(Windows(size=10, backprop=5, positions=50))
    short, long = [40] * 8, [2500] + [40] * 7
    assert saved_bytes(model, long) < 1.5 * saved_bytes(model, short)
    model.windows = replace(model.windows, backprop=1000)
    assert saved_bytes(model, long) > 20 * saved_bytes(model, short)
