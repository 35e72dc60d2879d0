"""A committed file that is stale, edited by hand or lost is found and named, without a store and without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ulmfit_lab.analysis.run_table import read_runs
from ulmfit_lab.experiment.declaration import load_experiment
from ulmfit_lab.report.committed import Committed, check_folder, read_sidecar
from ulmfit_lab.report.folders import folder_of
from ulmfit_lab.report.ledger_files import check_results

RESULTS = Path(__file__).resolve().parents[2] / "results"
NAME = "precision"
pytestmark = pytest.mark.skipif(not (RESULTS / NAME / "runs.csv").is_file(), reason=f"{NAME} has no results yet")


@pytest.fixture
def committed(tmp_path: Path) -> Committed:
    """A copy of the committed results."""
    shutil.copytree(RESULTS / NAME, tmp_path / NAME)
    return Committed(load_experiment(NAME), "small", tmp_path / NAME)


def problems(committed: Committed) -> dict[str, str]:
    """File -> reason."""
    return {problem.path.name: problem.reason for problem in check_folder(committed)}


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def test_what_was_written_is_sound(committed: Committed) -> None:
    assert problems(committed) == {}


@pytest.mark.parametrize(("name", "old", "new"), [("table.md", b"no ", b"some "), ("figure.svg", b"<svg ", b"<svg  ")])
def test_an_edit_by_hand_is_told(committed: Committed, name: str, old: bytes, new: bytes) -> None:
    edit(committed.folder / name, lambda content: content.replace(old, new, 1))
    assert problems(committed) == {name: f"edited by hand; regenerate it: ulmfit-lab report {NAME}"}


def test_another_picture_is_told(committed: Committed) -> None:
    edit(committed.folder / "figure.png", lambda content: content + b"\0")
    assert problems(committed)["figure.png"].startswith("does not match its sha256 in the sidecar")


def test_a_number_changed_in_the_runs_is_told_of_the_runs_and_of_all_made_from_them(committed: Committed) -> None:
    told = str(read_runs(committed.folder / "runs.csv")["final/perplexity"].iloc[0]).encode()
    edit(committed.folder / "runs.csv", lambda content: content.replace(told, b"0.133999991416931", 1))
    found = problems(committed)
    assert found["runs.csv"].startswith("does not match its sha256 in the sidecar")
    assert all(found[name].startswith("stale: ") for name in ("table.md", "figure.svg"))


def test_another_declaration_makes_reports_stale(committed: Committed) -> None:
    other = replace(
        committed,
        experiment=replace(committed.experiment, report=replace(committed.experiment.report, notes=("Another note.",))),
    )
    found = problems(other)
    assert sorted(found) == ["figure.json", "table.md"]
    assert all("stale" in reason for reason in found.values())


def test_lost_files_are_told(committed: Committed) -> None:
    lost = ("table.md", "figure.svg", "figure.png", "figure.json")
    for name in lost:
        (committed.folder / name).unlink()
    found = problems(committed)
    assert set(found) == set(lost) and all(reason.startswith("missing") for reason in found.values())


def test_a_sidecar_that_is_none_is_read_as_none(tmp_path: Path) -> None:
    for content in ("not JSON", "[]", '{"files": 1}'):
        (tmp_path / "figure.json").write_text(content)
        assert read_sidecar(tmp_path / "figure.json") == {}
    assert read_sidecar(tmp_path / "none.json") == {}


def test_an_edited_sidecar_is_told(committed: Committed) -> None:
    edit(committed.folder / "figure.json", lambda content: content.replace(b'"dirty_runs": 0', b'"dirty_runs": 7'))
    assert list(problems(committed)) == ["figure.json"]


def test_a_hole_in_the_runs_is_told(committed: Committed) -> None:
    edit(committed.folder / "runs.csv", lambda content: b"\n".join(content.split(b"\n")[:-2]) + b"\n")
    assert "1 of 24 runs are missing" in problems(committed)["runs.csv"]


def test_results_of_no_experiment_are_told(committed: Committed, tmp_path: Path) -> None:
    committed.folder.rename(tmp_path / "no_such_experiment")
    assert [problem.path.name for problem in check_results(tmp_path)] == ["no_such_experiment"]


def test_small_results_lie_at_the_top_and_others_in_a_folder_of_their_scale(tmp_path: Path) -> None:
    assert folder_of(tmp_path, "a", "small") == tmp_path / "a"
    assert folder_of(tmp_path, "a", "paper") == tmp_path / "paper" / "a"


def test_the_sidecar_names_every_file_and_the_data(committed: Committed) -> None:
    told = json.loads((committed.folder / "figure.json").read_text())
    assert sorted(told["files"]) == ["figure.png", "figure.svg", "table.md"]
    assert isinstance(told["data"], dict)


CODE = """
import sys
from ulmfit_lab.cli import main
status = main(sys.argv[1:])
assert not {"torch", "mlflow", "optuna"} & set(sys.modules)
sys.exit(status)
"""


def test_the_command_needs_no_store_and_no_torch_and_says_what_failed(committed: Committed, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, "report", "--check", NAME, "--results", str(tmp_path)]
    (committed.folder / "table.md").unlink()
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"FAILED {committed.folder / 'table.md'}: missing")
    assert not list(tmp_path.glob(".ulmfit_lab"))
