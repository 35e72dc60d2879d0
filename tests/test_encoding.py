"""Files are UTF-8 whatever the locale says, and a terminal that is not shows ASCII."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "ULMFIT_LAB_DATA": ""}
"""Python's own help for such a locale is switched off; what is then true of ASCII is true of any other encoding."""


def without_encoding(code: str) -> Iterator[ast.Call]:
    """Calls that read or write text in the locale's encoding."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and "encoding" not in (named := {each.arg for each in node.keywords}):
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            values = [
                each.value for each in (*node.args, *(k.value for k in node.keywords)) if isinstance(each, ast.Constant)
            ]
            binary = called in ("gzip.open", "os.open") or any("b" in str(value) for value in values)
            if (
                name in ("read_text", "write_text", "fdopen")
                or (name == "open" and not binary)
                or called == "pd.read_csv"
                or (name in ("run", "Popen", "check_output") and named & {"text", "universal_newlines"})
            ):
                yield node


@pytest.mark.parametrize(
    ("code", "found"),
    [("p.read_text()", 1), ("open('x', 'w')", 1), ("p.open()", 1), ("run(c, text=True)", 1), ("p.open('rb')", 0)],
)
def test_the_check_sees_what_it_should(code: str, found: int) -> None:
    assert len([*without_encoding(code)]) == found


def test_no_file_is_read_or_written_in_the_locales_encoding() -> None:
    """Ruff's PLW1514 sees only the paths whose type it can infer; this sees the others."""
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for folder in ("ulmfit_lab", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        for call in without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert not found


MODULE = """
from ulmfit_lab.experiment.declaration import Experiment

EXPERIMENT = Experiment(
    name="plain",
    question="Is 1 ± 0 × 2 → 3, “жук”?",
    baseline="random",
    variants={"random": {"classifier.init": "random"}, "TF-IDF": {"classifier.model": "tf-idf"}},
    scales={"tiny": {"target.name": "", "target.path": "reviews.csv", "classifier.epochs": 1}},
    seeds=(0,),
)
"""
ALL = """
import json, sys, time
from ulmfit_lab.cli import main

for number, command in enumerate(json.loads(sys.argv[1])):
    print(f"COMMAND {number} {main(command)}", time.process_time(), flush=True)
"""
EXPERIMENT = ("plain", "--scale", "tiny")
COMMANDS = [
    ["list"],
    ["plan", *EXPERIMENT],
    ["sweep", *EXPERIMENT],
    ["runs", *EXPERIMENT],
    ["report", *EXPERIMENT],
    ["report", *EXPERIMENT, "--check"],
    ["compare", "plain/random/0", "plain/TF-IDF/0"],
    ["predict", "--run", "plain/random/0"],
    ["predict", "--run", "plain/random/0", "--json"],
]


def outputs(command: list[str], folder: Path, given: bytes = b"") -> tuple[list[str], list[str], str]:
    """Statuses and standard outputs of all commands, in one process of the C locale, and its standard error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **C_LOCALE, "ULMFIT_LAB_HOME": str(folder / "home")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(command, cwd=folder, env=environment, input=given, capture_output=True, check=False)
    shown = done.stdout.decode("ascii")  # raises where anything else was written
    parts = shown.split("COMMAND ")
    statuses = [part.split("\n", 1)[0].split(" ")[1] for part in parts[1:]]
    texts = [parts[0], *(part.split("\n", 1)[1] for part in parts[1:-1])]
    return statuses, texts, done.stderr.decode("ascii")


def test_every_command_works_where_the_locale_is_ascii(
    tmp_path: Path, sentences: Any, write_csv: Callable[..., Path]
) -> None:
    write_csv(tmp_path / "reviews.csv", [(f"{text} ± жук", label) for text, label in sentences])
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "plain.py").write_text(MODULE, encoding="utf-8")
    text = "A fine film ± жук".encode()
    statuses, texts, errors = outputs([sys.executable, "-c", ALL, json.dumps(COMMANDS)], tmp_path, text)
    assert "Traceback" not in errors, errors
    assert statuses == ["0"] * len(COMMANDS), errors
    listed, planned, swept, _, reported, checked, _, table, _ = texts
    question = 'Is 1 +/- 0 x 2 -> 3, "\\u0436\\u0443\\u043a"?'
    for shown in (listed, planned, swept, reported):
        assert question in " ".join(shown.split())
    assert "mean +/- sd over 1 seeds" in reported and "consistent with the runs" in checked
    assert "A fine film +/- \\u0436" in table
    kept = tmp_path / "results" / "tiny" / "plain" / "table.md"
    assert "Mean ± sd" in kept.read_text(encoding="utf-8")


def test_an_argument_that_the_locale_cannot_read_is_refused_in_one_line(tmp_path: Path) -> None:
    _, _, errors = outputs([sys.executable, "-m", "ulmfit_lab", "plan", "жук.py"], tmp_path)
    assert len(errors.splitlines()) == 1 and "LC_ALL=C.UTF-8" in errors
