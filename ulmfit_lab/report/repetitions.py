"""The ledger's section on experiments that are repeated at the scale `wide`: do the small scale's decisions hold?"""

from __future__ import annotations

from collections.abc import Sequence

from ulmfit_lab.analysis.comparisons import UNCLAIMED
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.config.scales import WIDE
from ulmfit_lab.report.ledger import Entry, Headline, Result, contrast_words, declared_cells, headlines
from ulmfit_lab.report.tables import difference_words, markdown

TITLE = """## Decisions at twice the width

The same declarations at the scale `wide`: a language model of twice the width, trained on three times the tokens."""
HEADER = ("experiment", "contrast", "small", "wide", "same decision")


def repetition_part(entries: Sequence[Entry]) -> list[str]:
    """Return the section's paragraphs; nothing without an experiment that is repeated."""
    repeated = [entry for entry in entries if entry.scale == WIDE]
    if not repeated:
        return []
    small = {entry.name: entry.result for entry in entries if entry.scale == "small"}
    rows = [row for entry in repeated for row in repetition_rows(entry, small.get(entry.name))]
    decided = [row[-1] for row in rows if row[-1]]
    count = [f"Decisions that are the same: {decided.count('yes')} of {len(decided)}."] if decided else []
    return [TITLE, markdown(HEADER, rows), *count]


def repetition_rows(entry: Entry, small: Result | None) -> list[list[str]]:
    """Return a row for each contrast that was run at the scale wide, or one on what a run would show and cost."""
    before = {place_of(each): (each.row.verdict, told(each, small)) for each in small.headlines} if small else {}
    name, result = f"`{entry.name}`", entry.result
    if result is None:
        words = [own for _, own in before.values()]
        return [[name, *planned_cells(entry.declared, words), ""]] if entry.declared else []
    rows = []
    for each in result.headlines:
        decision, own = before.get(place_of(each), ("", "not run"))
        decided = decision and not {decision, each.row.verdict} & {*UNCLAIMED}
        same = ("yes" if decision == each.row.verdict else "no") if decided else ""
        rows.append([name, contrast_words(each.row, result.spec), own, told(each, result), same])
    return rows


def planned_cells(spec: ReportSpec, small: Sequence[str]) -> list[str]:
    """Return contrasts, the small scale's results, and what a run at the scale wide would show and cost."""
    contrasts = dict.fromkeys(f"{variant} - {against}" for variant, against, _ in headlines(spec))
    power, n, *_, cost = declared_cells(spec)
    planned = "; ".join(part for part in (f"not run: n = {n}", power, cost) if part)
    return ["<br>".join(contrasts), "<br>".join(small) or "not run", planned]


def place_of(headline: Headline) -> tuple[str, str, str]:
    """Return variant, against and level of a contrast."""
    return headline.row.variant, headline.row.against, headline.row.level


def told(headline: Headline, result: Result) -> str:
    """Return a verdict with the difference and its interval."""
    return f"**{headline.row.verdict}**, {difference_words(headline.row, result.spec)}"
