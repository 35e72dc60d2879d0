"""A plan of looks is kept: not changed once runs were made by it, and the same wherever the runs travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.experiment.declaration import Experiment, until_decided
from ulmfit_lab.report.committed import Committed, check_folder
from ulmfit_lab.report.publish import publish
from ulmfit_lab.runs.transfer import export_runs, import_runs
from ulmfit_lab.utils.errors import ConfigError

REFUSED = "after 6, 8 seeds, not after 6, 7, 8"


@dataclass(frozen=True)
class Swept:
    """A lab in which a sweep with looks has come to its end, and its report."""

    lab: Any
    experiment: Experiment
    """With looks after 6 and 8 seeds."""
    other: Experiment
    """The same with looks after 6, 7 and 8."""
    report: Path


def sweep_to_its_end(lab: Any, experiment: Experiment) -> int:
    """Runs that it took."""
    made = 0
    while (outcome := lab.sweep(experiment)).plan.todo:
        assert not outcome.failures
        made += outcome.finished
    return made


@pytest.fixture(scope="module")
def swept(experiment: Experiment, new_lab: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A language model that was trained, one that was not, and one that differs in next to nothing."""
    plain = replace(
        experiment,
        name="kept",
        baseline="trained",
        variants={
            "trained": {},
            "untrained": {"pretraining.epochs": 0},
            "dropped a little more": {"lm.weight_dropout": 0.201},
        },
        scales={"tiny": {**experiment.scales["tiny"], "last_stage": "pretrained", "pretraining.seed": None}},
        seeds=range(6),
        metric="final/valid_perplexity",
    )
    looked, lab = until_decided(plain, most=8, batch=2), new_lab("kept")
    assert sweep_to_its_end(lab, looked) == 3 * 6 + 2 * 2
    folder = tmp_path_factory.mktemp("results")
    publish(looked, "tiny", {}, lab.home, None, lab.tracker, folder)
    return Swept(lab, looked, until_decided(plain, most=8, batch=1), folder)


def test_other_looks_are_refused_by_sweep_and_report(swept: Swept, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=REFUSED):
        swept.lab.sweep(swept.other)
    with pytest.raises(ConfigError, match=REFUSED):
        publish(swept.other, "tiny", {}, swept.lab.home, None, swept.lab.tracker, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_check_accepts_the_report_and_tells_of_other_looks(swept: Swept) -> None:
    assert check_folder(Committed(swept.experiment, "tiny", swept.report)) == []
    told = {problem.path.name for problem in check_folder(Committed(swept.other, "tiny", swept.report))}
    assert "table.md" in told


def test_runs_travel_with_their_looks(swept: Swept, new_lab: Callable[[str], Any], tmp_path: Path) -> None:
    assert export_runs("kept", "tiny", swept.lab.tracker, tmp_path / "runs.jsonl.gz", swept.lab.home) == 22
    there = new_lab("there")
    found = import_runs(swept.experiment, "tiny", {}, there.home, None, there.tracker, tmp_path / "runs.jsonl.gz")
    assert (found.added, found.declared) == (22, 22)
    with pytest.raises(ConfigError, match=REFUSED):
        there.sweep(swept.other)
    assert sweep_to_its_end(there, swept.experiment) == 0
    publish(swept.experiment, "tiny", {}, there.home, None, there.tracker, tmp_path / "report")
    for name in ("runs.csv", "table.md", "figure.svg"):
        assert (tmp_path / "report" / name).read_bytes() == (swept.report / name).read_bytes()
