"""Commands that compute nothing import nothing that computes: what they import is most of what they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = {"torch", "spacy", "sklearn", "optuna", "gensim", "statsmodels", "scipy.stats", "matplotlib", "seaborn"}
CODE = """
import sys
from ulmfit_lab.cli import main
status = main(sys.argv[2:])
print("heavy:", *[name for name in sys.argv[1].split(",") if name in sys.modules])
raise SystemExit(status)
"""


def imported_by(*arguments: str) -> set[str]:
    """The heavy modules that a command imports, in a process of its own."""
    heavy = ",".join(sorted(HEAVY | {"mlflow", "pandas"}))
    command = [sys.executable, "-c", CODE, heavy, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("heavy:")[2].split())


@pytest.mark.parametrize("command", ["--help", "list"])
def test_help_and_list_import_no_large_package(command: str) -> None:
    if command == "--help":
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "ulmfit_lab", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert not names & (HEAVY | {"mlflow", "pandas", "numpy"})
    else:
        assert imported_by(command) == set()


@pytest.mark.parametrize(("command", "allowed"), [("plan", {"pandas"}), ("runs", set())])
def test_plan_and_runs_do_not_import_mlflow(finished: Any, command: str, allowed: set[str]) -> None:
    module, options = finished
    assert imported_by(command, str(module), *options) <= allowed


def test_a_report_is_made_without_training_and_shown_again_without_mlflow(finished: Any, tmp_path: Path) -> None:
    module, options = finished
    where = (*options, "--results", str(tmp_path))
    assert not imported_by("sweep", str(module), *where) & {"torch", "spacy", "sklearn", "optuna", "gensim"}
    for command in ("sweep", "report"):
        assert imported_by(command, str(module), *where) == set()
