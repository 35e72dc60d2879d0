"""Runs are compared document by document, from the predictions that their stages keep."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.runs.items import always_wrong, check_writable, compare_items, load_predictions
from ulmfit_lab.tracking.predictions import Predictions, parse_predictions
from ulmfit_lab.tracking.sqlite_reader import open_reader
from ulmfit_lab.utils.errors import DataError, MismatchError
from ulmfit_lab.utils.home import open_home


def items(right: list[int]) -> Predictions:
    """Predictions of documents of class 0 that are right or wrong."""
    return Predictions(np.zeros(len(right), int), 1 - np.array(right), np.ones(len(right)))


def test_mcnemars_test_is_the_exact_binomial_test_of_the_documents_that_differ() -> None:
    found = compare_items(items([1] * 5 + [1] * 8 + [0] * 2 + [0] * 3), items([1] * 5 + [0] * 8 + [1] * 2 + [0] * 3))
    assert (found.both_right, found.only_first, found.only_second, found.both_wrong) == (5, 8, 2, 3)
    # by hand: 2 or fewer of 10 fair coins, twice: 2 * (1 + 10 + 45) / 1024
    assert found.p == pytest.approx(112 / 1024)
    assert "Of 18 test documents both get 5 right, only the first 8" in str(found)
    with pytest.raises(MismatchError, match="tested on different documents"):
        compare_items(items([1, 1]), items([1, 1, 1]))


@pytest.fixture(scope="module")
def finished(new_lab: Any, experiment: Experiment, write_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module of an experiment that compares a network with TF-IDF, and options that name its finished runs."""
    lab = new_lab("items")
    variants = {"random": {"classifier.init": "random"}, "tf-idf": {"classifier.model": "tf-idf"}}
    compared = replace(experiment, variants=variants, seeds=(0,))
    assert not lab.sweep(compared).failures
    module = write_module(tmp_path_factory.mktemp("items") / "starts.py", compared)
    return module, ("--scale", "tiny", "--home", str(lab.home.root))


def test_two_runs_are_compared_on_the_terminal(finished: Any, capsys: pytest.CaptureFixture[str]) -> None:
    home = finished[1][-1]
    names = ["starts/random/0", "starts/tf-idf/0"]
    assert main(["compare", *names, "--home", home, "--items", "3"]) == 0
    out = capsys.readouterr().out
    a, b = (
        load_predictions(run, open_home(home))
        for name in ("random", "tf-idf")
        for run in open_reader(open_home(home)).runs("starts", "tiny", "FINISHED")
        if (run.variant, run.seed) == (name, 0)
    )
    assert str(compare_items(a, b)) in out.replace("\n", " ")
    first = int((a.right != b.right).nonzero()[0][0])
    assert f"{first}" in out and "xxbos" in out


def test_a_report_writes_the_documents_that_all_runs_get_wrong(finished: Any, tmp_path: Path) -> None:
    module, options = finished
    target = tmp_path / "wrong.csv"
    assert main(["report", str(module), *options, "--results", str(tmp_path), "--items", str(target)]) == 0
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    home = open_home(options[-1])
    found = [load_predictions(run, home) for run in open_reader(home).runs("starts", "tiny", "FINISHED")]
    assert [int(row["document"]) for row in rows] == always_wrong(found) and rows
    assert all(row["label"] not in (row["random"], row["tf-idf"]) and row["text"] for row in rows)


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "such.csv", tmp_path):
        with pytest.raises(DataError, match="cannot be written; give a file in a folder that exists"):
            check_writable(path)
    check_writable(tmp_path / "new.csv")


def test_predictions_are_read_from_the_runs_artifact_where_its_stage_is_gone(finished: Any, tmp_path: Path) -> None:
    home = open_home(finished[1][-1])
    shutil.copytree(home.root, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "stages")
    for run in open_reader(home).runs("starts", "tiny", "FINISHED"):
        stored, kept = (load_predictions(run, each) for each in (home, open_home(str(tmp_path / "copy"))))
        assert np.array_equal(stored.labels, kept.labels) and np.array_equal(stored.predicted, kept.predicted)
        assert kept.probability == pytest.approx(stored.probability, abs=5e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": [0], "predicted": [0, 1], "probability": [0.5, 0.5]},
        {"labels": [0], "predicted": [-1], "probability": [0.5]},
        {"labels": [0], "predicted": [0.5], "probability": [0.5]},
        {"labels": [0], "predicted": [0], "probability": [1.5]},
        {"labels": [0], "predicted": [0], "probability": ["x"]},
        {"labels": 3, "predicted": [0], "probability": [0.5]},
        {"labels": [0], "predicted": [0]},
    ],
)
def test_predictions_that_are_none_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        parse_predictions(fields)


def test_predictions_that_are_gone_are_named_with_what_to_do(finished: Any, tmp_path: Path) -> None:
    home = open_home(finished[1][-1])
    run = open_reader(home).runs("starts", "tiny", "FINISHED")[0]
    shutil.copytree(home.root, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "stages" / "classifier")
    for artifact in (tmp_path / "copy" / "artifacts").glob("*/artifacts/predictions.json"):
        artifact.unlink()
    with pytest.raises(MismatchError, match=f"reproduce {run.origin} --keep-stages"):
        load_predictions(run, open_home(str(tmp_path / "copy")))
