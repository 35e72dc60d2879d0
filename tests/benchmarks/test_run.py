"""Quick benchmarks end to end: the JSON has all its fields, and the table says what the JSON says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rows import Row, cells, tables, with_table
from benchmarks.run import read, run
from ulmfit_lab.cli import main
from ulmfit_lab.cli.bench import put_table
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
    put_table(readme, results)
    assert "| Tokenizing" in readme.read_text() and readme.read_text().endswith("<!-- end -->\nafter\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md"]


def test_bad_arguments_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "trainings", "--quick", "--home", str(tmp_path)]) == 2
    assert "Did you mean 'training'?" in capsys.readouterr().err
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


def test_the_committed_table_is_the_committed_json_and_the_readmes() -> None:
    folder = ROOT / "results" / "benchmarks"
    if not folder.exists():
        pytest.skip("no benchmarks are committed")
    table, readme = (folder / "table.md").read_text(), (ROOT / "docs/performance.md").read_text()
    assert table == tables(read(folder))
    assert "<!-- benchmarks -->" in readme
    assert readme == with_table(readme, table)
