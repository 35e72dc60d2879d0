"""The declaration names the runs: whatever was renamed or swapped, names and values agree and nothing is made twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ulmfit_lab.analysis.run_table import read_runs
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.experiment.run_names import same_runs
from ulmfit_lab.report.publish import publish
from ulmfit_lab.runs.lookup import find_named_run
from ulmfit_lab.runs.transfer import export_runs, import_runs
from ulmfit_lab.sweep.runner import plan_sweep
from ulmfit_lab.utils.errors import ConfigError

LOW, HIGH = {"classifier.lr": 1e-4}, {"classifier.lr": 0.05}
TF_IDF = {"classifier.model": "tf-idf"}


@pytest.fixture
def rates(experiment: Experiment) -> Experiment:
    """Two learning rates, whose values were given to the wrong names."""
    scales = {"tiny": {**experiment.scales["tiny"], "classifier.init": "random", "classifier.epochs": 1}}
    swapped = {"baseline": "low", "variants": {"low": HIGH, "high": LOW}}
    return replace(experiment, name="rates", scales=scales, seeds=(0,), **swapped)


@pytest.fixture
def shared(experiment: Experiment) -> Experiment:
    """A field that an LSTM reads and TF-IDF does not, crossed with the two."""
    variants = {"random": {"classifier.init": "random"}, "tf-idf": TF_IDF}
    scales = {"tiny": {**experiment.scales["tiny"], "classifier.epochs": 1}}
    crossed = {"factor": "classifier.head_size", "levels": {"tiny": (4, 8)}, "scales": scales, "seeds": (0,)}
    return replace(experiment, name="shared", variants=variants, **crossed)


def reported(lab: Any, experiment: Experiment, folder: Path) -> pd.DataFrame:
    """The runs.csv of a report."""
    publish(experiment, "tiny", None, lab.home, None, lab.tracker, folder)
    return read_runs(folder / "runs.csv")


def rates_of(runs: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(runs["variant"], runs["param/classifier.lr"], strict=True))


def renamed(experiment: Experiment, variants: Mapping[str, Any]) -> Experiment:
    return replace(experiment, baseline=next(iter(variants)), variants=variants)


def test_swapped_values_are_reported_under_the_names_of_today_and_nothing_is_made_again(
    lab: Any, rates: Experiment, tmp_path: Path
) -> None:
    assert lab.sweep(rates).finished == 2
    before = reported(lab, rates, tmp_path)
    assert rates_of(before) == {("low", "0.05"), ("high", "0.0001")}
    right = renamed(rates, {"low": LOW, "high": HIGH})
    assert lab.sweep(right).finished == 0
    after = reported(lab, right, tmp_path)
    assert rates_of(after) == {("low", "0.0001"), ("high", "0.05")}
    losses = [dict(zip(runs["run_id"], runs["final/loss"], strict=True)) for runs in (before, after)]
    assert losses[0] == losses[1]
    for run in lab.tracker.runs("rates", "tiny", "FINISHED"):
        variant = {"0.0001": "low", "0.05": "high"}[run.params["classifier.lr"]]
        assert (run.variant, run.name) == (variant, f"{variant}, seed {run.seed}")
        assert run.tags["mlflow.note.content"].startswith(f"Variant **{variant}**, seed {run.seed}, of `rates`")


def test_a_renamed_variant_finds_its_runs_with_a_report_alone(lab: Any, rates: Experiment, tmp_path: Path) -> None:
    lab.sweep(rates)
    other = renamed(rates, {"fast": HIGH, "slow": LOW})
    assert rates_of(reported(lab, other, tmp_path)) == {("fast", "0.05"), ("slow", "0.0001")}
    assert {run.variant for run in lab.tracker.runs("rates", "tiny")} == {"fast", "slow"}
    assert find_named_run("rates/slow/0", lab.tracker, tmp_path).params["classifier.lr"] == "0.0001"


def test_cells_with_one_fingerprint_are_one_run_with_a_row_for_each(
    lab: Any, new_lab: Callable[[str], Any], shared: Experiment, tmp_path: Path
) -> None:
    plan = plan_sweep(shared, "tiny", None, lab.home, None, lab.tracker)
    assert (len(plan.planned), len(plan.runs), len(plan.todo)) == (4, 3, 3)
    told = ["tf-idf @ 4 and tf-idf @ 8 are the same run: no stage reads the differing fields."]
    assert same_runs(plan.planned) == told
    outcome = lab.sweep(shared)
    assert (outcome.finished, outcome.in_other_processes, outcome.failures) == (3, 0, ())
    assert lab.sweep(shared).plan.todo == ()
    runs = reported(lab, shared, tmp_path / "here").set_index(["variant", "level"])
    one, other = runs.loc[("tf-idf", "4")], runs.loc[("tf-idf", "8")]
    assert one["run_id"] == other["run_id"] and one["final/error"] == other["final/error"]
    assert (one["param/classifier.head_size"], other["param/classifier.head_size"]) == ("4", "8")
    assert other["computed_seconds"] == 0 < one["computed_seconds"]
    assert "1 of them reuse the run of another variant or level" in (tmp_path / "here" / "table.md").read_text()
    (run,) = [each for each in lab.tracker.runs("shared", "tiny") if each.variant == "tf-idf"]
    assert run.names == (("tf-idf", "4", 0), ("tf-idf", "8", 0))
    assert find_named_run("shared/tf-idf/8/0", lab.tracker, tmp_path).level == "8"

    # and wherever the runs travel
    export_runs("shared", "tiny", lab.tracker, tmp_path / "runs.jsonl", lab.home)
    for name in ("runs.jsonl", "here/runs.csv"):
        clone = new_lab("clone")
        added = import_runs(shared, "tiny", None, clone.home, None, clone.tracker, tmp_path / name)
        assert (added.added, added.declared) == (3, 3)
        assert clone.sweep(shared).finished == 0
        reported(clone, shared, tmp_path / "there")
        assert (tmp_path / "there" / "runs.csv").read_bytes() == (tmp_path / "here" / "runs.csv").read_bytes()


def test_two_variants_that_differ_in_what_neither_reads_are_one_run(
    lab: Any, experiment: Experiment, tmp_path: Path
) -> None:
    start = {"classifier.init": "random"}
    variants = {"short": {**start, "pretraining.epochs": 1}, "long": {**start, "pretraining.epochs": 2}}
    same = replace(renamed(experiment, variants), seeds=(0,))
    assert lab.sweep(same).finished == 1
    assert list(reported(lab, same, tmp_path)["variant"]) == ["short", "long"]
    apart = renamed(same, {"short": variants["short"], "other": {"classifier.model": "tf-idf"}})
    lab.sweep(apart)
    found = {run.names for run in lab.tracker.runs("starts", "tiny", "FINISHED")}
    assert found == {(("short", "", 0),), (("other", "", 0),)}


def test_seeds_that_are_one_run_are_refused(lab: Any, experiment: Experiment) -> None:
    alone = replace(experiment, variants={"random": {"last_stage": "pretrained"}}, metric="final/valid_loss")
    with pytest.raises(ConfigError, match=r"seeds 0 and 1 of 'random' are the same run.*pretraining.seed"):
        lab.sweep(alone)


def test_a_tag_that_is_torn_names_no_cells(lab: Any, rates: Experiment) -> None:
    lab.sweep(rates)
    run = lab.tracker.runs("rates", "tiny", "FINISHED")[0]
    for text in ("[", "3", '[["a", "b"]]', json.dumps([["a", "b", "c"]])):
        assert replace(run, tags={**run.tags, "lab.also": text}).names == ((run.variant, run.level, run.seed),)
