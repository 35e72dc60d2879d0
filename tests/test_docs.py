"""The documentation's examples run, its changes apply, and its picture is that of the imports."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CHANGES = re.findall(r"### ([^\n]+)\n.*?```diff\n(.*?)```\n\n```python\n(.*?)```", ARCHITECTURE, re.DOTALL)
MOST_LINES = 20
"""Lines that a worked change adds or removes, at most."""


def test_the_picture_of_the_rooms_is_that_of_the_imports() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))
    assert script["page_with_picture"](ARCHITECTURE) == ARCHITECTURE, "make reference"


def test_there_are_five_worked_changes_of_few_lines() -> None:
    sizes = {
        title: sum(line[:1] in ("+", "-") and line[:3] not in ("+++", "---") for line in diff.splitlines())
        for title, diff, _ in CHANGES
    }
    assert len(sizes) == 5
    assert all(size <= MOST_LINES for size in sizes.values()), sizes


@pytest.mark.parametrize(("title", "diff", "check"), CHANGES, ids=[title for title, _, _ in CHANGES])
def test_a_worked_change_applies_and_does_what_it_says(title: str, diff: str, check: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "ulmfit_lab", tmp_path / "ulmfit_lab", ignore=shutil.ignore_patterns("__pycache__"))
    applied = subprocess.run(
        ["git", "apply", "--unidiff-zero", "-"], cwd=tmp_path, input=diff, text=True, capture_output=True, check=False
    )
    assert applied.returncode == 0, f"{title}: {applied.stderr}"
    (tmp_path / "check.py").write_text(check)
    done = subprocess.run(
        [sys.executable, "check.py"], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    named = set(re.findall(r"tests/[\w/]+\.py", (ROOT / "docs" / page).read_text(encoding="utf-8")))
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


@pytest.mark.parametrize("page", ["core_library.md"])
def test_the_examples_of_a_page_run(page: str) -> None:
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL):
        names: dict[str, Any] = {}
        exec(compile(code, page, "exec"), names)
        assert names["loss"].item() < 1.0
