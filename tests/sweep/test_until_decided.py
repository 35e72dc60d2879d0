"""A sweep with looks makes the runs that are needed to decide, and no others; interrupted, it ends the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.analysis.interim import replay_looks
from ulmfit_lab.experiment.declaration import Experiment, run_specs, until_decided
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.report.committed import Committed, committed_grid
from ulmfit_lab.report.publish import publish
from ulmfit_lab.report.write import report_files
from ulmfit_lab.utils.errors import ConfigError, IncompleteError


@pytest.fixture
def words(experiment: Experiment) -> Experiment:
    """A language model that was trained, one that was not, and one that differs in next to nothing."""
    plain = replace(
        experiment,
        name="words",
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
    return until_decided(plain, most=10, batch=2)


def sweep_to_its_end(lab: Any, experiment: Experiment) -> list[int]:
    """Runs that each look took."""
    made = []
    while True:
        outcome = lab.sweep(experiment)
        assert outcome.failures == ()
        if not outcome.finished:
            return made
        made.append(outcome.finished)


def seeds_of(lab: Any) -> Counter[str]:
    """Variant -> finished runs."""
    return Counter(run.variant for run in lab.tracker.runs("words", "tiny", "FINISHED"))


def test_seeds_are_added_only_where_a_comparison_is_open_and_the_report_says_so(
    lab: Any, words: Experiment, tmp_path: Path
) -> None:
    assert sweep_to_its_end(lab, words) == [18, 4, 4]
    assert seeds_of(lab) == {"trained": 10, "dropped a little more": 10, "untrained": 6}
    publish(words, "tiny", {}, lab.home, None, lab.tracker, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| untrained | trained |" in text and "| worse | 6 |" in text
    assert "| no difference shown | 10 |" in text
    assert "Interim analyses after 6, 8, 10 seeds" in text and "saved 4 of 30 runs" in text
    # from runs.csv alone the report has the same bytes
    table, spec = committed_grid(Committed(words, "tiny", tmp_path))
    again = report_files(table, spec, None, None)
    assert {name: (tmp_path / name).read_bytes() for name in again} == again


def test_an_interrupted_sweep_ends_with_the_same_runs(lab: Any, words: Experiment) -> None:
    calls = iter(range(20))

    def interrupted(cell: Any) -> None:
        if next(calls) == 19:  # the second run of the second look
            raise KeyboardInterrupt

    shown, lab.display.cell = lab.display.cell, interrupted
    with pytest.raises(KeyboardInterrupt):
        sweep_to_its_end(lab, words)
    lab.display.cell = shown
    assert sweep_to_its_end(lab, words) == [3, 4]
    assert seeds_of(lab) == {"trained": 10, "dropped a little more": 10, "untrained": 6}


def test_a_sweep_that_has_not_come_to_its_end_has_no_report(lab: Any, words: Experiment, tmp_path: Path) -> None:
    lab.sweep(words)
    with pytest.raises(IncompleteError, match="4 of 22 runs are missing"):
        publish(words, "tiny", {}, lab.home, None, lab.tracker, tmp_path)


def test_looks_go_from_the_declared_seeds_to_the_most_and_leave_out_those_of_the_search(words: Experiment) -> None:
    plain = replace(
        words, seeds=range(6), design=replace(words.design, looks=()), search=replace(words.search, seeds=(7, 20, 21))
    )
    made = until_decided(plain, most=9, batch=2)
    assert (made.design.looks, made.seeds) == ((6, 8, 9), (0, 1, 2, 3, 4, 5, 6, 8, 9))
    assert len(run_specs(made, "tiny")) == 27
    assert not replay_looks({}, make_report_spec(made, "tiny")).ended
    for most, batch in ((6, 2), (8, 0)):
        with pytest.raises(ConfigError, match="must be more than that"):
            until_decided(plain, most, batch)


@pytest.mark.parametrize("looks", [(4, 10), (6, 8), (8, 6, 10), (6, 6, 10)])
def test_looks_that_make_no_plan_are_refused(words: Experiment, looks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="must increase"):
        replace(words, design=replace(words.design, looks=looks))
