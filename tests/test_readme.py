"""The README says what the committed results say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ulmfit_lab.analysis.run_table import read_runs
from ulmfit_lab.analysis.statistics import PairedResult, compare_paired
from ulmfit_lab.experiment.declaration import load_experiment, run_specs
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.report.withdrawn import all_withdrawals, withdrawal_of
from ulmfit_lab.runs.reproduce import runs_in

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)#:\s]+)\)")


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_every_file_that_a_page_links_to_is_there_and_is_no_withdrawn_result(page: Path) -> None:
    linked = [page.parent / target for target in LINK.findall(page.read_text(encoding="utf-8"))]
    assert [str(path) for path in linked if not path.exists()] == []
    gone = {each.folder for each in all_withdrawals(ROOT / "results")}
    assert [str(path) for path in linked if path.resolve().parent in gone] == []


def test_the_readme_claims_nothing_that_is_withdrawn() -> None:
    claims = (ROOT / "README.md").read_text().partition("## What the claims came to")[2].partition("\n## ")[0]
    gone = [each for each in all_withdrawals(ROOT / "results") if withdrawal_of(ROOT / "results" / each.folder.name)]
    if gone:
        assert all(f"withdrawn on {day}" in claims for day in {each.date for each in gone})
    assert not [line for line in (ROOT / "README.md").read_text().splitlines() if "±" in line]


def test_the_readme_counts_claims_as_the_ledger_does() -> None:
    ledger = re.search(
        r"(\d+) rows of claims: (\d+) with results, (\d+) declared", (ROOT / "results/README.md").read_text()
    )
    readme = re.search(
        r"Of (\d+) claims \*\*(\d+) have results so far; (\d+) are declared", (ROOT / "README.md").read_text()
    )
    assert ledger and readme and ledger.groups() == readme.groups()


def test_the_readmes_commands_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in ("demo", "test"))
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_readmes_numbers_of_the_demo_are_those_of_todays_declaration() -> None:
    path = ROOT / "docs" / "images" / "demo_runs.csv"
    runs = runs_in([path])
    experiment = load_experiment("demo")
    machine = {"compute.precision": runs[0].params["compute.precision"], "compute.device": "cpu"}
    declared = {
        (each.variant, each.seed): final_stage(each.config, each.seed, None).fingerprint
        for each in run_specs(experiment, "demo", machine)
    }
    assert {(run.variant, run.seed): run.fingerprint for run in runs} == declared, "sweep the demo and make screenshots"
    table = read_runs(path).pivot(index="seed", columns="variant", values="final/error") * 100

    def gain(against: str) -> PairedResult:
        return compare_paired(table[against].to_numpy(), table["fine-tuned LM"].to_numpy())

    scratch, glove, tf_idf, frozen = map(gain, ("from scratch", "GloVe vectors", "TF-IDF", "frozen LM"))
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert (
        f"lower by {scratch.difference:.0f} points than that of the same network from scratch, by "
        f"{glove.difference:.1f} than with GloVe vectors, by {tf_idf.difference:.1f} than TF-IDF, and by "
        f"{frozen.difference:.1f} (95% CI {frozen.low:.1f} to {frozen.high:.1f}) than with fixed features"
    ) in readme
