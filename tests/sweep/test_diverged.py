"""A language model that ends worse than guessing all words alike is no silent result; its rate is far too high."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli.runs import list_runs
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.report.publish import publish
from ulmfit_lab.runs.transfer import read_table
from ulmfit_lab.tracking.names import NOTE

ALONE = {"last_stage": "pretrained", "pretraining.epochs": 2, "pretraining.seed": None, "general.test_tokens": 300}
MAD = {"pretraining.optimizer": "nt-asgd", "pretraining.schedule": "constant", "pretraining.lr": 1e3}


@pytest.fixture(scope="module")
def rates(experiment: Experiment) -> Experiment:
    """The usual rate against one that is far too high."""
    base = {**experiment.scales["tiny"], **ALONE}
    changes = {"baseline": "usual", "variants": {"usual": {}, "mad": MAD}, "scales": {"tiny": base}, "seeds": (0,)}
    return replace(experiment, name="rates", metric="final/perplexity", **changes)


@pytest.fixture(scope="module")
def swept(new_lab: Callable[[str], Any], rates: Experiment) -> Any:
    """The lab that made both runs, and what the sweep came to."""
    lab = new_lab("rates")
    return lab, lab.sweep(rates)


def test_it_is_finished_and_named_with_what_to_do(swept: Any, rates: Experiment) -> None:
    lab, outcome = swept
    assert outcome.finished == 2 and outcome.failures == ()
    ((name, reason),) = outcome.diverged
    assert name == "mad, seed 0" and "that of guessing all" in reason
    assert "lower pretraining.lr (1000) or clip harder (pretraining.clip, " in reason
    usual, mad = sorted(lab.tracker.runs("rates", "tiny", "FINISHED"), key=lambda run: run.variant, reverse=True)
    assert (usual.diverged, mad.diverged) == ("", reason)
    assert f"**Diverged**: {reason}" in mad.tags[NOTE]


def test_it_is_not_made_again_and_told_again(swept: Any, rates: Experiment) -> None:
    lab, outcome = swept
    again = lab.sweep(rates)
    assert again.finished == 0 and again.diverged == outcome.diverged


def test_the_list_of_runs_marks_it(swept: Any, rates: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    list_runs(rates, "tiny", swept[0].tracker)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[1:3] for line in lines[:2]) == [["DIVERGED", "mad"], ["FINISHED", "usual"]]


def test_the_report_leaves_its_number_out_and_says_so_from_the_csv_too(
    swept: Any, rates: Experiment, new_lab: Callable[[str], Any], tmp_path: Path
) -> None:
    lab, outcome = swept
    publish(rates, "tiny", None, lab.home, None, lab.tracker, tmp_path)
    told = (tmp_path / "table.md").read_text()
    assert "| mad | none (0); void: 1 of 1 runs diverged |" in told and f"mad, seed 0: {outcome.diverged[0][1]}" in told
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    clone = new_lab("clone of rates")
    publish(rates, "tiny", None, clone.home, None, clone.tracker, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert {each.run.variant: each.run.diverged for each in read_table(tmp_path / "runs.csv")} == {
        "usual": "",
        "mad": outcome.diverged[0][1],
    }


def test_a_run_that_averages_says_at_which_step_it_began(swept: Any) -> None:
    found = {run.variant: run.metrics for run in swept[0].tracker.runs("rates", "tiny")}
    assert found["mad"]["final/pretraining_averaging_began"] >= -1
    assert "final/pretraining_averaging_began" not in found["usual"]
