"""Operations, parameters and bytes: by hand, and those of a real model."""

from __future__ import annotations

from benchmarks.arithmetic import Model
from ulmfit_lab.config.paths import override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.pipeline.build_models import new_language_model


def test_operations_by_hand() -> None:
    # layers 2 -> 3 and 3 -> 2: 8 * 3 * (2 + 3) + 8 * 2 * (3 + 2) = 200; the decoder 2 * 10 * 2 = 40; forward thrice
    assert Model(words=10, emb=2, hidden=3, layers=2).training_flops == 3 * (200 + 40)


def test_parameters_are_those_of_the_model() -> None:
    sizes = Model(words=50, emb=6, hidden=9, layers=3)
    config = override(RunConfig(), {"lm.emb_size": 6, "lm.hidden_size": 9, "lm.n_layers": 3})
    model = new_language_model(config, 50)
    assert sizes.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_bytes_by_hand() -> None:
    sizes = Model(words=10, emb=2, hidden=3, layers=1)  # a single layer has emb units
    # a layer's token keeps 2 inputs and 6 * 2 more; 256 rows of 10 logits; the corpus
    assert sizes.parameters == 30 + 4 * 2 * (2 + 2 + 2)
    assert sizes.step_bytes(tokens=5, corpus=7) == 16 * sizes.parameters + 4 * 5 * 14 + 4 * 256 * 10 + 20 * 7
