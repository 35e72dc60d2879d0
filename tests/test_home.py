"""Where the lab keeps its state, and what of a store's address may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.home import Home, data_dir, open_home, redact


def test_a_home_is_the_argument_then_the_variable_then_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ULMFIT_LAB_HOME", raising=False)
    assert open_home().root == tmp_path / ".ulmfit_lab"
    monkeypatch.setenv("ULMFIT_LAB_HOME", "by_variable")
    assert open_home().root == tmp_path / "by_variable"
    assert open_home("given").root == tmp_path / "given"


def test_git_ignores_a_home_and_a_second_opening_leaves_the_users_change(tmp_path: Path) -> None:
    home = open_home(str(tmp_path / "home"))
    ignore = home.root / ".gitignore"
    assert ignore.read_text() == "*\n"
    ignore.write_text("*\n!kept\n")
    open_home(str(home.root))
    assert ignore.read_text() == "*\n!kept\n"


def test_a_home_that_cannot_be_made_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file.*ULMFIT_LAB_HOME"):
        open_home(str(tmp_path / "file" / "home"))


def test_the_tracking_store_is_absolute_unless_the_variable_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert Home(Path("/lab")).tracking_uri == "sqlite:////lab/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert Home(Path("/lab")).tracking_uri == "http://127.0.0.1:5000"


def test_state_of_different_kinds_lies_in_different_folders_of_the_home() -> None:
    home = Home(Path("/lab"))
    folders = {home.stages, home.locks, home.studies, home.artifacts}
    assert len(folders) == 4 and {folder.parent for folder in folders} == {home.root}


def test_the_data_folder_is_the_argument_then_the_variable_then_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ULMFIT_LAB_DATA", raising=False)
    assert data_dir() is None
    monkeypatch.setenv("ULMFIT_LAB_DATA", str(tmp_path))
    assert data_dir() == tmp_path
    (tmp_path / "other").mkdir()
    assert data_dir(str(tmp_path / "other")) == tmp_path / "other"
    with pytest.raises(DataError, match="absent.*ULMFIT_LAB_DATA"):
        data_dir(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////lab/mlflow.db", "sqlite:////lab/mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("postgresql://ann@db/lab", "postgresql://ann@db/lab"),
        ("postgresql+psycopg://ann:s3cret@db:5432/lab", "postgresql+psycopg://ann:***@db:5432/lab"),
        ("postgresql://ann:s/3@c:ret@db/lab", "postgresql://ann:***@db/lab"),
        ("postgresql://db/lab?user=ann&password=s3cret&x=1", "postgresql://db/lab?user=ann&password=***&x=1"),
        ("mysql://db/lab?SSL_Token=s3cret", "mysql://db/lab?SSL_Token=***"),
    ],
)
def test_no_password_of_a_store_is_shown(uri: str, shown: str) -> None:
    assert redact(uri) == shown
