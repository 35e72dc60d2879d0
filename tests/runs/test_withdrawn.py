"""Results that no longer count stay readable, with a reason, and are part of no report until new runs exist."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Experiment, load_experiment
from ulmfit_lab.report.ledger_files import check_results, entries, write_all
from ulmfit_lab.report.publish import publish
from ulmfit_lab.report.withdrawn import check_withdrawn, withdrawal_of, withdrawals
from ulmfit_lab.runs.reproduce import committed_runs
from ulmfit_lab.utils.errors import DataError, IncompleteError

RESULTS = Path(__file__).resolve().parents[2] / "results"
NAME, REASON = "precision", "nobody listened"
TABLE = f'[{NAME}]\ndate = 2026-11-26\nreason = "{REASON}"\n'


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One committed result, withdrawn."""
    shutil.copytree(RESULTS / NAME, tmp_path / "withdrawn" / NAME)
    (tmp_path / "withdrawn" / "reasons.toml").write_text(TABLE)
    return tmp_path


def ledger_row(root: Path, part: int = 0) -> list[str]:
    """Cells of the experiment's row in the table of claims (0) or of withdrawn results (1)."""
    text = re.split("## Decisions at twice the width|## Withdrawn results", (root / "README.md").read_text())[2 * part]
    (row,) = [line for line in text.splitlines() if f"`{NAME}`" in line]
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def test_the_ledger_gives_date_and_reason_and_claims_nothing(results: Path) -> None:
    write_all(results)
    assert check_results(results) == []
    _, _, _, verdict, *_ = ledger_row(results)
    assert "better" not in verdict and "worse" not in verdict
    experiment, day, reason = ledger_row(results, 1)
    assert (day, reason.rstrip(" |")) == ("2026-11-26", REASON)
    assert f"(withdrawn/{NAME}/table.md)" in experiment
    assert not (results / "ledger.svg").exists()
    assert json.loads((results / "ledger.json").read_text())["runs_sha256"] == {}


def test_new_runs_take_the_place_of_what_was_withdrawn(results: Path) -> None:
    shutil.copytree(RESULTS / NAME, results / NAME)
    write_all(results)
    assert check_results(results) == []
    assert "bfloat16 - float32: **no difference shown; equivalent within 0.5**" in ledger_row(results)[3]
    assert withdrawal_of(results / NAME) is None
    assert [row.link for row in entries(results) if row.name == NAME and row.result] == [NAME]


def test_every_folder_has_a_reason_and_every_reason_a_folder(results: Path) -> None:
    assert check_withdrawn(results) == []
    (results / "withdrawn" / NAME).rename(results / "withdrawn" / "renamed")
    found = {problem.path.name: problem.reason for problem in check_results(results)}
    assert "restore it" in found[NAME] and "add one to reasons.toml" in found["renamed"]
    assert check_withdrawn(RESULTS) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[a",
        b"a = 1",
        b"[a]\ndate = 2026-11-26\n",
        b"[a]\ndate = 2026-11-26\nreason = ''\n",
        b"[a]\ndate = 'today'\nreason = 'b'\n",
        b"[a]\ndate = 2026-11-26\nreason = 'b'\nmore = 1\n",
        b'[a]\ndate = 2026-11-26\nreason = "b\\nc"\n',
        b"a = " + b"[" * 10_000,
    ],
)
def test_reasons_that_are_none_are_refused_in_a_line_that_names_the_file(results: Path, content: bytes) -> None:
    path = results / "withdrawn" / "reasons.toml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)) as told:
        withdrawals(results)
    assert len(str(told.value).splitlines()) == 1


def test_a_report_without_new_runs_says_that_it_was_withdrawn_why_and_what_to_run(lab: Any, results: Path) -> None:
    with pytest.raises(IncompleteError) as told:
        publish(load_experiment(NAME), "small", None, lab.home, None, lab.tracker, results / NAME)
    assert f"withdrawn 2026-11-26: {REASON}" in str(told.value) and len(str(told.value).splitlines()) == 1
    assert str(told.value).endswith(f"make new runs: ulmfit-lab sweep {NAME} --scale small")
    assert not (results / NAME).exists()


def test_tracked_runs_of_an_earlier_declaration_alone_are_no_new_runs(
    lab: Any, experiment: Experiment, tmp_path: Path
) -> None:
    assert not lab.sweep(replace(experiment, seeds=(7,))).failures
    (tmp_path / "withdrawn").mkdir()
    (tmp_path / "withdrawn" / "reasons.toml").write_text(TABLE.replace(NAME, experiment.name))
    folder = tmp_path / experiment.name
    with pytest.raises(IncompleteError, match=f"withdrawn 2026-11-26: {REASON}"):
        publish(experiment, "tiny", None, lab.home, None, lab.tracker, folder)
    assert not folder.exists()


def test_checking_one_that_was_withdrawn_says_so(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--check", NAME, "--results", str(results)]) == 0
    assert f"{NAME}: withdrawn 2026-11-26: {REASON}" in capsys.readouterr().out


def test_withdrawn_runs_can_still_be_named(results: Path) -> None:
    assert len(committed_runs("", results)) == 24
