"""Runs go from one machine's store to another's whole, once, and count there as if they had been made there."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.report.publish import publish
from ulmfit_lab.runs.transfer import ImportResult, export_runs, from_fields, import_runs, read_export, to_fields
from ulmfit_lab.tracking.predictions import find_predictions
from ulmfit_lab.utils.errors import DataError, MismatchError

VARIANTS = {"random": {"classifier.init": "random"}, "tf-idf": {"classifier.model": "tf-idf"}}


@pytest.fixture(scope="module")
def quick(experiment: Experiment) -> Experiment:
    """Two runs of a second."""
    return replace(experiment, variants=VARIANTS, seeds=(0,))


@pytest.fixture(scope="module")
def made(new_lab: Callable[[str], Any], quick: Experiment) -> Any:
    """The machine that made the runs."""
    lab = new_lab("made")
    lab.sweep(quick)
    return lab


@pytest.fixture(scope="module")
def exported(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that they travel in."""
    path = tmp_path_factory.mktemp("travel") / "runs.jsonl.gz"
    assert export_runs("starts", "tiny", made.tracker, path, made.home) == 2
    return path


def take_in(lab: Any, experiment: Experiment, path: Path) -> ImportResult:
    return import_runs(experiment, "tiny", None, lab.home, None, lab.tracker, path)


def known_of(lab: Any) -> dict[str, Any]:
    """Origin -> all that is known of a run, ids and parent aside."""
    found = {}
    for run in lab.tracker.runs("starts", "tiny"):
        tags = {k: v for k, v in run.tags.items() if k not in ("lab.imported", "mlflow.parentRunId")}
        facts = {**vars(run), "run_id": "", "parent": "", "tags": tags}
        predictions = find_predictions(run, lab.home)
        assert predictions is not None
        found[run.origin] = facts, lab.tracker.histories(run), predictions.to_fields()
    return found


ALL_KNOWN = ImportResult(added=0, known=2, repeated=0, declared=2, undeclared=0)
ALL_NEW = ImportResult(added=2, known=0, repeated=0, declared=2, undeclared=0)


def test_a_sweep_begun_on_one_machine_goes_on_from_another(
    made: Any, exported: Path, lab: Any, quick: Experiment
) -> None:
    both = replace(quick, seeds=(0, 1))
    assert take_in(lab, both, exported) == ALL_NEW
    assert known_of(lab) == known_of(made)
    assert any(len(points) > 1 for _, curves, _ in known_of(lab).values() for points in curves.values())
    (parent,) = {run.parent for run in lab.tracker.runs("starts", "tiny")}
    assert lab.tracker.client.get_run(parent).info.status == "KILLED"  # two of its runs are missing
    outcome = lab.sweep(both)
    assert (outcome.finished, outcome.parent) == (2, parent)
    runs = lab.tracker.runs("starts", "tiny")
    assert [run.status for run in runs] == ["FINISHED"] * 4 and {run.parent for run in runs} == {parent}
    assert sum("lab.imported" in run.tags for run in runs) == 2
    assert lab.tracker.client.get_run(parent).info.status == "FINISHED"


def test_importing_twice_makes_no_second_run_nor_does_importing_at_home_or_by_a_detour(
    made: Any, exported: Path, new_lab: Callable[[str], Any], quick: Experiment, tmp_path: Path
) -> None:
    two, three = new_lab("two"), new_lab("three")
    assert take_in(made, quick, exported) == ALL_KNOWN
    assert [take_in(two, quick, exported) for _ in range(2)] == [ALL_NEW, ALL_KNOWN]
    export_runs("starts", "tiny", two.tracker, tmp_path / "detour.jsonl", two.home)
    assert [take_in(three, quick, path) for path in (tmp_path / "detour.jsonl", exported)] == [ALL_NEW, ALL_KNOWN]
    assert len(three.tracker.runs("starts", "tiny")) == 2


def test_a_cell_that_was_made_on_both_machines_is_kept_as_it_was_made_here(
    exported: Path, lab: Any, quick: Experiment
) -> None:
    lab.sweep(quick)
    assert take_in(lab, quick, exported) == ImportResult(added=0, known=0, repeated=2, declared=2, undeclared=0)
    assert len(lab.tracker.runs("starts", "tiny")) == 2


def test_runs_of_another_config_are_told_apart_and_do_not_count(exported: Path, lab: Any, quick: Experiment) -> None:
    variants = {**VARIANTS, "random": {"classifier.init": "random", "classifier.epochs": 1}}
    other = replace(quick, variants=variants)
    assert take_in(lab, other, exported) == ImportResult(added=2, known=0, repeated=0, declared=1, undeclared=1)
    assert lab.sweep(other).finished == 1
    assert len({run.parent for run in lab.tracker.runs("starts", "tiny")}) == 2


def test_a_report_of_imported_runs_is_the_same_bytes_also_from_runs_csv(
    made: Any, exported: Path, new_lab: Callable[[str], Any], quick: Experiment, tmp_path: Path
) -> None:
    def report(lab: Any, name: str) -> Path:
        publish(quick, "tiny", None, lab.home, None, lab.tracker, tmp_path / name)
        return tmp_path / name

    first, two, three = report(made, "made"), new_lab("two"), new_lab("three")
    take_in(two, quick, exported)
    assert [take_in(three, quick, first / "runs.csv") for _ in range(2)] == [ALL_NEW, ALL_KNOWN]
    for folder in (report(two, "from export"), report(three, "from csv")):
        for name in ("runs.csv", "table.md", "figure.json"):
            assert (folder / name).read_bytes() == (first / name).read_bytes()
    read = {name: digest for run in made.tracker.runs("starts", "tiny") for name, digest, _, _ in run.inputs}
    assert json.loads((first / "figure.json").read_text())["data"] == {name: [digest] for name, digest in read.items()}
    assert read and all(len(digest) == 16 for digest in read.values())


