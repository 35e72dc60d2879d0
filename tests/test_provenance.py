"""What a run says of the code, the packages and the machine that made it."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from ulmfit_lab.utils.provenance import commit, git, provenance, source_tags, version_of


def run_git(folder: Path, *arguments: str) -> None:
    """Run git with an identity of its own."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit, of one module and one page."""
    (tmp_path / "ulmfit_lab").mkdir()
    (tmp_path / "ulmfit_lab" / "model.py").write_text("RATE = 1\n")
    (tmp_path / "notes.md").write_text("notes\n")
    run_git(tmp_path, "init")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_an_unchanged_checkout_is_its_commit(checkout: Path) -> None:
    head = (checkout / ".git" / git(checkout, "symbolic-ref", "HEAD")).read_text().strip()
    assert commit(checkout) == {"lab.commit": head, "lab.dirty": "false"}


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ("ulmfit_lab/model.py", "true"),  # a changed module
        ("experiments/new.py", "true"),  # a file that git does not know
        ("notes.md", "false"),  # cannot change a number
    ],
)
def test_code_that_differs_from_the_commit_is_marked(checkout: Path, changed: str, dirty: str) -> None:
    (checkout / changed).parent.mkdir(exist_ok=True)
    (checkout / changed).write_text("RATE = 2\n")
    assert commit(checkout)["lab.dirty"] == dirty


def test_a_package_inside_somebody_elses_checkout_has_no_commit(checkout: Path) -> None:
    installed = checkout / "site-packages"
    installed.mkdir()
    assert commit(installed) == {"lab.commit": "", "lab.dirty": ""}


def test_a_folder_without_git_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # nor is there a git to ask
    assert commit(tmp_path) == {"lab.commit": "", "lab.dirty": ""}


def test_versions_are_those_installed_and_empty_for_what_is_not() -> None:
    found = provenance()
    assert found["version.torch"] == metadata.version("torch")
    assert found["version.optuna"] == metadata.version("optuna")
    assert version_of("no-such-package-of-ours") == ""


def test_mlflows_own_columns_repeat_the_commit_where_there_is_one() -> None:
    assert source_tags({"lab.commit": "abc"})["mlflow.source.git.commit"] == "abc"
    assert "mlflow.source.git.commit" not in source_tags({"lab.commit": ""})
    assert source_tags({})["mlflow.user"]
