"""Experiments declare variants over one base; what is misspelt, equal or mixed up is refused when it is declared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ulmfit_lab.config import differences, flatten
from ulmfit_lab.errors import ConfigError
from ulmfit_lab.lab.experiment import (
    Experiment,
    base_config,
    cells,
    declaration,
    experiment_files,
    load_experiment,
    tuning_of,
    variant_config,
)
from ulmfit_lab.lab.scales import SCALES

DROPOUT = Experiment(
    name="dropout",
    question="Does dropout help?",
    baseline="none",
    variants={"none": {"lm.drop_mult": 0.0}, "half": {"lm.drop_mult": 0.5}},
    across="target.labels",
    levels={scale: (20, 40) for scale in SCALES},
    seeds=range(3),
    search={"classifier.lr": (1e-3, 1e-2)},
    search_level={scale: 40 for scale in SCALES},
)


def test_cells_are_every_variant_at_every_level_with_every_seed_once() -> None:
    found = [(c.variant, c.level, c.seed) for c in cells(DROPOUT, "tiny")]
    assert sorted(found) == sorted(
        (v, level, seed) for v in ("none", "half") for level in (20, 40) for seed in range(3)
    )


def test_pairs_complete_early_so_that_an_interrupted_sweep_can_be_compared() -> None:
    assert [c.seed for c in cells(DROPOUT, "tiny")] == [0] * 4 + [1] * 4 + [2] * 4


def test_a_variant_differs_from_the_base_in_its_declared_fields_alone() -> None:
    base = base_config(DROPOUT, "tiny")
    assert differences(variant_config(DROPOUT, "tiny", "half"), base) == {"lm.drop_mult": (0.5, base.lm.drop_mult)}


def test_the_users_replacement_wins_over_scale_variant_and_recipe() -> None:
    tuned = replace(DROPOUT, recipes={"tiny": {"half": {"classifier.lr": 0.5}}})
    assert variant_config(tuned, "tiny", "half").classifier.lr == 0.5
    assert variant_config(tuned, "tiny", "half", {"classifier.lr": 0.25}).classifier.lr == 0.25


def test_a_misspelt_field_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="lm.drop_mult"):
        replace(DROPOUT, variants={"none": {}, "half": {"lm.dropmult": 0.5}})


def test_two_equal_variants_are_refused() -> None:
    with pytest.raises(ConfigError, match="same config"):
        replace(DROPOUT, variants={"none": {"lm.drop_mult": 0.5}, "half": {"lm.drop_mult": 0.5}})


def test_a_baseline_that_is_no_variant_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'none'"):
        replace(DROPOUT, baseline="nane")


def test_seeds_that_tune_may_not_compare() -> None:
    with pytest.raises(ConfigError, match="keep them apart"):
        replace(DROPOUT, search_seeds=(2, 7))


def test_tuning_gives_every_variant_the_same_budget_on_other_seeds_and_measures_validation_data() -> None:
    search = tuning_of(DROPOUT, "tiny")
    tries = [name.rpartition(" | ")[0] for name in search.variants]
    assert tries.count("none") == tries.count("half") == 2
    assert set(search.seeds).isdisjoint(DROPOUT.seeds)
    assert search.measure == "final/valid_error"
    assert {c.config.target.labels for c in cells(search, "tiny")} == {40}


def test_baselines_without_a_language_model_are_not_tuned() -> None:
    fixed = {model: {"classifier.model": model} for model in ("tf-idf", "sentence-encoder")}
    search = tuning_of(replace(DROPOUT, variants={**DROPOUT.variants, **fixed}), "tiny")
    assert {name.rpartition(" | ")[0] for name in search.variants} == set(DROPOUT.variants)


def test_a_declaration_changes_with_any_variant_level_seed_or_replacement() -> None:
    changed = [
        replace(DROPOUT, seeds=range(4)),
        replace(DROPOUT, levels={**DROPOUT.levels, "tiny": (20,)}),
        replace(DROPOUT, variants={**DROPOUT.variants, "full": {"lm.drop_mult": 1.0}}),
    ]
    found = {declaration(e, "tiny") for e in [DROPOUT, *changed]} | {declaration(DROPOUT, "tiny", {"lm.n_layers": 2})}
    assert len(found) == 5


def test_associations_name_variants_and_cross_nothing() -> None:
    declared = load_experiment("accuracy_vs_perplexity")
    assert declared.associations is not None
    misspelt = replace(declared.associations, variants=("bass",))
    with pytest.raises(ConfigError, match="Did you mean 'base'"):
        replace(declared, associations=misspelt)
    with pytest.raises(ConfigError, match="associations need one level"):
        replace(declared, across="target.labels", levels={scale: (20,) for scale in SCALES})


def test_the_two_checkpoints_differ_in_how_they_are_kept_alone() -> None:
    declared = load_experiment("accuracy_vs_perplexity")
    ((one, other),) = declared.contrasts
    for scale in SCALES:
        pair = variant_config(declared, scale, one), variant_config(declared, scale, other)
        assert differences(*pair) == {"fine_tuning.keep": ("best-accuracy", "best")}


@pytest.mark.parametrize("name", sorted(experiment_files()))
def test_every_experiment_of_the_house_is_named_like_its_file_and_declares_every_scale(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")
    for scale in SCALES:
        assert all(flatten(c.config) for c in cells(experiment, scale))


def test_an_unknown_experiment_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'word2vec_vs_lm'"):
        load_experiment("word2vec_vs_ml")


@pytest.mark.parametrize(
    ("text", "says"),
    [("x = 1", "declares no EXPERIMENT"), ("import nothing_of_the_kind", "ModuleNotFoundError"), ("(", "SyntaxError")],
)
def test_a_users_file_that_is_no_experiment_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_experiment(str(path))
