"""The ledger: a table of all claims with verdicts, differences and detectable differences."""

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
    format_range,
    group_by_answer,
    seeds_words,
    summarize_variants,
)
from ulmfit_lab.analysis.power import detectable_difference, margin_powers, primary_alpha
from ulmfit_lab.analysis.sequential import level_at
from ulmfit_lab.analysis.spec import Published, ReportSpec, level_words
from ulmfit_lab.analysis.statistics import (
    ALPHA,
    POWER,
    effect_power,
    holm,
    seeds_for_power,
    smallest_difference,
)
from ulmfit_lab.config.scales import WIDE
from ulmfit_lab.report.association_words import association_verdicts
from ulmfit_lab.report.tables import difference_words, format_duration, markdown, signed

Contrast = tuple[str, str, str]
"""Variant, against, level."""

PROVEN = ("equivalent", "non-inferior")
"""Verdicts on a margin that are a claim."""
RESULT_HEADER = ("experiment", "verdict", "n", "difference", "detectable difference", "published", "cost")
DECLARED_HEADER = ("experiment", "power", "n", "detectable difference", "expected sd", "would change our mind", "cost")
INTRODUCTION = """# Ledger

All claims, their experiments and their verdicts. Generated from the committed runs by `ulmfit-lab report`."""
ANSWERED = "## Claims with results"
DECLARED = """## Claims declared, not run

The comparisons, numbers of seeds and recipes are declared before the first run; `ulmfit-lab plan NAME` shows them."""
OTHERS = """## Questions without a claim

About the language models that come with the lab; not counted above."""
NOTES = """- Verdict: for each contrast that answers the claim, a paired t test with p adjusted over these contrasts
  (Holm), or over all comparisons of the experiment if none is declared as primary.
- Difference: variant minus against, in the unit of the metric, with unadjusted 95% t interval.
- Detectable difference: if the verdict is neither better nor worse, the smallest difference that this test would detect
  with 80% power, given n, the observed sd, and alpha divided by the number of contrasts that are adjusted together.
- n: pairs of seeds; where some share a language model, the number of independent models, with the pairs in brackets.
  A verdict on a model that is given, as those that come with the lab, holds for this model only.
- Published: the published difference and the one found here; compatible if the 95% CI contains the published difference
  and not 0, "cannot tell" if it contains both.
- Cost: compute time of the runs, without reused stages.
- Power: that of a paired t test of n replicates for the smallest difference of interest, with alpha divided by the
  number of primary contrasts; of TOST where a margin is declared and the true difference is 0."""
WITHDRAWN = """## Withdrawn results

Claimed once, and not any more; the runs remain readable."""
LOOKED = """Experiments with interim analyses have repeated p-values and repeated confidence intervals, which are valid
over all interim analyses; the linked table lists the analyses."""
MOST_PUBLISHED = 3
"""Number of published differences in a row; further ones are counted."""


@dataclass(frozen=True)
class Headline:
    """Result of a contrast that answers the claim."""

    row: Comparison
    against_mean: float
    """Mean of against, in the unit of the report."""
    smallest: float | None
    """Smallest difference that is detected with 80% power; None if no difference can be significant."""

    def percent(self, value: float) -> float:
        """Return a difference in percent of the mean of against."""
        return 100 * value / self.against_mean if self.against_mean else math.nan


@dataclass(frozen=True)
class Result:
    """Results of an experiment for the ledger."""

    spec: ReportSpec
    headlines: tuple[Headline, ...]
    published: tuple[tuple[Published, Comparison, str], ...]
    """Published differences at the last level, the comparison here, and whether they are compatible; those of the
    headline contrasts, or all if there are none."""
    seconds: float
    associated: tuple[str, ...] = ()
    """Verdicts on associations, as sentences."""


@dataclass(frozen=True)
class Entry:
    """A row of the ledger: a claim and the result of its experiment, if any."""

    name: str
    claim: str
    """Empty for an experiment that only asks a question."""
    source: str
    question: str = ""
    link: str = ""
    """Folder of the report, relative to the ledger."""
    result: Result | None = None
    declared: ReportSpec | None = None
    """Declaration, if there is no result."""
    scale: str = "small"


def headlines(spec: ReportSpec) -> list[Contrast]:
    """Return the contrasts that answer the claim: the primary ones or, if none are declared, all at the last level."""
    default = [(variant, against, spec.levels[-1]) for variant, against in spec.chosen_pairs]
    return list(spec.primary) or default


