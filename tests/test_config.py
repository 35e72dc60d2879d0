"""Properties of the config: complete, checked when made, addressed by path, equal to equal values everywhere."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ulmfit_lab.config.schema
from ulmfit_lab.config.bounds import DROPOUTS, field_bounds
from ulmfit_lab.config.paths import (
    RENAMED_FIELDS,
    differences,
    field_types,
    fingerprint,
    flatten,
    leaf_fields,
    non_defaults,
    override,
    rename_fields,
)
from ulmfit_lab.config.reference import config_reference, describe_fields
from ulmfit_lab.config.schema import ComputeConfig, LanguageModelConfig, LanguageModelTrainingConfig, RunConfig
from ulmfit_lab.utils.errors import ConfigError

KINDS = field_types(RunConfig)
BOUNDS = field_bounds(RunConfig)
PATHS = tuple(KINDS)
NUMBERS = tuple(path for path, kind in KINDS.items() if kind in (int, float, int | None, float | None))
FLOATS = tuple(path for path, kind in KINDS.items() if kind is float)


def another(path: str) -> Any:
    """A valid value of this field that is not its default."""
    value, kind = flatten(RunConfig())[path], KINDS[path]
    if typing.get_origin(kind) is typing.Literal:
        return next(option for option in typing.get_args(kind) if option != value)
    if kind is bool:
        return not value
    if path == "compute.device":
        return "cuda:7"
    if kind is str:
        return f"{value}x"
    if kind is float:
        return value * 1.005 or 0.1  # within the bounds of every float field
    return (value or 0) + 1


CHANGED = {path: another(path) for path in PATHS}


# Declaration


def is_sentence(node: ast.stmt | None) -> bool:
    """Whether a statement is a bare string that ends with a full stop."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and str(node.value.value).endswith(".")


def test_every_field_has_a_sentence_under_it() -> None:
    tree = ast.parse(Path(ulmfit_lab.config.schema.__file__).read_text(encoding="utf-8"))
    bare = []
    for group in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for node, below in zip(group.body, [*group.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and not is_sentence(below):
                bare.append(f"{group.name}.{ast.unparse(node.target)}")
    assert bare == []


def test_every_number_has_bounds_and_every_bound_a_number() -> None:
    assert set(NUMBERS) == BOUNDS.keys() | {path for path in NUMBERS if path.rsplit(".", 1)[-1] in DROPOUTS}


def test_the_reference_of_the_fields_is_that_of_the_schema() -> None:
    page = Path(__file__).parents[1] / "docs" / "config.md"
    assert page.read_text(encoding="utf-8") == config_reference(), "make reference"
    assert describe_fields(RunConfig).keys() == set(PATHS)


def test_types_and_values_have_the_same_paths_in_the_order_of_declaration() -> None:
    assert list(flatten(RunConfig())) == list(PATHS)
    assert PATHS[0] == "target.name"
    assert PATHS[-1] == "last_stage"


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().lm.drop_mult = 0.5  # type: ignore[misc]


# Override and differences


@given(st.sets(st.sampled_from(PATHS)))
def test_differences_are_the_overridden_fields_and_lead_back(paths: set[str]) -> None:
    base = RunConfig()
    changed = override(base, {path: CHANGED[path] for path in paths})
    found = differences(base, changed)
    assert found.keys() == paths
    assert all(found[path] == (flatten(base)[path], CHANGED[path]) for path in paths)
    assert override(changed, {path: old for path, (old, _) in found.items()}) == base


def test_equal_values_are_no_difference() -> None:
    spelt_out = override(RunConfig(), {"lm.hidden_size": int("1150"), "lm.drop_mult": float("0.7")})
    assert differences(spelt_out, RunConfig()) == {}


def test_override_leaves_the_config_that_it_is_given_alone() -> None:
    base = RunConfig()
    override(base, {"lm.drop_mult": 0.5})
    assert base == RunConfig()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lm.drop_mlt", "lm.drop_mult"),
        ("classifier.lrate", "classifier.lr"),
        ("langauge", "language"),
        ("lm.drop-mult", "lm.drop_mult"),
        ("lm.drop_mult.x", "lm.drop_mult"),
    ],
)
def test_override_refuses_an_unknown_name_and_offers_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError) as refused:
        override(RunConfig(), {typed: 0.5})
    assert f"{typed!r} is not a config field" in str(refused.value)
    assert str(refused.value).endswith(f"Did you mean {meant!r}?")


@pytest.mark.parametrize("group", ["lm", "target", ""])
def test_override_takes_leaf_fields_only(group: str) -> None:
    with pytest.raises(ConfigError, match="is not a config field"):
        override(RunConfig(), {group: LanguageModelConfig()})


# Checks


def beyond(path: str) -> list[float]:
    """Values on either side of a field's bounds, of its type."""
    low, high = BOUNDS.get(path, (0, 0.999))
    if KINDS[path] is float:
        return [low - max(abs(low), 1.0) * 1e-9, math.inf, -math.inf, math.nan, *([high + 1] if high < 1e300 else [])]
    return [int(low) - 1, int(high) + 1]


