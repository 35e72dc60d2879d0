"""The encoder is nn.LSTM without dropout, and each dropout does to it what the paper says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelConfig
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts, State, detach

WORDS, EMB, HIDDEN, LAYERS, T, B = 20, 5, 7, 3, 6, 4
ALL = Dropouts(input=0.2, output=0.2, weight=0.2, embedding=0.2, hidden=0.2)


def encoder(dropouts: Dropouts | None = None, n_layers: int = LAYERS) -> AWDLSTM:
    torch.manual_seed(0)
    return AWDLSTM(WORDS, emb_size=EMB, hidden_size=HIDDEN, n_layers=n_layers, dropouts=dropouts or Dropouts())


def window(seed: int = 1) -> Tensor:
    return torch.randint(2, WORDS, (T, B), generator=torch.Generator().manual_seed(seed))


def stacked_lstm(model: AWDLSTM, ids: Tensor, state: State) -> tuple[Tensor, State]:
    """The same with torch's own modules."""
    x, after = model.embedding(ids), []
    for lstm, (h, c) in zip(model.lstms, state, strict=True):
        own = nn.LSTM(lstm.weight_ih.shape[1], lstm.hidden_size)
        with torch.no_grad():
            for mine, theirs in zip(own.parameters(), lstm.parameters(), strict=True):
                mine.copy_(theirs)
        x, (h, c) = own(x, (h[None], c[None]))
        after.append((h[0], c[0]))
    return x, after


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_without_dropout_it_is_a_stack_of_nn_lstm(n_layers: int, training: bool) -> None:
    model = encoder(n_layers=n_layers).train(training)
    state = [(torch.randn_like(h), torch.randn_like(c)) for h, c in model.initial_state(B)]
    output, after = model(window(), state)
    expected, expected_after = stacked_lstm(model, window(), state)
    assert output.shape == (T, B, EMB)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    for mine, theirs in zip(after, expected_after, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_the_carried_state_makes_two_windows_one() -> None:
    model = encoder().eval()
    ids = torch.cat([window(1), window(2)])
    whole, last = model(ids)
    first, state = model(ids[:T])
    second, state = model(ids[T:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-6)


def test_sizes_of_the_layers_let_the_last_one_share_the_embedding() -> None:
    sizes = [(lstm.weight_ih.shape[1], lstm.hidden_size) for lstm in encoder().lstms]
    assert sizes == [(EMB, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, EMB)]
    assert [h.shape for h, _ in encoder().initial_state(B)] == [(B, HIDDEN), (B, HIDDEN), (B, EMB)]


def test_embeddings_start_uniform_and_the_padding_at_zero_without_a_gradient() -> None:
    weight = AWDLSTM(5000, emb_size=8, hidden_size=2, n_layers=1, dropouts=Dropouts()).embedding.weight.detach()
    assert not weight[1].any()
    assert 0.099 < float(weight.max()) <= 0.1
    assert -0.1 <= float(weight.min()) < -0.099
    assert float(weight.std()) == pytest.approx(0.1 / 3**0.5, rel=0.02)
    model = encoder()
    ids = window()
    ids[0] = 1
    model(ids)[0].sum().backward()
    assert not model.embedding.weight.grad[1].any()


def test_weight_drop_leaves_the_first_step_alone_and_changes_every_later_one() -> None:
    model = encoder(Dropouts(weight=0.5), n_layers=1)
    dropped, _ = model.train()(window())
    plain, _ = model.eval()(window())
    # the state before the first step is zero, so the hidden-to-hidden weight meets nothing there
    assert torch.equal(dropped[0], plain[0])
    assert all(not torch.equal(a, b) for a, b in zip(dropped[1:], plain[1:], strict=True))


def test_weight_drop_draws_one_mask_a_window() -> None:
    model = encoder(Dropouts(weight=0.5), n_layers=1)
    torch.manual_seed(5)
    dropped, _ = model.train()(window())
    torch.manual_seed(5)
    mask = torch.empty_like(model.lstms[0].weight_hh).bernoulli_(0.5) / 0.5
    with torch.no_grad():
        model.lstms[0].weight_hh.mul_(mask)
    torch.testing.assert_close(dropped, model.eval()(window())[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", ["input", "weight", "embedding", "hidden"])
def test_each_dropout_changes_with_every_call_and_is_off_in_evaluation(rate: str) -> None:
    model = encoder(replace(Dropouts(), **{rate: 0.5}))
    assert not torch.equal(model(window())[0], model(window())[0])
    model.eval()
    assert torch.equal(model(window())[0], model(window())[0])
    assert torch.equal(model(window())[0], encoder().eval()(window())[0])


def test_the_output_is_raw() -> None:
    # of one layer: hidden dropout lies between layers, output dropout in the language model's head
    model = encoder(Dropouts(output=0.5, hidden=0.5), n_layers=1)
    assert torch.equal(model.train()(window())[0], model.eval()(window())[0])


def test_gradients_reach_the_raw_weights_but_not_the_dropped_ones() -> None:
    model = encoder(Dropouts(weight=0.5), n_layers=1)
    torch.manual_seed(5)
    model(window())[0].sum().backward()
    torch.manual_seed(5)
    kept = torch.empty_like(model.lstms[0].weight_hh).bernoulli_(0.5).bool()
    gradient = model.lstms[0].weight_hh.grad
    assert torch.equal(gradient != 0, kept)
    assert [name for name, _ in model.lstms[0].named_parameters()] == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


def test_every_parameter_learns_with_all_dropouts_on() -> None:
    model = encoder(ALL)
    model(window())[0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_a_saved_generator_state_repeats_a_training_step_bit_for_bit() -> None:
    model, random = encoder(ALL), torch.get_rng_state()
    first = [model(window())[0], model(window())[0]]
    torch.set_rng_state(random)
    again = [model(window())[0], model(window())[0]]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_frozen_encoder_builds_no_graph() -> None:
    model = encoder(ALL).requires_grad_(False)
    output, state = model(window())
    assert not output.requires_grad
    assert not any(t.requires_grad for pair in state for t in pair)


def test_frozen_lower_layers_get_no_gradient_and_the_top_the_same_one_as_ever() -> None:
    whole, top = encoder(), encoder()
    top.requires_grad_(False).lstms[-1].requires_grad_(True)
    for model in (whole, top):
        model(window())[0].sum().backward()
    assert [p.grad is None for p in top.parameters()] == [True] + [True] * 8 + [False] * 4
    for mine, other in zip(top.lstms[-1].parameters(), whole.lstms[-1].parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.bfloat16
def test_under_bfloat16_autocast_it_comes_within_that_type_of_float32() -> None:
    model = encoder().eval()
    expected, _ = model(window())
    with torch.autocast("cpu", torch.bfloat16):
        output, state = model(window())
        again, _ = model(window(), detach(state))
    assert output.dtype == again.dtype == torch.bfloat16
    # eight bits of significand: a relative error of 0.4% each, and a few of them in a row
    torch.testing.assert_close(output.float(), expected, rtol=0.03, atol=0.005)
    # the state that autocast leaves is taken up again in float32
    assert model(window(), state)[0].dtype == torch.float32


@pytest.mark.bfloat16
def test_autocast_leaves_float32_gradients_on_raw_weights() -> None:
    model = encoder(ALL)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = model(window())
    output.float().sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


def test_detach_cuts_the_graph_and_keeps_the_values() -> None:
    _, state = encoder()(window())
    cut = detach(state)
    torch.testing.assert_close(cut, state, rtol=0, atol=0)
    assert all(t.requires_grad for pair in state for t in pair)
    assert not any(t.requires_grad for pair in cut for t in pair)


def test_rates_are_the_configs_times_its_multiplier() -> None:
    lm = LanguageModelConfig(drop_mult=0.5)
    expected = Dropouts(input=0.125, output=0.05, weight=0.1, embedding=0.01, hidden=0.075)
    assert Dropouts.scaled(lm) == expected
    classifier = ClassifierConfig(drop_mult=0.5)
    assert Dropouts.scaled(classifier) == Dropouts(input=0.2, output=0.2, weight=0.25, embedding=0.025, hidden=0.15)


def test_scaled_dropouts_are_in_force_everywhere_and_go_back() -> None:
    model = encoder(ALL)
    model.scale_dropouts(1.5)
    assert vars(model.dropouts) == pytest.approx(vars(Dropouts(*[0.3] * 5)))
    assert [lstm.weight_dropout for lstm in model.lstms] == pytest.approx([0.3] * LAYERS)
    model.scale_dropouts(1.0)
    assert model.dropouts == ALL == model.rates
    assert [lstm.weight_dropout for lstm in model.lstms] == [ALL.weight] * LAYERS


def test_dropouts_scaled_to_nothing_are_those_of_evaluation() -> None:
    model = encoder(ALL)
    model.scale_dropouts(0.0)
    assert torch.equal(model.train()(window())[0], model.eval()(window())[0])


def test_layers_are_the_embedding_and_the_output_of_a_shallower_encoder_each() -> None:
    model = encoder().eval()
    layers, _ = model.layers(window())
    assert [layer.shape for layer in layers] == [(T, B, width) for width in model.widths]
    assert torch.equal(layers[0], model.embedding(window()))
    assert torch.equal(layers[-1], model(window())[0])
    for number, layer in enumerate(layers[1:], start=1):
        expected, _ = stacked_lstm_of(model, number)
        torch.testing.assert_close(layer, expected, rtol=0, atol=1e-6)


def stacked_lstm_of(model: AWDLSTM, n_layers: int) -> tuple[Tensor, State]:
    """The output of the lowest layers."""
    lower = encoder()
    lower.load_state_dict(model.state_dict())
    lower.lstms = lower.lstms[:n_layers]
    return stacked_lstm(lower, window(), lower.initial_state(B))


def test_layers_in_training_are_dropped_out_as_the_output_is() -> None:
    model = encoder(ALL)
    torch.manual_seed(5)
    output, _ = model(window())
    torch.manual_seed(5)
    layers, _ = model.layers(window())
    assert torch.equal(layers[-1], output)
    # hidden dropout lies behind a layer: what is given out is before it
    assert all(layer.all() for layer in layers[1:])
