"""A table of runs is held against the declaration, in the fields that a run reads."""

from __future__ import annotations

import shutil
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ulmfit_lab.analysis.run_table import csv_text, read_runs
from ulmfit_lab.cli import main
from ulmfit_lab.config.paths import field_types, flatten, override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.consistency import (
    check_consistency,
    matches_declaration,
    older_stages,
    unknown_fields,
    unread_fields,
)
from ulmfit_lab.experiment.declaration import Experiment, load_experiment, variant_config
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import VERSIONS
from ulmfit_lab.report.committed import Committed, check_folder
from ulmfit_lab.report.publish import publish
from ulmfit_lab.utils.errors import LabError, MismatchError

RESULTS = Path(__file__).resolve().parents[2] / "results"
NAME = "precision"
KINDS = {
    "pretrained": {"last_stage": "pretrained"},
    "fine-tuned": {"last_stage": "fine-tuned"},
    "tf-idf": {"classifier.model": "tf-idf"},
    "word-vectors": {"classifier.model": "word-vectors"},
    **{f"init {s}": {"classifier.init": s} for s in ("random", "word2vec", "glove", "pretrained", "fine-tuned")},
}


def another(path: str, value: Any) -> Any:
    """Another value of a field; none for texts, most of which name something that has to be there."""
    kind = field_types(RunConfig)[path]
    if typing.get_origin(kind) is typing.Literal:
        return next(option for option in typing.get_args(kind) if option != value)
    if kind is bool:
        return not value
    return value * 1.005 or 0.1 if kind is float else value + 1 if kind is int else None


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_counts_as_unread_moves_no_fingerprint(kind: str, experiment: Experiment) -> None:
    config = variant_config(experiment, "tiny", "random", KINDS[kind])
    values, before = flatten(config), final_stage(config, 0, None).fingerprint
    assert unread_fields(config)
    for path in unread_fields(config):
        other = another(path, values[path])
        if other is not None:
            assert final_stage(override(config, {path: other}), 0, None).fingerprint == before, path


def test_params_are_compared_as_values_and_files_by_their_names() -> None:
    assert matches_declaration("classifier.lr", "1e-3", 0.001) and not matches_declaration(
        "classifier.lr", "0.01", 0.001
    )
    assert matches_declaration("pretraining.seed", "None", None) and not matches_declaration(
        "pretraining.seed", "0", None
    )
    assert matches_declaration("lm.tie_weights", "True", True) and not matches_declaration(
        "lm.tie_weights", "yes", True
    )
    assert matches_declaration("target.path", "/home/a/reviews.csv", "b/reviews.csv")
    assert not matches_declaration("target.path", "/home/a/reviews.csv", "/home/a/others.csv")
    assert matches_declaration("classifier.lr", "", 0.001), "a run that is older than the field"
    assert field_types(RunConfig).keys() >= {"classifier.lr", "pretraining.seed", "lm.tie_weights", "target.path"}


@pytest.fixture
def committed(tmp_path: Path) -> Committed:
    """A copy of committed results."""
    shutil.copytree(RESULTS / NAME, tmp_path / NAME)
    return Committed(load_experiment(NAME), "small", tmp_path / NAME)


def edited(experiment: Experiment, variant: str, changes: dict[str, Any]) -> Experiment:
    variants = {name: {**found, **(changes if name == variant else {})} for name, found in experiment.variants.items()}
    return replace(experiment, variants=variants)


def test_a_module_edited_in_a_clone_contradicts_its_committed_runs(committed: Committed, new_lab: Any) -> None:
    variant = next(iter(committed.experiment.variants))
    other = edited(committed.experiment, variant, {"pretraining.lr": 0.25})
    was = variant_config(committed.experiment, "small", variant).pretraining.lr
    (problem,) = check_folder(replace(committed, experiment=other))
    told = f"'{variant}' has pretraining.lr = {was} and 0.25 is declared."
    assert problem.path.name == "runs.csv" and told in problem.reason
    before = {path.name: path.read_bytes() for path in committed.folder.iterdir()}
    clone = new_lab("clone")
    with pytest.raises(
        MismatchError, match=r"runs.csv: the runs contradict the declaration of precision at scale small"
    ):
        publish(other, "small", None, clone.home, None, clone.tracker, committed.folder)
    assert {path.name: path.read_bytes() for path in committed.folder.iterdir()} == before


def test_swapped_variants_are_named_both_and_a_renamed_one_is_missing(committed: Committed) -> None:
    names = list(committed.experiment.variants)[:2]
    one, two = (committed.experiment.variants[name] for name in names)
    variants = {**committed.experiment.variants, names[0]: two, names[1]: one}
    (problem,) = check_folder(replace(committed, experiment=replace(committed.experiment, variants=variants)))
    assert all(f"'{name}' has " in problem.reason for name in names)
    assert "\n" not in problem.reason


def test_a_field_that_the_table_does_not_know_is_no_contradiction_and_is_named(committed: Committed) -> None:
    runs = read_runs(committed.folder / "runs.csv").drop(columns="param/lm.emb_size")
    check_consistency(runs, committed.experiment, "small")
    usual = RunConfig().lm.emb_size
    declared = {variant_config(committed.experiment, "small", v).lm.emb_size for v in committed.experiment.variants}
    assert ("lm.emb_size" in unknown_fields(runs, committed.experiment, "small")) == (declared != {usual})
    assert declared != {usual}


def test_what_a_run_does_not_read_may_differ(committed: Committed) -> None:
    runs = read_runs(committed.folder / "runs.csv").assign(**{"param/classifier.lr": "7.0"})
    check_consistency(runs, committed.experiment, "small")
    with pytest.raises(LabError, match="pretraining.lr = 7.0"):
        check_consistency(runs.assign(**{"param/pretraining.lr": "7.0"}), committed.experiment, "small")


def test_report_says_where_its_runs_come_from(
    committed: Committed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = committed.folder / "runs.csv"
    assert main(["report", NAME, "--results", str(tmp_path), "--home", str(tmp_path / "home")]) == 0
    assert f"Source: {path} (no tracked runs of {NAME} at scale small)." in capsys.readouterr().out


def test_committed_runs_of_another_version_of_a_stage_are_a_problem(tmp_path: Path) -> None:
    name = "shipped_lm_trec"
    folder = Path(shutil.copytree(RESULTS / name, tmp_path / name))
    committed = Committed(load_experiment(name), "small", folder)
    assert check_folder(committed) == []
    table = read_runs(folder / "runs.csv").astype({"stage/classifier.version": str})
    table.loc[0, "stage/classifier.version"] = "1"
    (folder / "runs.csv").write_text(csv_text(table), encoding="utf-8")
    (problem,) = check_folder(committed)
    today = VERSIONS["classifier"]
    assert f"other versions of the code (classifier was 1, today {today}); ulmfit-lab sweep {name}" in problem.reason


def test_stages_without_a_version_are_older_and_those_of_other_runs_do_not_count() -> None:
    runs = pd.DataFrame(
        {
            "stage/pretrained": ["a", "b", ""],
            "stage/pretrained.how": ["computed", "reused", ""],
            "stage/classifier_second": ["", "", "c"],
            "stage/classifier_second.version": ["", "", str(VERSIONS["classifier"])],
        }
    )
    assert older_stages(runs) == [f"pretrained was older, today {VERSIONS['pretrained']}"]
    assert older_stages(runs.iloc[2:]) == []
