"""Scripts beside experiments are not run, a module that fails is told of, and no two experiments have one name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import experiment_files, load_experiment
from ulmfit_lab.experiment.stored_modules import StoredDeclaration, declared_in
from ulmfit_lab.experiment.template import new_experiment
from ulmfit_lab.utils.errors import ConfigError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """./experiments with an experiment called mine."""
    monkeypatch.chdir(tmp_path)
    new_experiment("mine", tmp_path / "experiments")
    return tmp_path / "experiments"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('EXPERIMENT = Experiment(question="?", name="a")', StoredDeclaration(True, "a")),
        ('NAME = "b"\nEXPERIMENT: Experiment = replace(OTHER, name=NAME)', StoredDeclaration(True, "b")),
        ('if True:\n    EXPERIMENT = make("c")', StoredDeclaration(True)),
        ("from other import EXPERIMENT", StoredDeclaration(True)),
        ("from other import MINE as EXPERIMENT", StoredDeclaration(True)),
        ("print(EXPERIMENT)", StoredDeclaration(False)),
        ("# EXPERIMENT\nraise SystemExit(0)", StoredDeclaration(False)),
        ('name = "d"', StoredDeclaration(False)),
        ("EXPERIMENT = (", StoredDeclaration(True)),
        ("EXPERIMENT\0", StoredDeclaration(True)),
        ('X = "\\d"\nEXPERIMENT = Experiment(name=f"e{X}")', StoredDeclaration(True)),
    ],
)
def test_what_a_file_declares_is_read_from_its_source(tmp_path: Path, source: str, expected: StoredDeclaration) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert declared_in(path) == expected
    assert declared_in(tmp_path / "none.py") == StoredDeclaration(False)


def test_scripts_are_not_run_and_a_module_that_fails_is_told_of(folder: Path, capsys: Capture) -> None:
    (folder / "script.py").write_text("from pathlib import Path\nPath('ran').touch()\nraise SystemExit('done')\n")
    (folder / "leaves.py").write_text("import sys\nsys.exit(3)\nEXPERIMENT = None\n")
    (folder / "odd.py").write_text("EXPERIMENT = (\n")
    assert "script" not in experiment_files()
    assert main(["list"]) == 1
    out, err = capsys.readouterr()
    listed = [line.split()[0] for line in out.splitlines()]
    assert {"mine", "bptt"} <= set(listed) and not {"script", "leaves", "odd"} & set(listed)
    told = sorted(err.splitlines())
    assert len(told) == 2 and told[0].startswith("FAILED leaves: ") and told[0].endswith("SystemExit: 3")
    assert told[1].startswith("FAILED odd: ") and "SyntaxError" in told[1]
    assert not Path("ran").exists()


def test_a_report_of_all_goes_on_where_a_module_fails(folder: Path, capsys: Capture) -> None:
    (folder / "leaves.py").write_text("import sys\nsys.exit(3)\nEXPERIMENT = None\n")
    (folder / "script.py").write_text("raise SystemExit('done')\n")
    assert main(["report"]) == 1
    out, err = capsys.readouterr()
    assert "results/README.md" in out and err.startswith("FAILED leaves: ") and len(err.splitlines()) == 1
    ledger = Path("results/README.md").read_text(encoding="utf-8")
    assert "`bptt`" in ledger and "`mine`" not in ledger, "a question without a claim has no row before it is run"


def copy_of_mine(folder: Path, name: str) -> Path:
    (folder / name).write_text((folder / "mine.py").read_text().replace("(100, 500)", "(100, 600)"))
    return folder / name


@pytest.mark.parametrize("where", [lambda folder: folder, lambda folder: folder.parent])
def test_a_copy_that_kept_its_name_is_refused_with_both_files(
    folder: Path, where: Callable[[Path], Path], capsys: Capture
) -> None:
    copy = where(folder) / "copied.py"
    copy_of_mine(folder, "copied.py").rename(copy)
    for name in (str(copy), *(["mine", "copied"] if copy.parent == folder else [])):
        with pytest.raises(ConfigError, match=r"both declare an experiment named 'mine'") as refused:
            load_experiment(name)
        assert "mine.py" in str(refused.value) and "copied.py" in str(refused.value)
    assert main(["sweep", str(copy), "--scale", "tiny"]) == 2
    assert "both declare" in capsys.readouterr().err


def test_the_name_of_a_built_in_experiment_is_taken_but_a_checkout_has_the_same_ones(folder: Path) -> None:
    house = Path(load_experiment.__code__.co_filename).resolve().parents[2] / "experiments" / "bptt.py"
    (folder / "bptt.py").write_bytes(house.read_bytes())
    assert load_experiment("bptt").name == "bptt"
    (folder / "bptt.py").write_bytes(house.read_bytes() + b"\n# edited\n")
    with pytest.raises(ConfigError, match="both declare an experiment named 'bptt'"):
        load_experiment("bptt")
    (folder / "bptt.py").rename(folder / "mine_too.py")
    with pytest.raises(ConfigError, match="both declare an experiment named 'bptt'"):
        load_experiment("mine_too")