@pytest.mark.parametrize(("path", "value"), [(path, value) for path in NUMBERS for value in beyond(path)])
def test_a_number_out_of_bounds_is_refused_by_path(path: str, value: float) -> None:
    with pytest.raises(ConfigError) as refused:
        override(RunConfig(), {path: value})
    assert str(refused.value).startswith(f"{path} = {value} ")


@pytest.mark.parametrize("path", [path for path in NUMBERS if path.rsplit(".", 1)[-1] not in (*DROPOUTS, "drop_mult")])
def test_bounds_are_inclusive(path: str) -> None:
    for bound in BOUNDS[path]:
        value = bound if KINDS[path] is float else int(bound)
        assert flatten(override(RunConfig(), {path: value}))[path] == value


@pytest.mark.parametrize("path", [path for path, kind in KINDS.items() if typing.get_origin(kind) is typing.Literal])
def test_every_option_is_taken_and_no_other(path: str) -> None:
    for option in typing.get_args(KINDS[path]):
        assert flatten(override(RunConfig(), {path: option}))[path] == option
    with pytest.raises(ConfigError, match=rf"^{path} = 'none' is not an option\. "):
        override(RunConfig(), {path: "none"})


def test_a_misspelt_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'gradual'\?"):
        override(RunConfig(), {"classifier.unfreeze": "gradul"})


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (
            "target.max_length",
            4,
            "nothing but the markers at a document's beginning; use 0 \\(not cut\\) or at least 5",
        ),
        ("classifier.epochs", True, "must be a int, not a bool"),
        ("lm.drop_mult", True, "must be a float, not a bool"),
        ("classifier.epochs", 1.0, "must be a int, not a float"),
        ("classifier.epochs", "1", "must be a int, not a str"),
        ("lm.drop_mult", None, "must be a float, not a NoneType"),
        ("lm.backwards", 1, "must be a bool, not a int"),
        ("language", 3, "must be a str, not a int"),
        ("fine_tuning.seed", "0", "not a str"),
    ],
)
def test_a_value_of_another_type_is_refused_by_path(path: str, value: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^{path} = {value!r} .*{why}"):
        override(RunConfig(), {path: value})


@pytest.mark.parametrize("group", ["lm", "classifier"])
@pytest.mark.parametrize("name", DROPOUTS)
def test_a_dropout_times_its_multiplier_stays_below_one(group: str, name: str) -> None:
    quiet = {f"{group}.{other}": 0.0 for other in DROPOUTS}
    below = override(RunConfig(), {**quiet, f"{group}.{name}": 0.25, f"{group}.drop_mult": 3.99})
    assert flatten(below)[f"{group}.{name}"] == 0.25
    with pytest.raises(ConfigError, match=rf"{group}\.{name} = 0\.25 times {group}\.drop_mult = 4\.0"):
        override(below, {f"{group}.drop_mult": 4.0})
    with pytest.raises(ConfigError, match=rf"{group}\.{name} = 1\.0"):
        override(RunConfig(), {**quiet, f"{group}.{name}": 1.0, f"{group}.drop_mult": 0.5})


@pytest.mark.parametrize(
    ("fit", "group", "name"),
    [
        (fit, group, name)
        for fit, group in (("pretraining", "lm"), ("fine_tuning", "lm"), ("classifier", "classifier"))
        for name in DROPOUTS
        if (group, name) != ("classifier", "output_dropout")
    ],
)
def test_a_dropout_that_a_schedule_doubles_stays_below_one(fit: str, group: str, name: str) -> None:
    quiet = override(RunConfig(), {f"{group}.drop_mult": 0.5, **{f"{group}.{other}": 0.0 for other in DROPOUTS}})
    high = override(quiet, {f"{group}.{name}": 0.999})
    for schedule in ("rising", "falling"):
        assert override(high, {f"{fit}.dropout_schedule": schedule})
        with pytest.raises(ConfigError, match=rf"^{group}\.{name} = 0\.999 .* {fit}\.dropout_schedule = '{schedule}'"):
            override(high, {f"{fit}.dropout_schedule": schedule, f"{group}.drop_mult": 0.6})


def test_a_schedule_doubles_no_dropout_of_the_classifiers_head() -> None:
    head = {"classifier.drop_mult": 0.9, "classifier.output_dropout": 0.9, "classifier.head_dropout": 0.9}
    assert override(RunConfig(), {**head, "classifier.dropout_schedule": "rising"})


def test_a_transformer_has_no_schedule_of_dropouts() -> None:
    with pytest.raises(ConfigError, match="is not implemented for classifier.model = 'transformer'"):
        override(RunConfig(), {"classifier.model": "transformer", "classifier.dropout_schedule": "rising"})


def test_a_config_is_checked_however_it_is_made() -> None:
    with pytest.raises(ConfigError, match="fine_tuning.bptt = 4 "):
        RunConfig(fine_tuning=LanguageModelTrainingConfig(bptt=4))


# Fingerprints


def test_a_fingerprint_is_the_start_of_the_sha256_of_compact_json() -> None:
    assert fingerprint({"a": [1, 0.5, None, "é"]}) == "3908c5affcacfa1f"


def test_the_order_of_keys_does_not_change_a_fingerprint() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})


