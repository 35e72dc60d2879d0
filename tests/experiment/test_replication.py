"""A plan says which contrasts have one realisation of what they compare, and what the runs can show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ulmfit_lab.analysis.spec import Margin
from ulmfit_lab.experiment.declaration import Design, Experiment, run_specs
from ulmfit_lab.experiment.plan import plan_runs
from ulmfit_lab.experiment.replication import power_lines, replication_lines, sd_of_differences
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.utils.errors import ConfigError


def lines(experiment: Experiment, lab: Any, **changes: Any) -> list[str]:
    """What a plan says of replicates."""
    overrides = {name.replace("__", "."): value for name, value in changes.items()}
    planned = plan_runs(experiment, "tiny", overrides, None, (), lab.home.imported)
    return replication_lines(planned, make_report_spec(experiment, "tiny", overrides))


@pytest.fixture
def six(experiment: Experiment) -> Experiment:
    """The experiment with six seeds."""
    return replace(experiment, seeds=tuple(range(6)))


def test_a_shared_language_model_is_named_with_what_to_change(six: Experiment, lab: Any) -> None:
    (line,) = lines(six, lab)
    assert line.startswith("Not replicated: fine-tuned - random: 6 pairs share 1 language model;")
    assert "set pretraining.seed and fine_tuning.seed to None, or Design(language_models=N)" in line
    assert lines(six, lab, pretraining__seed=None, fine_tuning__seed=None) == []
    assert lines(six, lab, pretraining__seed=None) == [], "six are pretrained, and fine-tuned with one seed each"
    (line,) = lines(six, lab, fine_tuning__seed=None)
    assert "share 1 language model" in line, "which is pretrained once"


def test_nested_language_models_are_counted(six: Experiment, lab: Any) -> None:
    nested = replace(six, design=Design(language_models=3))
    assert lines(nested, lab) == ["fine-tuned - random: 6 pairs share 3 language models, which n counts."]
    seeds = [(c.config.pretraining.seed, c.config.fine_tuning.seed) for c in run_specs(nested, "tiny")]
    assert seeds[::2] == [(0, 0), (1, 1), (2, 2), (0, 0), (1, 1), (2, 2)]


def test_as_many_language_models_as_seeds_or_more_are_independent(six: Experiment, lab: Any) -> None:
    many, own = (replace(six, design=Design(language_models=count)) for count in (7, 6))
    assert [c.config for c in run_specs(many, "tiny")] == [c.config for c in run_specs(own, "tiny")]
    assert lines(many, lab) == [] and make_report_spec(many, "tiny").replicates == 6
    replace(many, seeds=tuple(range(7)), design=Design(language_models=7, looks=(6, 7)))


@pytest.mark.parametrize("count", [1, 0, 2.5, True])
def test_an_impossible_number_of_language_models_is_refused(six: Experiment, count: Any) -> None:
    with pytest.raises(ConfigError, match=r"language_models = .* must be 2 to 1000"):
        replace(six, design=Design(language_models=count))


def test_looks_and_nested_language_models_exclude_each_other(experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match="looks need independent seeds"):
        replace(experiment, seeds=tuple(range(8)), design=Design(language_models=4, looks=(6, 8)))


@pytest.mark.parametrize(
    ("margin", "says"),
    [
        (Margin("random", "random", 1.0, "so"), "not of one of its contrasts"),
        (Margin("fine-tuned", "random", -1.0, "so"), "must be above 0"),
        (Margin("fine-tuned", "random", 1.0, ""), "have a reason"),
    ],
)
def test_a_margin_that_means_nothing_is_refused(experiment: Experiment, margin: Margin, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(experiment, design=Design(margins=(margin,)))


def test_power_is_told_from_the_runs_that_are_there(six: Experiment, lab: Any) -> None:
    margin = Margin("fine-tuned", "random", 5.0, "a draw of labels moves it as much")
    design = Design(margins=(margin,), smallest_difference=1.0)
    spec = make_report_spec(replace(six, design=design), "tiny")
    first, second = power_lines(spec, 2.0)
    # by hand: six pairs show 1.435 sds four times in five at 5%
    assert "6 seeds show 2.87 four times in five (1 test). The smallest difference of interest is 1: too few" in first
    assert second == "fine-tuned - random within 5: shown in 100% if equal."
    planned = plan_runs(six, "tiny", None, None, (), lab.home.imported)
    assert sd_of_differences(planned, [], spec) is None
