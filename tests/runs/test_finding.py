"""A name means one run: where several have it, each is told with what sets it apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.runs.compare import seeds_of
from ulmfit_lab.runs.lookup import find_named_run
from ulmfit_lab.training.metrics import find_metric
from ulmfit_lab.utils.errors import LabError

NAME = "starts/tf-idf/0"


@pytest.fixture(scope="module")
def quick(experiment: Experiment) -> Experiment:
    """Runs of a second."""
    variants = {"tf-idf": {"classifier.model": "tf-idf"}}
    return replace(experiment, baseline="tf-idf", variants=variants, seeds=(0,))


@pytest.fixture(scope="module")
def swept(
    new_lab: Callable[[str], Any],
    quick: Experiment,
    sentences: Any,
    write_csv: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """One cell, on two files, the second of which was then written anew, and with another config."""
    lab, path = new_lab("named"), tmp_path_factory.mktemp("other") / "other.csv"
    for overrides, rows in (
        ({}, sentences),
        ({"target.path": str(path)}, sentences[:250]),
        ({"target.path": str(path)}, sentences[:280]),
        ({"target.n_labels": 50}, sentences),
    ):
        write_csv(path, rows)
        lab.sweep(quick, overrides=overrides)
    return lab


def test_a_name_of_several_runs_is_refused_with_what_tells_them_apart(swept: Any, tmp_path: Path) -> None:
    runs = swept.tracker.runs("starts", "tiny", "FINISHED")
    assert len({run.fingerprint for run in runs}) == 4
    with pytest.raises(LabError) as refused:
        find_named_run(NAME, swept.tracker, tmp_path)
    told = re.search(r"4 different runs match starts/tf-idf/0: (.*); give the id of one", str(refused.value))
    assert told
    for run, words in zip(runs, told[1].split("; "), strict=True):
        facts = (run.data, run.params["target.n_labels"], run.params["target.path"])
        assert words == f"{run.run_id[:12]} (data {facts[0]}, target.n_labels {facts[1]}, target.path {facts[2]})"
        assert find_named_run(run.run_id[:12], swept.tracker, tmp_path) == run
    assert len({run.data for run in runs}) == 3 and runs[2].data.startswith("other.csv ")


@pytest.mark.parametrize("command", ["predict", "compare", "register", "generate", "export-fastai", "neighbours"])
def test_every_command_that_takes_a_run_refuses_such_a_name(
    swept: Any, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"compare": [NAME, NAME], "neighbours": ["film"], "export-fastai": ["--to", "model.pth"]}.get(command, [])
    run = [] if command == "compare" else ["--run", NAME]
    texts = ["A text."] if command == "predict" else []
    assert main([command, *more, *run, *texts, "--home", str(swept.home.root)]) == 2
    assert "4 different runs match" in capsys.readouterr().err


def test_seeds_of_other_data_are_not_compared_with(swept: Any, quick: Experiment) -> None:
    """The file was written anew between them: their params are the same."""
    first, second = swept.tracker.runs("starts", "tiny", "FINISHED")[1:3]
    assert first.params == second.params and first.data != second.data
    for run in (first, second):
        found = seeds_of(run, find_metric("final/error"), None, swept.tracker)
        assert found == {0: run}


def test_runs_shows_the_data_of_each(
    swept: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick: Experiment
) -> None:
    from ulmfit_lab.cli.runs import list_runs

    list_runs(quick, "tiny", swept.tracker)
    lines = capsys.readouterr().out.splitlines()
    runs = swept.tracker.runs("starts", "tiny")
    assert [line.split("  ")[0] for line in lines[:-1]] == [run.run_id for run in runs]
    assert all(line.endswith(run.data) for line, run in zip(lines, runs, strict=False))