def test_equal_configs_have_one_fingerprint_in_another_process() -> None:
    config = override(RunConfig(), {"lm.drop_mult": 0.5, "target.n_labels": 100})
    code = (
        "from ulmfit_lab.config.schema import *\nfrom ulmfit_lab.config.paths import fingerprint\n"
        "print(fingerprint(RunConfig(target=TargetConfig(n_labels=100), lm=LanguageModelConfig(drop_mult=0.5))))"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=Path(ulmfit_lab.config.schema.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == fingerprint(config)


@pytest.mark.parametrize("path", PATHS)
def test_a_change_of_any_field_changes_the_fingerprint(path: str) -> None:
    assert fingerprint(override(RunConfig(), {path: CHANGED[path]})) != fingerprint(RunConfig())


@pytest.mark.parametrize("path", PATHS)
def test_what_changed_is_the_field_that_was_changed(path: str) -> None:
    assert non_defaults(override(RunConfig(), {path: CHANGED[path]})) == {path: CHANGED[path]}


def test_no_default_changes_unnoticed() -> None:
    # A stage's fingerprint leaves defaults out: one that changed would pass old results off as new ones. A new field
    # is added to the file with the default that is what was done before there was a choice. Where a default was wrong
    # and is changed, the version of every stage that it reaches is raised with it (`VERSIONS` in stages/store.py).
    held = json.loads((Path(__file__).parent / "defaults.json").read_text(encoding="utf-8"))
    assert flatten(RunConfig()) == held


def test_no_two_fields_share_a_fingerprint_when_set_to_one_value() -> None:
    texts = [path for path in PATHS if KINDS[path] is str and path != "compute.device"]
    assert len({fingerprint(override(RunConfig(), {path: "same"})) for path in texts}) == len(texts)


@pytest.mark.parametrize("path", [path for path in FLOATS if path.rsplit(".", 1)[-1] != "test_share"])
def test_an_integer_in_a_float_field_is_that_float(path: str) -> None:
    low, high = BOUNDS.get(path, (0, 0.999))
    whole = 1 if low <= 1 <= high else 0
    given, meant = (override(RunConfig(), {path: kind(whole)}) for kind in (int, float))
    assert type(flatten(given)[path]) is float
    assert fingerprint(given) == fingerprint(meant)


def test_zero_has_one_sign() -> None:
    assert fingerprint(override(RunConfig(), {"lm.drop_mult": -0.0})) == fingerprint(
        override(RunConfig(), {"lm.drop_mult": 0.0})
    )


@pytest.mark.parametrize("device", ["gpu", "cuda:", "CPU", "cuda:0 "])
def test_a_device_that_does_not_exist_is_refused_at_once(device: str) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu, cuda or cuda:N"):
        override(RunConfig(), {"compute.device": device})


def test_integers_become_floats_however_the_config_is_made() -> None:
    config = RunConfig(pretraining=LanguageModelTrainingConfig(alpha=2, beta=1))
    assert fingerprint(config) == fingerprint(RunConfig())
    assert config.compute == ComputeConfig()


def test_types_are_resolved_once_for_each_class_however_many_configs_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolving compiles every annotation anew: once for each replaced field, it took most of the time of `list`."""
    resolved: list[type] = []
    resolve = typing.get_type_hints

    def counting(kind: type, **options: Any) -> dict[str, Any]:
        resolved.append(kind)
        return resolve(kind, **options)

    monkeypatch.setattr(typing, "get_type_hints", counting)
    leaf_fields.cache_clear()
    for epochs in range(100):
        override(RunConfig(), {"classifier.epochs": epochs, "lm.drop_mult": 1, "classifier.lr": 1})
    groups = {type(group) for group in vars(RunConfig()).values() if dataclasses.is_dataclass(group)}
    assert sorted(map(str, resolved)) == sorted(map(str, {RunConfig, *groups}))


@pytest.mark.parametrize(("old", "new"), RENAMED_FIELDS.items())
def test_a_renamed_field_is_refused_with_its_new_name_and_read_from_earlier_runs(old: str, new: str) -> None:
    assert new in flatten(RunConfig()) and old not in flatten(RunConfig())
    with pytest.raises(ConfigError, match=f"'{old}' is not a config field; its name is now '{new}'"):
        override(RunConfig(), {old: "x"})
    assert rename_fields({f"param/{old}": 1, "seed": 2}, "param/") == {f"param/{new}": 1, "seed": 2}