def test_the_same_runs_give_the_same_bytes(made: Any, exported: Path, tmp_path: Path) -> None:
    export_runs("starts", "tiny", made.tracker, tmp_path / "again.gz", made.home)
    assert (tmp_path / "again.gz").read_bytes() == exported.read_bytes()
    export_runs("starts", "tiny", made.tracker, tmp_path / "plain.jsonl", made.home)
    assert (tmp_path / "plain.jsonl").read_bytes() == gzip.decompress(exported.read_bytes())


LINE: dict[str, Any] = {
    "run_id": "a1", "status": "FINISHED", "name": "random, seed 0", "experiment": "starts", "scale": "tiny",
    "variant": "random", "level": "", "seed": 0, "cell": "c1", "declaration": "d1", "params": {"seed": "0"},
    "metrics": {"final/loss": "nan", "final/error": 0.5}, "tags": {"lab.commit": "e1"},
    "inputs": [["trec train", "f1", "", "training"]], "start": 1, "end": 2,
    "histories": {"classifier/loss": [[1, 0.5, 7], [2, "inf", 8]]},
}  # fmt: skip
HEADER = {"format": "ulmfit-lab runs", "version": 1, "experiment": "starts", "scale": "tiny", "runs": 1}


def test_a_line_holds_a_run_whole_with_numbers_that_are_not_finite() -> None:
    traveller = from_fields(LINE)
    assert math.isnan(traveller.run.metrics["final/loss"])
    assert traveller.histories["classifier/loss"][1] == (2, math.inf, 8)
    again = to_fields(traveller)
    made = ("experiment", "scale", "variant", "level", "seed", "lab.cell")
    assert {k: v for k, v in again.pop("tags").items() if k not in made} == LINE["tags"]
    assert json.loads(json.dumps(again)) == {k: v for k, v in LINE.items() if k != "tags"}


def lines(*found: Any) -> bytes:
    return "".join(f"{json.dumps(line)}\n" for line in found).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an export of runs"),
        (b"\x89PNG\r\n\x1a\n", "not an export of runs"),
        (b"text,label\n", "not an export of runs"),
        (b"[1, 2]\n", "not an export of runs"),
        (lines({"format": "something else", "version": 1}), "its format is 'something else'"),
        (lines({**HEADER, "version": 2}, LINE), "version 2"),
        (lines(HEADER), "should hold 1 runs and holds 0"),
        (lines(HEADER, {k: v for k, v in LINE.items() if k != "cell"}), "has no 'cell'"),
        (lines(HEADER, {**LINE, "seed": "0"}), "seed of a run is not of type int"),
        (lines(HEADER, {**LINE, "status": "RUNNING"}), "is RUNNING"),
        (lines(HEADER, {**LINE, "declaration": "' or 1 = 1"}), "declaration of a run"),
        (lines(HEADER, {**LINE, "metrics": {"final/loss": [1]}}), "not an export of runs"),
        (gzip.compress(lines(HEADER, LINE), mtime=0)[:-9], "not an export of runs"),
    ],
)
def test_a_file_that_is_no_export_is_one_clear_error(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "runs.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_export(tmp_path / "runs.jsonl")


def test_nothing_is_imported_from_a_file_of_which_one_line_is_bad(lab: Any, quick: Experiment, tmp_path: Path) -> None:
    bad = {**LINE, "run_id": "b2", "status": "FAILED"}
    (tmp_path / "runs.jsonl").write_bytes(lines({**HEADER, "runs": 2}, LINE, bad))
    with pytest.raises(DataError, match="is FAILED"):
        take_in(lab, quick, tmp_path / "runs.jsonl")
    assert lab.tracker.runs(quick.name, "tiny") == []


def test_runs_of_another_experiment_are_refused_with_the_command_that_takes_them(
    lab: Any, quick: Experiment, tmp_path: Path
) -> None:
    (tmp_path / "runs.jsonl").write_bytes(lines(HEADER, {**LINE, "scale": "demo"}))
    with pytest.raises(MismatchError, match="runs starts --scale demo --import"):
        take_in(lab, quick, tmp_path / "runs.jsonl")


def test_what_mlflow_refuses_is_one_clear_error_and_no_finished_run(
    lab: Any, quick: Experiment, tmp_path: Path
) -> None:
    (tmp_path / "runs.jsonl").write_bytes(lines(HEADER, {**LINE, "metrics": {"not/a//name": 0.5}}))
    with pytest.raises(Exception, match="Run a1 cannot be imported"):
        take_in(lab, quick, tmp_path / "runs.jsonl")
    assert [run.status for run in lab.tracker.runs(quick.name, "tiny")] == ["KILLED"]


def test_nothing_to_export_and_a_file_that_cannot_be_written_are_clear_errors(
    lab: Any, quick: Experiment, tmp_path: Path
) -> None:
    place = tmp_path / "no folder" / "runs.jsonl"
    with pytest.raises(DataError, match=f"{quick.name} has no finished runs at scale tiny to export; make them"):
        export_runs(quick.name, "tiny", lab.tracker, place, lab.home)
    (tmp_path / "runs.jsonl").write_bytes(lines(HEADER | {"experiment": quick.name}, LINE | {"experiment": quick.name}))
    take_in(lab, quick, tmp_path / "runs.jsonl")
    with pytest.raises(DataError, match="cannot be written"):
        export_runs(quick.name, "tiny", lab.tracker, place, lab.home)
