"""What differs between two variants is what the experiment declares, what was tuned for them, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ulmfit_lab.config.paths import override
from ulmfit_lab.config.scales import SCALES, TINY
from ulmfit_lab.experiment.confounds import check_confounds, difference_lines, sort_differences, variant_differences
from ulmfit_lab.experiment.declaration import Experiment, experiment_files, load_experiment

DROPOUT = Experiment(
    name="dropout",
    question="Does dropout help?",
    baseline="none",
    variants={"none": {"lm.drop_mult": 0.0}, "half": {"lm.drop_mult": 0.5}, "base": {}},
    tuned={"tiny": {"half": {"classifier.lr": 0.5}}},
    factor="target.n_labels",
    levels={scale: (20, 40) for scale in SCALES},
    seeds=range(2),
)


def test_differences_are_sorted_by_where_they_come_from() -> None:
    found = variant_differences(DROPOUT, "tiny")
    assert found["half"].declared == {"lm.drop_mult": (0.0, 0.5)}
    assert found["half"].tuned == {"classifier.lr": (TINY.classifier.lr, 0.5)}
    assert found["base"].declared == {"lm.drop_mult": (0.0, TINY.lm.drop_mult)}
    assert found["base"].tuned == {} and not any(each.other for each in found.values())


def test_a_recipe_has_the_last_word_on_a_declared_field() -> None:
    tuned = replace(DROPOUT, tuned={"tiny": {"half": {"lm.drop_mult": 0.25}}})
    assert variant_differences(tuned, "tiny")["half"].tuned == {"lm.drop_mult": (0.0, 0.25)}
    assert variant_differences(tuned, "tiny")["half"].declared == {}


def test_a_recipe_of_the_baseline_shows_in_every_variant() -> None:
    tuned = replace(DROPOUT, tuned={"tiny": {"none": {"classifier.lr": 0.5}}})
    found = variant_differences(tuned, "tiny")
    assert found["half"].tuned == found["base"].tuned == {"classifier.lr": (0.5, TINY.classifier.lr)}


def test_a_difference_that_nobody_declared_is_a_confound() -> None:
    variant = override(TINY, {"lm.drop_mult": 0.5, "lm.n_layers": 2})
    found = sort_differences(variant, TINY, declared={"lm.drop_mult"}, tuned={"classifier.lr"})
    assert found.other == {"lm.n_layers": (1, 2)}
    assert "lm.n_layers 1 -> 2 (NOT DECLARED)" in found.words()


def test_the_users_overrides_are_the_same_for_all() -> None:
    found = variant_differences(DROPOUT, "tiny", {"lm.n_layers": 2, "classifier.lr": 0.25, "lm.drop_mult": 0.1})
    assert all(each.words() == "the same config as the baseline" for each in found.values())


def test_a_line_a_variant_says_what_differs() -> None:
    assert difference_lines(DROPOUT, "tiny") == [
        "none: the baseline",
        f"half: lm.drop_mult 0.0 -> 0.5, classifier.lr {TINY.classifier.lr} -> 0.5 (tuned)",
        f"base: lm.drop_mult 0.0 -> {TINY.lm.drop_mult}",
    ]


@pytest.mark.parametrize("scale", sorted(SCALES))
@pytest.mark.parametrize("name", sorted(experiment_files()))
def test_variants_of_the_house_differ_in_declared_and_tuned_fields_alone(name: str, scale: str) -> None:
    experiment = load_experiment(name)
    check_confounds(experiment, scale)
    for variant, found in variant_differences(experiment, scale).items():
        assert found.other == {}
        assert {*found.declared, *found.tuned}, f"{variant} is the baseline under another name"


def test_a_field_that_the_variant_does_not_read_is_no_difference() -> None:
    """A rate that was tuned for the baseline says nothing of TF-IDF."""
    counted = override(TINY, {"classifier.model": "tf-idf"})
    baseline = override(TINY, {"classifier.lr": 0.5})
    found = sort_differences(counted, baseline, declared={"classifier.model"}, tuned={"classifier.lr"})
    assert found.words() == "classifier.model 'awd-lstm' -> 'tf-idf'"
    only = override(counted, {"classifier.lr": 0.25})
    assert sort_differences(only, counted, {"classifier.lr"}, set()).declared, "shown where there is no other"
