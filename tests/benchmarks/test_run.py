"""Quick benchmarks end to end: the JSON has all its fields, and the table says what the JSON says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import KINDS, this_kind
from benchmarks.rows import IF_NAMED, Row, cells, tables, with_tables
from benchmarks.run import SUBJECTS, default_names, expected_seconds, read, run, write
from ulmfit_lab.cli import main
from ulmfit_lab.cli.bench import put_tables
from ulmfit_lab.utils.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {*Row("").as_json()}
MEASURED = ("ours", "other", "value", "low", "high", "bound")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which two subjects were measured, one after the other."""
    folder = tmp_path_factory.mktemp("results")
    for subject in ("text", "grid"):
        options: dict[str, Any] = {"fastai": None, "data": None, "home": folder / "home"}
        run([subject], quick=True, results=folder / "benchmarks", tell=lambda text: None, **options)
    return folder / "benchmarks"


def test_subjects_are_kept_beside_each_other(results: Path) -> None:
    assert list(read(results)["subjects"]) == ["text", "grid"]


def test_the_json_has_its_fields(results: Path) -> None:
    for subject in json.loads((results / "benchmarks.json").read_text())["subjects"].values():
        assert {"CPU", "cores", "threads", "torch", "commit"} <= subject["facts"].keys() and subject["load"] >= 0
        for row in subject["rows"]:
            assert row.keys() == FIELDS
            assert all(row[name] is None or isinstance(row[name], int | float) for name in MEASURED)
            assert (row["value"] is None) == row["note"].startswith("not measured: ")
            assert row["met"] in ((None,) if row["value"] is None or not row["target"] else (True, False))


def test_the_table_is_what_the_json_says(results: Path) -> None:
    known, text = read(results), (results / "table.md").read_text()
    assert text == tables(known)
    rows = [row for subject in known["subjects"].values() for row in subject["rows"]]
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    assert len(lines) == len(rows) + 2  # two tables' heads
    assert all(f"| {' | '.join(cells(row))} |" in lines for row in rows)


def test_neither_host_nor_path_is_told(results: Path) -> None:
    told = (results / "benchmarks.json").read_text() + (results / "table.md").read_text()
    assert str(results) not in told and str(Path.home()) not in told and str(ROOT) not in told


def test_a_grid_without_stages_is_not_measured(results: Path) -> None:
    rows = read(results)["subjects"]["grid"]["rows"]
    assert len(rows) == 2
    assert all(row["value"] is None and "no experiment's stages" in row["note"] for row in rows)


def test_the_command_prints_one_object_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "text", "--quick", "--json", "--home", str(tmp_path / "home")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["quick"] is True and list(found["subjects"]) == ["text"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_readme_gets_the_table_of_what_was_measured(results: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmarks -->\n<!-- end -->\nafter\n")
    put_tables(readme, results)
    assert "| Tokenizing" in readme.read_text() and readme.read_text().endswith("<!-- end -->\nafter\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md"]


def test_bad_arguments_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "trainings", "--quick", "--home", str(tmp_path)]) == 2
    assert "Did you mean 'training_small'?" in capsys.readouterr().err
    assert main(["bench", "text", "--fastai", str(tmp_path / "none"), "--home", str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["bench", "text", "--readme", str(tmp_path / "none"), "--home", str(tmp_path)]) == 2
    assert "is not a file" in capsys.readouterr().err


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "benchmarks.json").write_text('{"subjects": ')
    with pytest.raises(DataError, match="delete it"):
        read(tmp_path)


def test_a_subject_that_there_is_not_is_refused_before_any_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no benchmark"):
        run(["text", "x"], quick=True, fastai=None, data=None, home=tmp_path, results=tmp_path, tell=lambda text: None)
    assert not list(tmp_path.iterdir())


def test_time_left_is_what_was_recorded_or_else_declared() -> None:
    known = {"subjects": {"text": {"seconds": 7.5}, "loss": {}}}
    found = expected_seconds(["text", "loss"], SUBJECTS, known)
    assert found == {"text": 7.5, "loss": SUBJECTS["loss"].seconds}


def test_each_subject_is_told_with_its_number_and_keeps_its_seconds(tmp_path: Path) -> None:
    told: list[str] = []
    facts: Any = {"quick": True, "fastai": None, "data": None, "home": tmp_path / "home", "results": tmp_path / "kept"}
    run(["text", "grid", "text"], **facts, tell=told.append)
    assert [text.split(" ...")[0] for text in told[::2]] == ["1/2 text", "2/2 grid"]
    assert all(subject["seconds"] >= 0 for subject in read(tmp_path / "kept")["subjects"].values())


def test_a_full_run_takes_twenty_minutes_by_what_is_declared() -> None:
    names = default_names(quick=False, device=None)
    assert set(names) == set(SUBJECTS) - set(IF_NAMED)
    assert sum(expected_seconds(names, SUBJECTS, {"subjects": {}}).values()) <= 1200


def test_another_processors_measurements_are_not_mixed_with_these(results: Path, tmp_path: Path) -> None:
    known = read(results)
    facts: Any = {"quick": True, "fastai": None, "data": None, "home": tmp_path, "results": tmp_path / "kept"}
    other = next(kind for kind in KINDS if kind != this_kind())
    write({**known, "kind": other}, {}, tmp_path / "kept")
    before = (tmp_path / "kept" / "benchmarks.json").read_bytes()
    with pytest.raises(ConfigError, match="holds measurements of"):
        run(["grid"], **facts, tell=lambda text: None)
    assert (tmp_path / "kept" / "benchmarks.json").read_bytes() == before


def test_the_committed_tables_are_the_committed_json_and_the_pages() -> None:
    root = ROOT / "results" / "benchmarks"
    folders = [root / kind for kind in KINDS if (root / kind).exists()]
    page = (ROOT / "docs/performance.md").read_text()
    for folder in folders:
        known = read(folder)
        assert known["kind"] == folder.name and (folder / "table.md").read_text() == tables(known)
    assert folders and "<!-- benchmarks -->" in page
    assert page == with_tables(page, [(folder / "table.md").read_text() for folder in folders])
