"""The README says what the committed results say."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_readmes_table_is_the_committed_one() -> None:
    readme = (ROOT / "README.md").read_text()
    block = readme.partition("<!-- results of word2vec_vs_lm -->")[2].partition("<!-- end -->")[0]
    shown = [line for line in block.splitlines() if line.startswith("|")]
    table = (ROOT / "results" / "word2vec_vs_lm" / "table.md").read_text()
    section = table.partition("## Test error")[2].partition("## Comparisons")[0]
    assert shown == [line for line in section.splitlines() if line.startswith("|")]
    assert len(shown) > 2


def test_the_readmes_commands_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in ("demo", "test"))
    assert "make test" in (ROOT / ".ci" / "run").read_text()