def result_of(runs: pd.DataFrame, spec: ReportSpec, contrasts: Sequence[Contrast]) -> Result:
    """Evaluate the contrasts that answer the claim on a complete grid of runs."""
    rows = compare_variants(runs, spec)
    found, alpha = summarize_variants(runs, spec), primary_alpha(spec)
    if spec.looks:  # a comparison without a significant difference was tested at all looks
        alpha = level_at(spec.looks, spec.looks[-1], alpha, spec.tested_seeds)
    chosen = [row for contrast in contrasts for row in rows if (row.variant, row.against, row.level) == contrast]
    headlines = [
        Headline(row, found[row.against, row.level].mean, smallest_difference(row.result.sd, row.result.n, alpha=alpha))
        for row in chosen
    ]
    published = [
        (each, row, compatibility(each, row, found[row.against, row.level].mean))
        for each in spec.published
        for row in group_by_answer(rows, each)
        if row.level == spec.levels[-1]
    ]
    pairs = {(variant, against) for variant, against, _ in contrasts}
    of_headlines = [
        (each, row, answer)
        for each, row, answer in published
        if {(row.variant, row.against), (row.against, row.variant)} & pairs
    ]
    cost, associated = float(runs["computed_seconds"].sum()), tuple(association_verdicts(runs, spec))
    return Result(spec, tuple(headlines), tuple(of_headlines or published), cost, associated)


def ledger_control(claims: Sequence[Entry]) -> str:
    """How many contrasts that answer a claim are shown, and how many after a correction over all claims; or nothing."""
    found = [each.row for entry in claims if entry.result for each in entry.result.headlines]
    tested = [row for row in found if not math.isnan(row.result.p)]
    if not tested:
        return ""
    shown = [row.verdict in SHOWN for row in tested]
    kept = sum(own and p < ALPHA for own, p in zip(shown, holm([row.result.p for row in tested]), strict=True))
    return (
        f"Over the whole ledger: contrasts that answer a claim and were tested: {len(tested)}; better or worse: "
        f"{sum(shown)}; with a correction over all {len(tested)} (Holm): {kept}."
    )


def ledger_text(
    entries: Sequence[Entry],
    figure: str,
    withdrawn: Sequence[tuple[str, str, str, str]] = (),
    repetitions: Sequence[str] = (),
) -> str:
    """Return the ledger in Markdown.

    figure:      name of the figure's file, empty if there are no results
    withdrawn:   experiment, folder, date and reason of results that are not claimed any more
    repetitions: paragraphs on the scale `wide`, whose entries have no row of their own
    """
    picture = [f"![Differences of the contrasts with results]({figure})"] if figure else []
    claims = [entry for entry in entries if entry.claim and entry.scale != WIDE]
    answered, declared = ([entry for entry in claims if bool(entry.result) is has] for has in (True, False))
    others = [entry for entry in entries if not entry.claim and entry.scale != WIDE]
    count = f"{len(claims)} rows of claims: {len(answered)} with results, {len(declared)} declared and not run."
    sections = [
        *section(ANSWERED, ("claim", "source", *RESULT_HEADER), answered),
        *([words] if (words := ledger_control(claims)) else []),
        *section(DECLARED, ("claim", "source", *DECLARED_HEADER), declared),
        *section(OTHERS, ("question", *RESULT_HEADER), others),
    ]
    gone = [(f"`{name}`; [table]({folder}/table.md)", day, reason) for name, folder, day, reason in withdrawn]
    old = [WITHDRAWN, markdown(("experiment", "withdrawn", "reason"), gone)] if gone else []
    looked = [LOOKED] if any(entry.result and entry.result.spec.looks for entry in entries) else []
    parts = [INTRODUCTION, count, *picture, *sections, *repetitions, "## How to read it", NOTES, *looked, *old]
    return "\n\n".join(parts) + "\n"


