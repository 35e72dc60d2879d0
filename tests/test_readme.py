"""The README says what the committed results say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ulmfit_lab.report.withdrawn import all_withdrawals, withdrawal_of

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
