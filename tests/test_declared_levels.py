"""`--levels` takes what the crossed field takes: decimals, names, whole numbers."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli.declared import load_declared
from ulmfit_lab.experiment.declaration import run_specs
from ulmfit_lab.utils.errors import ConfigError

SOURCE = """
from ulmfit_lab.experiment.declaration import Experiment

EXPERIMENT = Experiment(
    name="crossed", question="?", baseline="one", factor={across!r}, levels={{"tiny": ({first!r},)}},
    variants={{"one": {{}}, "two": {{"classifier.lr": 0.5}}}}, scales={{"tiny": {{}}}},
)
"""


def test_the_crossed_field_cannot_be_set_for_all_levels(tmp_path: Path) -> None:
    path = tmp_path / "crossed.py"
    path.write_text(SOURCE.format(across="pretraining.bptt", first=70), encoding="utf-8")
    options = {"seeds": None, "levels": None, "config_help": False, "rest": ["--pretraining.bptt", "35"]}
    with pytest.raises(ConfigError, match="pretraining.bptt is the factor of crossed; use --levels 35"):
        load_declared(Namespace(experiment=str(path), scale="tiny", **options))


@pytest.mark.parametrize(
    ("across", "first", "given", "expected"),
    [
        ("lm.drop_mult", 1.0, "0.25, 0.5,1e-1", (0.1, 0.25, 0.5)),
        ("pretraining.schedule", "one-cycle", "constant,one-cycle", ("constant", "one-cycle")),
        ("lm.tie_weights", True, "true,False", (True, False)),
        ("pretraining.bptt", 70, "35,70,35", (35, 70)),
    ],
)
def test_levels_are_of_the_crossed_fields_type(
    tmp_path: Path, across: str, first: Any, given: str, expected: tuple[Any, ...]
) -> None:
    path = tmp_path / "crossed.py"
    path.write_text(SOURCE.format(across=across, first=first), encoding="utf-8")
    options = {"seeds": None, "levels": given, "config_help": False, "rest": []}
    experiment, _ = load_declared(Namespace(experiment=str(path), scale="tiny", **options))
    assert experiment.levels_at("tiny") == expected
    assert [type(level) for level in experiment.levels_at("tiny")] == [type(level) for level in expected]
    assert len(run_specs(experiment, "tiny")) == 2 * len(expected) * len(experiment.seeds)
    with pytest.raises(ConfigError, match=f"the type of {across}|at least"):
        load_declared(Namespace(experiment=str(path), scale="tiny", **options | {"levels": "-nothing"}))
