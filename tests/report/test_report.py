"""The files of a report: the same bytes from the same runs, and nothing from a grid with holes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.report.write import declared, read_runs, sweep_metrics, write_report
from ulmfit_lab.utils.errors import IncompleteError

FILES = ["runs.csv", "table.md", "figure.svg", "figure.png", "figure.json"]
TUNING = pd.DataFrame({"variant": ["random"], "classifier.lr": [0.01], "valid_error": [0.3], "seeds": [2]})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_files(runs: pd.DataFrame, spec: ReportSpec, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "vectors"
    assert write_report(runs, spec, folder) == [folder / name for name in FILES]
    assert sorted(contents(folder)) == sorted(FILES)


@pytest.mark.parametrize("levels", [("100", "1000"), ("",)])
def test_twice_gives_the_same_bytes(
    runs_of: Callable[[ReportSpec], pd.DataFrame],
    spec_with: Callable[..., ReportSpec],
    tmp_path: Path,
    levels: tuple[str, ...],
) -> None:
    spec = spec_with(levels=levels)
    runs = runs_of(spec)
    write_report(runs, spec, tmp_path / "one", TUNING)
    write_report(runs.sample(frac=1, random_state=0), spec, tmp_path / "two", TUNING)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_associations_give_the_same_bytes_twice_and_from_runs_csv(
    associated: tuple[pd.DataFrame, ReportSpec], tmp_path: Path
) -> None:
    runs, spec = associated
    write_report(runs, spec, tmp_path / "one")
    write_report(runs.sample(frac=1, random_state=0), spec, tmp_path / "two")
    write_report(read_runs(tmp_path / "one" / "runs.csv"), spec, tmp_path / "clone")
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "clone")


def test_a_report_without_associations_does_not_know_of_any(spec: ReportSpec) -> None:
    assert "associations" not in declared(spec)


def test_a_declared_association_is_part_of_the_declaration(associated: tuple[pd.DataFrame, ReportSpec]) -> None:
    assert declared(associated[1])["associations"]["y"] == "final/error"


def test_runs_csv_gives_the_same_bytes(runs: pd.DataFrame, spec: ReportSpec, tmp_path: Path) -> None:
    runs["final/error"] += 1e-17 + 1 / 7  # digits that a careless reader of numbers loses
    write_report(runs, spec, tmp_path / "tracked")
    write_report(read_runs(tmp_path / "tracked" / "runs.csv"), spec, tmp_path / "clone")
    assert contents(tmp_path / "tracked") == contents(tmp_path / "clone")


def test_a_number_that_changes_changes_the_report(runs: pd.DataFrame, spec: ReportSpec, tmp_path: Path) -> None:
    write_report(runs, spec, tmp_path / "one")
    runs.loc[0, "final/error"] += 0.1
    write_report(runs, spec, tmp_path / "two")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert all(one[name] != two[name] for name in FILES)


def test_holes_write_nothing(runs: pd.DataFrame, spec: ReportSpec, tmp_path: Path) -> None:
    write_report(runs, spec, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(IncompleteError, match="tf-idf @ 1000, seed 5"):
        write_report(runs.iloc[:-1], spec, tmp_path)
    assert contents(tmp_path) == before


def test_the_sidecar_says_what_the_figure_was_made_from(runs: pd.DataFrame, spec: ReportSpec, tmp_path: Path) -> None:
    write_report(runs, spec, tmp_path)
    facts = json.loads((tmp_path / "figure.json").read_text())
    assert facts["runs_sha256"] == hashlib.sha256((tmp_path / "runs.csv").read_bytes()).hexdigest()
    assert facts["runs"] == list(runs["run_id"])
    assert facts["commits"] == ["c0ffee" * 6]


def test_the_declaration_is_part_of_the_sidecar(
    runs: pd.DataFrame, spec: ReportSpec, spec_with: Callable[..., ReportSpec], tmp_path: Path
) -> None:
    write_report(runs, spec, tmp_path / "one")
    write_report(runs, spec_with(notes=()), tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "figure.json").read_text()) for name in ("one", "two"))
    assert one["declaration"] != two["declaration"] and one["runs_sha256"] == two["runs_sha256"]


def test_files_hold_no_date_and_no_version(runs: pd.DataFrame, spec: ReportSpec, tmp_path: Path) -> None:
    write_report(runs, spec, tmp_path)
    assert b"dc:date" not in (tmp_path / "figure.svg").read_bytes()
    assert b"Software" not in (tmp_path / "figure.png").read_bytes()


def test_metrics_of_the_sweep(runs: pd.DataFrame, spec: ReportSpec, spec_with: Callable[..., ReportSpec]) -> None:
    found = sweep_metrics(runs, spec)
    cells = runs[(runs["variant"] == "random") & (runs["level"] == "100")]["final/error"]
    assert found["mean/random at 100"] == pytest.approx(100 * cells.mean())
    assert found["sd/random at 100"] == pytest.approx(100 * cells.std())
    assert found["n/random at 100"] == 6
    assert "sd/random at 100" not in sweep_metrics(runs, spec_with(seeds=(0,)))
