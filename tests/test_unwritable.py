"""A home that is not writable can be read; commands that write end with an error of one line.

Root ignores file permissions; if the tests run as root, the commands run without that capability.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import create_engine, make_url

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.utils.home import open_home, sqlite_uri
from ulmfit_lab.utils.locks import hold_lock, is_locked

ROOT = Path(__file__).resolve().parents[1]
RIGHTS = "--bounding-set=-dac_override,-dac_read_search"
SOURCE = "from ulmfit_lab.experiment.declaration import Experiment\n\nEXPERIMENT = Experiment(**{fields!r})\n"
ALL = """
import json, sys
from ulmfit_lab.cli import main

for command in json.loads(sys.argv[1]):
    for stream in (sys.stdout, sys.stderr):
        print(f"COMMAND {' '.join(command[:1])}", file=stream, flush=True)
    print(main(command), flush=True)
"""


def without_rights() -> list[str]:
    """Return a command prefix that makes root respect file permissions."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores file permissions, and setpriv is not installed")
    return ["setpriv", RIGHTS]


@dataclass
class Locked:
    """A folder whose home is not writable."""

    folder: Path

    def run(self, *commands: list[str]) -> dict[str, tuple[str, str, str]]:
        """Run commands in one process; returns command -> status, standard output, standard error."""
        start = [*without_rights(), sys.executable, "-c", ALL, json.dumps(commands)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "ULMFIT_LAB_HOME": str(self.folder / "home")}
        environment |= {"HOME": str(self.folder / "nobody"), "MPLCONFIGDIR": str(self.folder.parent)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        done = subprocess.run(
            start, cwd=self.folder, env=environment, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        out, err = (stream.split("COMMAND ")[1:] for stream in (done.stdout, done.stderr))
        shown = [part.partition("\n")[::2] for part in out]
        told = [part.partition("\n")[2] for part in err]
        return {
            name: (text.rstrip().rpartition("\n")[2], text, said)
            for (name, text), said in zip(shown, told, strict=True)
        }


@pytest.fixture(scope="module")
def locked(
    new_lab: Callable[[str], Any], experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Locked]:
    """A finished sweep whose home and working folder are not writable."""
    folder = tmp_path_factory.mktemp("locked")
    quick = replace(experiment, seeds=(0,), variants={"random": {"classifier.init": "random"}}, baseline="random")
    quick = replace(quick, variants=quick.variants | {"TF-IDF": {"classifier.model": "tf-idf"}})
    lab = new_lab("to-be-locked")
    lab.sweep(quick)
    shutil.copytree(lab.home.root, folder / "home")
    fields = {name: getattr(quick, name) for name in ("name", "question", "baseline", "variants", "scales", "seeds")}
    (folder / "experiments").mkdir()
    (folder / "experiments" / "starts.py").write_text(SOURCE.format(fields=fields), encoding="utf-8")
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield Locked(folder)
    for path in paths:
        path.chmod(0o755)


NAMED = ("starts", "--scale", "tiny")


def test_commands_read_a_home_that_is_not_writable(locked: Locked) -> None:
    before = {path: path.stat().st_mtime_ns for path in locked.folder.rglob("*")}
    found = locked.run(
        ["plan", *NAMED],
        ["runs", *NAMED],
        ["compare", "starts/random/0", "starts/TF-IDF/0"],
        ["predict", "--run", "starts/random/0", "A fine film."],
        ["doctor"],
    )
    assert {name: status for name, (status, _, _) in found.items()} == dict.fromkeys(found, "0"), found
    assert "2 runs, 2 of them finished" in found["plan"][1]
    assert found["runs"][1].count("FINISHED") == 2
    assert "A fine film." in found["predict"][1]
    assert "studies were not checked" in found["doctor"][1]
    assert {path: path.stat().st_mtime_ns for path in locked.folder.rglob("*")} == before


def test_commands_that_write_end_with_an_error_of_one_line(locked: Locked) -> None:
    found = locked.run(["sweep", *NAMED], ["report", *NAMED], ["doctor", "--fix"], ["new", "mine"])
    for name in ("sweep", "report", "doctor"):
        status, _, said = found[name]
        assert status == "2" and len(said.splitlines()) == 1, said
        assert str(locked.folder / "home") in said and "not writable" in said and "ULMFIT_LAB_HOME" in said
    status, _, said = found["new"]
    assert status == "2" and len(said.splitlines()) == 1 and "experiments" in said


def test_a_store_is_read_with_what_its_log_holds(tmp_path: Path, migrated: Path) -> None:
    """The latest transactions of an open database are in its log; reading must not write files next to it."""
    path = tmp_path / "what? 100%#" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(migrated, path)
    engine = create_engine(sqlite_uri(path))
    assert make_url(sqlite_uri(path)).database == str(path)
    with closing(engine.raw_connection()) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("INSERT INTO experiment_tags VALUES ('new', 'line', 0)")
        writer.commit()
        reader = create_engine(sqlite_uri(path, read_only=True))
        with closing(reader.raw_connection()) as reading:
            assert reading.execute("SELECT key FROM experiment_tags").fetchall() == [("new",)]
            with pytest.raises(Exception, match="readonly database"):
                reading.execute("DELETE FROM experiment_tags")
        reader.dispose()
    engine.dispose()
    before = sorted(path.parent.iterdir())
    reader = create_engine(sqlite_uri(path, read_only=True))
    with closing(reader.raw_connection()) as reading:
        assert reading.execute("SELECT count(*) FROM experiment_tags").fetchone() == (1,)
    reader.dispose()
    assert sorted(path.parent.iterdir()) == before


LOOK = "import sys; from pathlib import Path;"
LOOK += "from ulmfit_lab.utils.locks import is_locked; print(is_locked(Path(sys.argv[1])))"


def test_a_read_only_lock_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "cell.lock"
    with hold_lock(path):
        pass
    paths = [path, path.parent / ".looking"]
    for each in paths:
        each.chmod(0o444)
    command = [*without_rights(), sys.executable, "-c", LOOK, str(path)]
    options: dict[str, Any] = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "encoding": "utf-8", "check": True}
    assert subprocess.run(command, capture_output=True, **options).stdout == "False\n"
    for each in paths:
        each.chmod(0o644)
    with hold_lock(path):
        path.chmod(0o444)
        assert subprocess.run(command, capture_output=True, **options).stdout == "True\n"
    path.chmod(0o644)
    assert not is_locked(path)


def test_a_home_of_an_unknown_user_is_an_error() -> None:
    from ulmfit_lab.utils.errors import DataError

    with pytest.raises(DataError, match="ULMFIT_LAB_HOME"):
        open_home("~nobody-of-this-name/home")
