"""The heads: tying, groups in order, and pooling that padding cannot touch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import BatchNorm, Classifier, Features, LanguageModel, LayerMix
from ulmfit_lab.models.pooling import concat_pool

WORDS, EMB = 20, 5
FEATURES: tuple[Features, ...] = ("last", "mix", "embeddings")


def encoder(dropouts: Dropouts | None = None) -> AWDLSTM:
    torch.manual_seed(0)
    return AWDLSTM(WORDS, emb_size=EMB, hidden_size=7, n_layers=2, dropouts=dropouts or Dropouts())


def classifier(dropouts: Dropouts | None = None, features: Features = "last") -> Classifier:
    return Classifier(encoder(dropouts), 3, head_size=6, output_dropout=0.3, head_dropout=0.1, features=features)


def documents(lengths: list[int], extra: int = 0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random ids (T, B), padded at the end to the longest and `extra` steps more, and the lengths."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.ones(max(lengths) + extra, len(lengths), dtype=torch.int64)
    for column, length in enumerate(lengths):
        ids[:length, column] = torch.randint(2, WORDS, (length,), generator=generator)
    return ids, torch.tensor(lengths)


def test_a_tied_decoder_is_the_embedding_and_an_untied_one_is_not() -> None:
    tied, untied = LanguageModel(encoder()), LanguageModel(encoder(), tie_weights=False)
    assert tied.decoder_weight is tied.encoder.embedding.weight
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == WORDS * EMB
    assert float(untied.decoder_weight.detach().abs().max()) <= 0.1
    assert not tied.decoder_bias.any()


def test_logits_are_the_linear_map_of_the_dropped_output() -> None:
    model = LanguageModel(encoder()).eval()
    dropped, raw, _ = model(documents([4, 4])[0])
    expected = torch.einsum("tbe,ve->tbv", dropped, model.encoder.embedding.weight) + model.decoder_bias
    torch.testing.assert_close(model.logits(dropped), expected)
    assert torch.equal(dropped, raw)


def test_output_dropout_is_locked_and_leaves_the_raw_output_alone() -> None:
    model = LanguageModel(encoder(Dropouts(output=0.5)))
    dropped, raw, _ = model(documents([4, 4])[0])
    kept = dropped != 0
    assert torch.equal(kept, kept[:1].expand_as(kept))
    assert kept.any()
    assert not kept.all()
    assert torch.equal(dropped[kept], 2 * raw[kept])


@pytest.mark.parametrize("tie", [True, False])
def test_groups_of_the_language_model_hold_each_parameter_once_and_end_with_the_embedding(tie: bool) -> None:
    model = LanguageModel(encoder(), tie_weights=tie)
    groups = model.layer_groups()
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [len(group) for group in groups] == [4, 4, 2 if tie else 3]
    assert sorted(names[p] for group in groups for p in group) == sorted(names.values())
    assert [names[group[0]] for group in groups] == [
        "encoder.lstms.0.weight_ih",
        "encoder.lstms.1.weight_ih",
        "encoder.embedding.weight",
    ]


def test_groups_of_the_classifier_run_from_embedding_to_head() -> None:
    model = classifier()
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = [{names[p].rsplit(".", 1)[0] for p in group} for group in model.layer_groups()]
    linears_and_norms = {"head.0", "head.2", "head.4", "head.6"}
    assert groups == [{"encoder.embedding"}, {"encoder.lstms.0"}, {"encoder.lstms.1"}, linears_and_norms]


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), extra=st.integers(1, 12))
@pytest.mark.parametrize("features", FEATURES)
def test_padding_changes_nothing(features: Features, lengths: list[int], extra: int) -> None:
    model = classifier(Dropouts(input=0.3, weight=0.3, hidden=0.3), features).eval()
    ids, sizes = documents(lengths)
    padded, _ = documents(lengths, extra)
    torch.testing.assert_close(model.features(padded, sizes), model.features(ids, sizes), rtol=0, atol=1e-6)
    torch.testing.assert_close(model(padded, sizes), model(ids, sizes), rtol=0, atol=1e-6)


def test_a_document_is_classified_alike_alone_and_in_any_batch() -> None:
    model = classifier().eval()
    ids, lengths = documents([8, 3, 5])
    together = model(ids, lengths)
    for column, length in enumerate(lengths.tolist()):
        alone = model(ids[:length, column : column + 1], lengths[column : column + 1])
        torch.testing.assert_close(alone[0], together[column], rtol=0, atol=1e-6)


def test_a_batch_of_one_is_trained_on_with_the_running_statistics() -> None:
    model = classifier().train()
    for norm in (model.head[0], model.head[4]):
        norm.running_mean.uniform_()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    torch.manual_seed(0)
    model(*documents([5])).sum().backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert all(p.grad is not None for p in model.parameters())


def test_batch_norm_is_torchs_own_for_more_than_one_document() -> None:
    mine, theirs = BatchNorm(4), torch.nn.BatchNorm1d(4)
    x = torch.randn(6, 4)
    assert torch.equal(mine(x), theirs(x))
    assert all(torch.equal(a, b) for a, b in zip(mine.buffers(), theirs.buffers(), strict=True))
    one = x[:1]
    torch.testing.assert_close(mine(one), theirs.eval()(one))


@pytest.mark.bfloat16
def test_the_classifier_works_under_bfloat16_autocast() -> None:
    model = classifier().eval()
    batch = documents([5, 3, 1])
    expected = model(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(*batch)
    torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.01)


def test_the_head_pools_what_it_is_told_to() -> None:
    ids, lengths = documents([6, 4])
    models = {features: classifier(features=features).eval() for features in FEATURES}
    found = {features: model.features(ids, lengths) for features, model in models.items()}
    (embedded, *lstms), _ = models["mix"].encoder.layers(ids)
    assert torch.equal(found["embeddings"], concat_pool(embedded, lengths))
    assert torch.equal(found["last"], concat_pool(lstms[-1], lengths))
    assert torch.equal(found["mix"], torch.cat([concat_pool(layer, lengths) for layer in (embedded, *lstms)], 1))
    # embedding 5, hidden layer 7, last layer 5
    assert found["mix"].shape == (2, 3 * (5 + 7 + 5))


def test_a_mix_is_gamma_times_the_softmax_of_its_scores_by_hand() -> None:
    mix = LayerMix([1, 2])
    x = torch.tensor([[4.0, 8.0, -2.0]])
    assert mix(x).tolist() == [[2.0, 4.0, -1.0]]
    with torch.no_grad():
        mix.scores[0], mix.gamma.data = math.log(3.0), torch.tensor(2.0)  # weights 3/4 and 1/4
    torch.testing.assert_close(mix(x), torch.tensor([[6.0, 4.0, -1.0]]))


def test_a_mix_learns_which_layers_to_use() -> None:
    """Its weights lie behind the batch norm, so that a gradient reaches them."""
    model = classifier(features="mix")
    torch.nn.functional.cross_entropy(model(*documents([6, 4, 3, 5])), torch.tensor([0, 1, 2, 0])).backward()
    mix = model.head[1]
    assert mix.scores.grad.abs().max() > 1e-4 and mix.gamma.grad.abs() > 1e-4


@pytest.mark.parametrize(
    ("features", "groups"),
    [
        ("mix", [{"encoder.embedding"}, {"encoder.lstms.0"}, {"encoder.lstms.1"}]),
        ("embeddings", [{"encoder.embedding"}]),
    ],
)
def test_the_top_group_is_the_whole_head_and_layers_that_are_not_run_are_in_none(
    features: Features, groups: list[set[str]]
) -> None:
    model = classifier(features=features)
    names = {parameter: name for name, parameter in model.named_parameters()}
    *below, top = model.layer_groups()
    assert [{names[p].rsplit(".", 1)[0] for p in group} for group in below] == groups
    assert {names[p] for p in top} == {name for name in names.values() if name.startswith("head.")}
    assert ("head.1.scores" in {names[p] for p in top}) == (features == "mix")


@pytest.mark.parametrize("features", FEATURES)
def test_every_parameter_of_a_group_gets_a_gradient_and_no_other(features: Features) -> None:
    model = classifier(Dropouts(*[0.1] * 5), features)
    model(*documents([6, 4, 3])).square().sum().backward()
    learning = {parameter for group in model.layer_groups() for parameter in group}
    assert learning == {parameter for parameter in model.parameters() if parameter.grad is not None}


@pytest.mark.parametrize("features", FEATURES)
def test_trained_alone_the_head_sees_a_frozen_encoder_with_its_dropout(features: Features) -> None:
    """The encoder has no graph, but drops words as ever, and the head's batch norm takes the batch's statistics."""
    model = classifier(Dropouts(embedding=0.5), features)
    *below, _ = model.layer_groups()
    for parameter in (parameter for group in below for parameter in group):
        parameter.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = documents([6, 4, 3])
    pooled = model.features(*batch)
    assert not pooled.requires_grad
    assert not torch.equal(pooled, model.features(*batch))
    model(*batch).sum().backward()
    assert not torch.equal(model.head[0].running_mean, before["head.0.running_mean"])
    assert all(p.grad is not None for p in model.head.parameters())
    assert all(p.grad is None for p in model.encoder.parameters())


@pytest.mark.bfloat16
@pytest.mark.parametrize("features", ["mix", "embeddings"])
def test_other_features_work_under_bfloat16_autocast(features: Features) -> None:
    model = classifier(features=features).eval()
    batch = documents([5, 3, 1])
    expected = model(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(*batch)
    torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.01)
