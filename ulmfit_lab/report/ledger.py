"""The ledger: one row a claim, with what its headline contrasts showed and what they could have shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ulmfit_lab.analysis.comparisons import (
    SHOWN,
    Comparison,
    compare_variants,
    compatibility,
    group_by_answer,
    seeds_words,
    summarize_variants,
)
from ulmfit_lab.analysis.sequential import level_at
from ulmfit_lab.analysis.spec import Published, ReportSpec, level_words
from ulmfit_lab.analysis.statistics import ALPHA, holm, smallest_difference
from ulmfit_lab.report.association_words import association_verdicts
from ulmfit_lab.report.tables import difference_words, format_duration, markdown, signed

Contrast = tuple[str, str, str]
"""Variant, against, level."""

PROVEN = ("equivalent", "non-inferior")
"""Verdicts that a margin can get and that claim something."""
HEADER = ("claim", "source", "experiment", "verdict", "n", "difference", "could have shown", "published", "cost")
INTRODUCTION = """# Ledger

Every claim, the experiment that tests it, and what came out. Written by `ulmfit-lab report` from the committed runs."""
NOTES = """Verdict: of the contrasts that answer the claim; p of a paired t test, corrected over all comparisons of the
experiment (Holm). Difference: variant minus against, in the unit of the measure, with its 95% t interval (not
corrected). Could have shown: where no difference was shown, the smallest one that this many seeds with this spread
would have shown four times in five, even as the hardest test of the experiment. Published: the published difference
of a pair, the one found here, and whether the interval found here holds it (compatible), or 0 as well (cannot tell).
Cost: computing time of the runs; stages that
other runs had computed before are not counted."""
LOOKED = """Where seeds were added only as long as a comparison was open, p and interval are repeated ones, which hold
over all looks; the table says which were planned."""
MOST_PUBLISHED = 3
"""Published figures that a row shows before it only counts them."""


@dataclass(frozen=True)
class Headline:
    """A contrast that answers the claim."""

    row: Comparison
    against_mean: float
    """Mean of the variant compared with, in the report's unit."""
    smallest: float | None
    """The smallest difference that would have been shown four times in five; None where none could have been."""

    def percent(self, value: float) -> float:
        """A difference as a share of the mean of the variant compared with."""
        return 100 * value / self.against_mean if self.against_mean else math.nan


@dataclass(frozen=True)
class Result:
    """What an experiment's runs say of its claim."""

    spec: ReportSpec
    headlines: tuple[Headline, ...]
    published: tuple[tuple[Published, Comparison, str], ...]
    """Published figures beside what was found, and whether they are compatible: those of headline contrasts, or else
    all, at the last level."""
    seconds: float
    associated: tuple[str, ...] = ()
    """Verdicts on numbers that were held against an outcome, in sentences."""


@dataclass(frozen=True)
class Entry:
    """A row of the ledger: a claim, and the result of its experiment where there is one."""

    name: str
    claim: str
    source: str
    link: str = ""
    """Folder of the report, or of what was withdrawn, as the ledger's file reaches it."""
    result: Result | None = None
    withdrawn: str = ""
    """When and why the experiment's result was withdrawn, where no new one stands in its place."""


def result_of(runs: pd.DataFrame, spec: ReportSpec, contrasts: Sequence[Contrast]) -> Result:
    """What the runs of a complete grid say of the contrasts that answer the claim."""
    rows = compare_variants(runs, spec)
    found, hardest = summarize_variants(runs, spec), ALPHA / max(len(spec.primary or rows), 1)
    if spec.looks:  # what is open was looked at to the end; the last look alone would have shown it
        hardest = level_at(spec.looks, spec.looks[-1], hardest, spec.tested_seeds)
    chosen = [row for contrast in contrasts for row in rows if (row.variant, row.against, row.level) == contrast]
    headlines = [
        Headline(
            row, found[row.against, row.level].mean, smallest_difference(row.result.sd, row.result.n, alpha=hardest)
        )
        for row in chosen
    ]
    beside = [
        (each, row, compatibility(each, row, found[row.against, row.level].mean))
        for each in spec.published
        for row in group_by_answer(rows, each)
        if row.level == spec.levels[-1]
    ]
    pairs = {(variant, against) for variant, against, _ in contrasts}
    asked = [
        each for each in beside if {(each[1].variant, each[1].against), (each[1].against, each[1].variant)} & pairs
    ]
    cost, associated = float(runs["computed_seconds"].sum()), tuple(association_verdicts(runs, spec))
    return Result(spec, tuple(headlines), tuple(asked or beside), cost, associated)