def section(title: str, header: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """Return a heading and a table of entries; nothing without entries."""
    return [title, markdown(header, [ledger_row(entry) for entry in entries])] if entries else []


def ledger_row(entry: Entry) -> list[str]:
    """Return the cells of a row; each contrast is a line in a cell."""
    asked = [entry.claim, entry.source] if entry.claim else [entry.question]
    if entry.result is None:
        planned = declared_cells(entry.declared)
        unrun = planned if entry.claim else ["not run yet", *[""] * (len(RESULT_HEADER) - 3), planned[-1]]
        return [*asked, f"`{entry.name}`", *unrun]
    result, spec = entry.result, entry.result.spec
    lines = [
        [*(verdict_words(each, spec) for each in result.headlines), *result.associated],
        [counted(result)],
        [difference_words(each.row, spec) for each in result.headlines],
        [detectable_words(each, spec) for each in result.headlines],
        published_words(result),
        [format_duration(result.seconds)],
    ]
    links = f"[table]({entry.link}/table.md), [figure]({entry.link}/figure.svg)"
    experiment = f"`{entry.name}`, scale {spec.scale}: {spec.metric_label}; {links}"
    return [*asked, experiment, *("<br>".join(cell) for cell in lines)]


def counted(result: Result) -> str:
    """Return the number of independent replicates, and that of pairs in brackets where these are more."""
    rows = [headline.row for headline in result.headlines]
    if not rows:
        return str(len(result.spec.seeds))
    pairs = f" ({seeds_words(rows)} pairs)" if any(row.pairs > row.result.n for row in rows) else ""
    return format_range([row.result.n for row in rows]) + pairs


def declared_cells(spec: ReportSpec | None) -> list[str]:
    """Return the cells after the experiment's of a row without a result: what it is expected to show and to cost."""
    if spec is None or spec.expected is None:
        return ["not planned", *[""] * (len(DECLARED_HEADER) - 2)]
    expected, wanted, n = spec.expected, spec.smallest_difference, spec.replicates
    alpha, smallest = primary_alpha(spec), detectable_difference(spec, expected.sd)
    lines = []
    if wanted:
        power = effect_power(wanted / expected.sd, n, alpha) if smallest is not None else 0.0
        lines.append(f"{power:.0%} to detect a difference of {wanted:g}")
        if power < POWER:
            enough = seeds_for_power(wanted / expected.sd, alpha=alpha)
            lines.append(f"cannot show it: that takes n = {enough}" if enough else "cannot show it")
    for margin, shown in margin_powers(spec, expected.sd):
        lines.append(f"{shown:.0%} for {margin.variant} within {margin.value:g} of {margin.against}")
    detectable = "none" if smallest is None else f"{smallest:.{spec.decimals}f}"
    sd, cost = f"{expected.sd:g}: {expected.source}", f"about {expected.core_hours:g} core-hours"
    return ["<br>".join(lines), str(n), detectable, sd, expected.changes_mind, cost]


def contrast_words(row: Comparison, spec: ReportSpec) -> str:
    """Return a contrast as "variant - against (level)"."""
    level = f" ({spec.level_name} {level_words(row.level)})" if row.level else ""
    return f"{row.variant} - {row.against}{level}"


def verdict_words(headline: Headline, spec: ReportSpec) -> str:
    """Return the contrast and its verdict."""
    row = headline.row
    reason = f" ({row.why})" if row.why else ""
    margin = f"; {row.margin_verdict} within {row.margin:g}" if row.margin_verdict in PROVEN else ""
    exploratory = ", exploratory" if (row.variant, row.against, row.level) in spec.exploratory else ""
    return f"{contrast_words(row, spec)}: **{row.verdict}{margin}**{reason}{exploratory}"


def detectable_words(headline: Headline, spec: ReportSpec) -> str:
    """Return the detectable difference; "-" if the contrast has a claim or no test."""
    untested = ("not tested", "void", "not replicated")
    if headline.row.verdict in (*SHOWN, *untested) or headline.row.margin_verdict in PROVEN:
        return "-"
    return "none" if headline.smallest is None else f"{headline.smallest:.{spec.decimals}f}"


def published_words(result: Result) -> list[str]:
    """Return the first published differences beside those found here, and the number of further ones."""
    spec, lines = result.spec, []
    for published, row, answer in result.published[:MOST_PUBLISHED]:
        figures = f"published {signed(published.value, spec)}, here {signed(row.result.difference, spec)}"
        lines.append(f"{contrast_words(row, spec)}: {figures}: {answer}; {published.source}")
    more = result.published[MOST_PUBLISHED:]
    if more:
        compatible = sum(answer == "compatible" for *_, answer in more)
        lines.append(f"{len(more)} more in the table, {compatible} of them compatible")
    return lines
