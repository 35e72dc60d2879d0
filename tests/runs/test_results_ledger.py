"""The ledger of the committed results: which contrasts it shows, its files, and what is wrong with them."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ulmfit_lab.config.scales import SCALES
from ulmfit_lab.experiment.declaration import Experiment, experiment_files, load_experiments
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.report.ledger_files import check_results, entries, headlines, write_all
from ulmfit_lab.utils.errors import ConfigError, IncompleteError

RESULTS = Path(__file__).resolve().parents[2] / "results"
NAME = "precision"
needs_results = pytest.mark.skipif(not (RESULTS / NAME / "runs.csv").is_file(), reason=f"{NAME} has no results yet")

DROPOUT = Experiment(
    name="dropout",
    question="Does dropout help?",
    baseline="none",
    variants={"none": {"lm.drop_mult": 0.0}, "half": {"lm.drop_mult": 0.5}, "full": {"lm.drop_mult": 1.0}},
    factor="target.n_labels",
    levels={scale: (20, 40) for scale in SCALES} | {"paper": (20, 80)},
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A copy of the committed results of one experiment."""
    shutil.copytree(RESULTS / NAME, tmp_path / NAME)
    return tmp_path


def headlines_of(experiment: Experiment, scale: str) -> list[tuple[str, str, str]]:
    """The contrasts that the ledger shows of an experiment."""
    return headlines(make_report_spec(experiment, scale))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_contrasts_at_the_last_level_answer_a_claim_unless_some_are_named() -> None:
    assert headlines_of(DROPOUT, "small") == [("half", "none", "40"), ("full", "none", "40")]
    chosen = replace(DROPOUT, design=replace(DROPOUT.design, contrasts=(("full", "half"),)))
    assert headlines_of(chosen, "paper") == [("full", "half", "80")]
    named = replace(DROPOUT, design=replace(DROPOUT.design, primary=(("half", "none", None), ("full", "none", 20))))
    assert headlines_of(named, "paper") == [("half", "none", "80"), ("full", "none", "20")]
    flat = replace(DROPOUT, factor="", levels={})
    assert headlines_of(flat, "small") == [("half", "none", ""), ("full", "none", "")]


def test_a_level_that_a_scale_does_not_have_is_left_out_there() -> None:
    named = replace(DROPOUT, design=replace(DROPOUT.design, primary=(("half", "none", 80),)))
    assert headlines_of(named, "paper") == [("half", "none", "80")]
    assert headlines_of(named, "small") == headlines_of(DROPOUT, "small")


@pytest.mark.parametrize(
    ("headline", "says"),
    [(("full", "half", None), "not among its contrasts"), (("half", "none", 30), "30 is not a level")],
)
def test_a_headline_must_be_tested(headline: tuple[str, str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(DROPOUT, design=replace(DROPOUT.design, primary=(headline,)))


def claims() -> int:
    """Number of experiments that answer a claim."""
    return sum(bool(experiment.claim) for experiment in load_experiments(sorted(experiment_files()))[0].values())


@needs_results
def test_everything_is_written_again_from_the_committed_runs_with_the_same_bytes(results: Path) -> None:
    write_all(results)
    first = contents(results)
    assert {"README.md", "ledger.svg", "ledger.png", "ledger.json"} < set(first)
    write_all(results)
    assert contents(results) == first
    assert check_results(results) == []
    text = first["README.md"].decode().partition("## Decisions at twice the width")[0]
    assert len(re.findall(r"\| `\w+` \|", text)) == claims() - 1
    assert f"[table]({NAME}/table.md)" in text
    for name, old in (("README.md", b"Ledger"), ("ledger.svg", b"<svg "), ("ledger.json", b"{")):
        (results / name).write_bytes(first[name].replace(old, old + b" ", 1))
    (results / "ledger.png").unlink()
    found = {problem.path.name: problem.reason for problem in check_results(results)}
    assert found["README.md"].startswith("edited by hand") and found["ledger.svg"].startswith("edited by hand")
    assert found["ledger.png"].startswith("missing") and found["ledger.json"].startswith("stale or edited by hand")
    assert all("regenerate it: ulmfit-lab report" in reason for reason in found.values())


@needs_results
def test_runs_with_a_hole_are_named_and_nothing_is_written(results: Path) -> None:
    path = results / NAME / "runs.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    before = contents(results)
    with pytest.raises(IncompleteError, match="1 of 24 runs are missing"):
        write_all(results)
    assert contents(results) == before
    with pytest.raises(IncompleteError, match=str(path)):
        entries(results)


def test_without_results_no_claim_is_run_and_there_is_nothing_to_check(tmp_path: Path) -> None:
    written = write_all(tmp_path)
    assert [path.name for path in written] == ["README.md", "ledger.json"]
    text, _, wide = (tmp_path / "README.md").read_text().partition("## Decisions at twice the width")
    assert len(re.findall(r"\| `\w+` \|", text)) == claims(), "what claims nothing has no row before it is run"
    assert len(re.findall(r"\| `\w+` \|", wide)) == 3
    assert check_results(tmp_path) == []