def ledger_control(entries: Sequence[Entry]) -> str:
    """How many contrasts that answer a claim are shown, and how many after a correction over all claims; or nothing."""
    found = [each.row for entry in entries if entry.result for each in entry.result.headlines]
    tested = [row for row in found if not math.isnan(row.result.p)]
    if not tested:
        return ""
    shown = [row.verdict in SHOWN for row in tested]
    kept = sum(own and p < ALPHA for own, p in zip(shown, holm([row.result.p for row in tested]), strict=True))
    return (
        f"Over the whole ledger: contrasts that answer a claim and were tested: {len(tested)}; better or worse: "
        f"{sum(shown)}; with a correction over all {len(tested)} (Holm): {kept}."
    )


def ledger_text(entries: Sequence[Entry], figure: str) -> str:
    """The ledger in Markdown; figure: name of the picture's file, empty where nothing was run."""
    picture = [f"![Difference of every headline contrast]({figure})"] if figure else []
    table = markdown(HEADER, [ledger_row(entry) for entry in entries])
    looked = [LOOKED] if any(entry.result and entry.result.spec.looks for entry in entries) else []
    control = [words] if (words := ledger_control(entries)) else []
    return "\n\n".join([INTRODUCTION, *picture, table, *control, NOTES, *looked]) + "\n"


def ledger_row(entry: Entry) -> list[str]:
    """A claim in cells; several contrasts are lines of a cell."""
    if entry.result is None:
        old = f"; [as it was]({entry.link}/table.md)" if entry.withdrawn else ""
        outcome = entry.withdrawn or "not run yet"
        return [entry.claim, entry.source, f"`{entry.name}`{old}", outcome, *[""] * (len(HEADER) - 4)]
    result, spec = entry.result, entry.result.spec
    lines = [
        [*(verdict_words(each, spec) for each in result.headlines), *result.associated],
        [seeds_words([each.row for each in result.headlines])] if result.headlines else [str(len(spec.seeds))],
        [difference_words(each.row, spec) for each in result.headlines],
        [power_words(each, spec) for each in result.headlines],
        published_words(result),
        [format_duration(result.seconds)],
    ]
    links = f"[table]({entry.link}/table.md), [figure]({entry.link}/figure.svg)"
    experiment = f"`{entry.name}`, scale {spec.scale}: {spec.metric_label}; {links}"
    return [entry.claim, entry.source, experiment, *("<br>".join(cell) for cell in lines)]


def contrast_words(row: Comparison, spec: ReportSpec) -> str:
    """A contrast by its names, with its level where there is one."""
    level = f" ({spec.level_name} {level_words(row.level)})" if row.level else ""
    return f"{row.variant} - {row.against}{level}"


def verdict_words(headline: Headline, spec: ReportSpec) -> str:
    """The contrast and its verdict."""
    row = headline.row
    why = f" ({row.why})" if row.why else ""
    margin = f"; {row.margin_verdict} within {row.margin:g}" if row.margin_verdict in PROVEN else ""
    explored = ", exploratory" if (row.variant, row.against, row.level) in spec.exploratory else ""
    return f"{contrast_words(row, spec)}: **{row.verdict}{margin}**{why}{explored}"


def power_words(headline: Headline, spec: ReportSpec) -> str:
    """What the contrast could have shown, where it showed nothing."""
    if headline.row.verdict in (*SHOWN, "void", "not replicated") or headline.row.margin_verdict in PROVEN:
        return "-"
    return "nothing" if headline.smallest is None else f"{headline.smallest:.{spec.decimals}f}"


def published_words(result: Result) -> list[str]:
    """Published differences beside those found here; many are counted."""
    spec, told = result.spec, []
    for published, row, words in result.published[:MOST_PUBLISHED]:
        figures = f"published {signed(published.value, spec)}, here {signed(row.result.difference, spec)}"
        told.append(f"{contrast_words(row, spec)}: {figures}: {words}; {published.source}")
    more = result.published[MOST_PUBLISHED:]
    if more:
        count = sum(words == "compatible" for *_, words in more)
        told.append(f"and {len(more)} more in the table, of which {count} compatible")
    return told
