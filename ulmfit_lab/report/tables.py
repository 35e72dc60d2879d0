"""The report's tables, as Markdown for the repository and as text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.text import Text

from ulmfit_lab.analysis.comparisons import (
    SHOWN,
    Comparison,
    compare_variants,
    compatibility,
    group_by_answer,
    headline,
    listed,
    seeds_words,
    summarize_variants,
)
from ulmfit_lab.analysis.efficiency import format_ratio, label_efficiency
from ulmfit_lab.analysis.manipulation_checks import check_rows, diverged_lines, find_failed_checks
from ulmfit_lab.analysis.run_table import check_grid
from ulmfit_lab.analysis.sequential import RULE
from ulmfit_lab.analysis.spec import ReportSpec, level_words
from ulmfit_lab.analysis.statistics import MOST_SEEDS, Summary
from ulmfit_lab.analysis.tuning_table import (
    DIVERGED,
    PRUNED,
    TRIALS_SHOWN,
    best_tries,
    chosen,
    fields_of,
    lower_is_better,
    measure_of,
    measure_words,
    values_words,
)
from ulmfit_lab.experiment.search_space import at_edge
from ulmfit_lab.report.association_words import association_parts, association_verdicts
from ulmfit_lab.report.terminal_tables import FittedTable

Cells = tuple[list[str], list[list[str]]]
"""Header, rows."""

TESTS = (
    "Variant minus against, paired by seed, with its 95% t interval (not corrected); p of a paired t test, "
    "{corrected}. Further seeds: what would show a difference of {size} four times in five, even as the hardest test, "
    "with an sd at the upper limit of its one-sided 80% interval."
)
HOLM = "corrected over the rows of this table (Holm)"
GATEKEEPING = (
    "corrected within the primary family (Holm), and within the secondary one after it: a secondary p is at least the "
    "largest primary one (serial gatekeeping)"
)
SHARED = (
    "n counts independent realisations of what the two sides differ in: the mean over runs that share a {shared} is "
    "one observation. A difference of which there is one realisation is not replicated, and nothing is claimed of it."
)
MARGINS = (
    "Margin: equivalent where the difference is shown to be within the margin either way, non-inferior where it is "
    "shown to be no worse than by the margin (two one-sided paired t tests at 5%, corrected over all margins (Holm)). "
    "Margins: {margins}."
)
EFFICIENCY = (
    "The level at which against reaches the mean of the variant, read between the levels of its monotone curve on the "
    "log scale; a t interval of the log ratio by a jackknife over independent pairs. Neither is tested."
)
HOLDOUT = "final/holdout_"
SECOND = (
    "The holdout are documents of the training split that nothing was trained or chosen on: a test set of the "
    "distribution that was trained on, which the official one need not be."
)
PUBLISHED = (
    "Compatible: the published difference is within the interval found here, and 0 is not; cannot tell: both are, or "
    "nothing is claimed here. Perplexities are compared by their ratio."
)
TESTED_FIRST = ", planned after a fixed test of {seeds} seeds, whose error p and interval include"
DOCUMENTS = (
    "The test documents are a sample too. These intervals are for further seeds on further documents of the same kind: "
    "two crossed random factors, not corrected. The shares are of the variance of the mean difference; the rest is of "
    "the interaction of seeds and documents."
)
LOOKED = (
    "Variant minus against, paired by seed. Comparisons were looked at after {looks} seeds{planned}, and "
    "got no more seeds once they were decided. The interval is a 95% repeated confidence interval "
    "(not corrected) and p a repeated p-value, corrected over the rows of this table (Holm): both hold however many of "
    "the looks were taken. Rule: {rule}. n: seeds with which a comparison was decided, or all. The means above are "
    "over all seeds of a cell, and not adjusted for the looks."
)


def markdown_report(
    runs: pd.DataFrame,
    spec: ReportSpec,
    tuning: pd.DataFrame | None = None,
    searched: Mapping[str, Any] | None = None,
) -> str:
    """The whole table.md: question, results, comparisons, recipes, cost and provenance. Free of dates and paths."""
    rows = compare_variants(runs, spec)
    parts = [
        f"# {spec.name}",
        spec.question,
        *claim_part(spec),
        *registration_part(spec),
        f"**{headline(rows, spec)}**",
        f"## {spec.metric_label}",
        f"Mean ± sd over seeds, with the number of seeds in brackets; {better(spec)}.",
        markdown(*result_cells(runs, spec)),
        *checks_part(runs, spec),
        *format_extra_metrics(runs, spec),
        *(["## Comparisons", describe_tests(rows, spec), markdown(*comparison_cells(rows, spec))] if rows else []),
        *documents_part(rows, spec),
        *holdout_part(rows, runs, spec),
        *efficiency_part(runs, spec),
        *(part if isinstance(part, str) else markdown(*part) for part in association_parts(runs, spec)),
        *published_part(rows, runs, spec),
        *tuning_part(tuning, searched),
        "## Runs",
        "\n".join(f"- {line}" for line in [*format_facts(runs, spec), *spec.notes]),
    ]
    return "\n\n".join(parts) + "\n"


def verdict_first(report: str) -> str:
    """A report for a page that has its title already and folds a text after a few lines: the verdict is in them.

    >>> verdict_first("# starts\\n\\nDoes it help?\\n\\n> It does.\\n\\n**Not shown.**\\n\\n## Runs\\n\\n- 2\\n")
    'Does it help?\\n\\n**Not shown.**\\n\\n> It does.\\n\\n## Runs\\n\\n- 2\\n'
    """
    opening, heading, found = report.partition("\n\n## ")
    _, question, *claim, verdict = opening.split("\n\n")
    return "\n\n".join([question, verdict, *claim]) + heading + found


def registration_part(spec: ReportSpec) -> list[str]:
    """When the experiment was declared, and what was changed since."""
    if not spec.registered:
        return []
    changed = f" Changed since, and exploratory therefore: {'; '.join(spec.changed)}." if spec.changed else ""
    return [f"{spec.registered}{changed}"]


def claim_part(spec: ReportSpec) -> list[str]:
    """The claim under test and who made it, as a quotation."""
    said = [text for text in (spec.claim, spec.source) if text]
    return ["\n>\n".join(f"> {text}" for text in said)] if said else []


def better(spec: ReportSpec) -> str:
    """Which way is better, in words."""
    return "lower is better" if spec.lower_is_better else "higher is better"


def result_cells(runs: pd.DataFrame, spec: ReportSpec) -> Cells:
    """A variant a row, a level a column."""
    found = summarize_variants(runs, spec)
    header = ["variant", *(f"{spec.level_name} {level_words(level)}" if level else "result" for level in spec.levels)]
    marks = {place: f"; void: {why}" for place, why in find_failed_checks(runs, spec).items()}
    cells = {place: mean_sd(each, spec) + marks.get(place, "") for place, each in found.items()}
    return header, [[v, *(cells[v, level] for level in spec.levels)] for v in spec.variants]


def checks_part(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """What had to happen in a variant's runs and in how many it did, and the runs that diverged."""
    header = ["variant", spec.level_name or "level", "what had to happen", "did in", "measured, seed by seed"]
    rows = check_rows(runs, spec)
    if spec.levels == ("",):
        header, rows = [header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]
    parts = ["## Checks", markdown(header, rows)] if rows else []
    lines = "\n".join(f"- {line}" for line in diverged_lines(runs))
    return [*parts, "## Diverged", f"Left out of means and comparisons:\n\n{lines}"] if lines else parts


def holdout_part(rows: Sequence[Comparison], runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """The comparisons on the second test set beside those on the first, where the runs have one."""
    column = spec.metric.replace("final/", HOLDOUT, 1)
    if spec.metric.startswith(HOLDOUT) or column not in runs.columns or runs[column].isna().any() or not rows:
        return []
    held = compare_variants(runs, replace(spec, metric=column, margins=()))
    levels = [spec.level_name or "level"] if spec.levels != ("",) else []
    cells = [
        [
            f"{row.variant} - {row.against}",
            *([level_words(row.level)] if levels else []),
            *(difference_words(each, spec) for each in (row, other)),
            "same verdict" if row.verdict == other.verdict else f"{row.verdict}; on the holdout {other.verdict}",
        ]
        for row, other in zip(rows, held, strict=True)
    ]
    header = ["pair", *levels, "on the test set", "on the holdout", "verdicts"]
    return ["## Second test set", SECOND, markdown(header, cells)]


def efficiency_part(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """At how many labels one variant reaches what another one reaches."""
    cells = [
        [each.variant, level_words(each.level), each.against, *format_ratio(each), str(each.n)]
        for each in label_efficiency(runs, spec)
    ]
    header = ["variant", spec.level_name, "against", f"{spec.level_name} it needs", "ratio", "95% interval", "n"]
    return ["## Label efficiency", EFFICIENCY, markdown(header, cells)] if cells else []


def describe_tests(rows: Sequence[Comparison], spec: ReportSpec) -> str:
    """What the numbers of the comparisons are."""
    size = (
        f"{spec.smallest_difference:g}, the smallest of interest" if spec.smallest_difference else "the size observed"
    )
    corrected = GATEKEEPING if spec.primary else HOLM
    planned = TESTED_FIRST.format(seeds=spec.tested_seeds) if spec.tested_seeds else ", as planned"
    looked = LOOKED.format(looks=", ".join(map(str, spec.looks)), planned=planned, rule=RULE)
    shared = listed(sorted({row.shared for row in rows if row.shared}) or [""])
    margins = "; ".join(f"{m.value:g} for {m.variant} - {m.against}, since {m.reason}" for m in spec.margins)
    return " ".join(
        [
            looked if spec.looks else TESTS.format(corrected=corrected, size=size),
            *([SHARED.format(shared=shared)] if shared else []),
            *([MARGINS.format(margins=margins)] if spec.margins else []),
        ]
    )


def format_extra_metrics(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """The further numbers that are shown and not tested, a table each."""
    parts = []
    for also in spec.extra_metrics:
        shown = replace(spec, metric=also.metric, metric_label=also.label, metric_scale=also.scale)
        parts += [f"## {also.label}", "Beside the measure, and not tested.", markdown(*result_cells(runs, shown))]
    return parts


def documents_part(rows: Sequence[Comparison], spec: ReportSpec) -> list[str]:
    """The contrasts over seeds and test documents together, and the verdicts that this wider interval does not show."""
    levels = [spec.level_name or "level"] if spec.levels != ("",) else []
    cells = [
        [
            each.variant,
            each.against,
            *([level_words(each.level)] if levels else []),
            signed(each.difference, spec),
            f"{signed(each.low, spec)} to {signed(each.high, spec)}",
            f"{each.seeds_share:.0%}",
            f"{each.documents_share:.0%}",
            f"{each.n_documents:,}",
        ]
        for each in spec.documents
    ]
    header = ["variant", "against", *levels, spec.difference_label, "95% interval", "seeds", "documents", "n documents"]
    parts = ["## Over seeds and test documents", DOCUMENTS, markdown(header, cells)] if cells else []
    return parts + [f"{sentence}." for sentence in [these_documents_only(rows, spec)] if sentence]


def these_documents_only(rows: Sequence[Comparison], spec: ReportSpec) -> str:
    """The contrasts that are shown for these test documents and not for others of their kind; empty if none are."""
    wide = {(each.variant, each.against, each.level) for each in spec.documents if each.low <= 0 <= each.high}
    named = [
        f"{row.variant} - {row.against}" + (f" at {level_words(row.level)}" if row.level else "")
        for row in rows
        if row.verdict in SHOWN and (row.variant, row.against, row.level) in wide
    ]
    return f"Shown for these test documents, not for others of their kind: {listed(named)}" if named else ""


def mean_sd(summary: Summary, spec: ReportSpec) -> str:
    """A summary in a cell; no number where all runs diverged."""
    if not summary.n:
        return "none (0)"
    sd = "" if math.isnan(summary.sd) else f" ± {summary.sd:.{spec.decimals}f}"
    return f"{summary.mean:.{spec.decimals}f}{sd} ({summary.n})"


def comparison_cells(rows: Sequence[Comparison], spec: ReportSpec) -> Cells:
    """A comparison a row; the level has a column where there is one, further seeds where they may be added."""
    levels = [spec.level_name or "level"] if spec.levels != ("",) else []
    family = ["family"] if spec.primary else []
    margin = ["margin"] if spec.margins else []
    numbers = [spec.difference_label, "95% interval", "p"]
    header = ["variant", "against", *levels, *family, *numbers, "verdict", *margin, "n"]
    if spec.looks:  # a plan of looks is not gone beyond
        return header, [comparison_row(row, spec)[:-1] for row in rows]
    return [*header, "further seeds"], [comparison_row(row, spec) for row in rows]


def comparison_row(row: Comparison, spec: ReportSpec) -> list[str]:
    """One comparison in cells."""
    result = row.result
    interval = "" if math.isnan(result.low) else f"{signed(result.low, spec)} to {signed(result.high, spec)}"
    level = [level_words(row.level)] if spec.levels != ("",) else []
    difference = signed(result.difference, spec) if result.n else ""
    numbers = [difference, interval, format_p_value(row.corrected_p)]
    family = ["primary" if row.is_primary else "secondary"] if spec.primary else []
    margin = [format_margin(row)] if spec.margins else []
    explored = ", exploratory" if (row.variant, row.against, row.level) in spec.exploratory else ""
    found = [verdict_words(row) + explored, *margin, format_n(row), format_further_seeds(row)]
    return [row.variant, row.against, *level, *family, *numbers, *found]


def verdict_words(row: Comparison) -> str:
    """A verdict, with what was not replicated."""
    return f"not replicated: {row.why}" if row.verdict == "not replicated" else row.verdict


def format_margin(row: Comparison) -> str:
    """The verdict on a margin, with its p; empty where none is declared."""
    if row.margin is None:
        return ""
    p = format_p_value(row.margin_p)
    return f"{row.margin_verdict} (p {p})" if p else row.margin_verdict


def format_n(row: Comparison) -> str:
    """The independent observations, and the pairs of runs where these are more."""
    return str(row.result.n) if row.result.n >= row.pairs else f"{row.result.n} ({row.pairs} pairs)"


def signed(difference: float, spec: ReportSpec) -> str:
    """A difference with its sign; what rounds to zero has a plus."""
    return f"{difference:+z.{spec.decimals}f}"


def format_p_value(p: float) -> str:
    """A p-value in a cell; empty where there is none."""
    return "" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def format_further_seeds(row: Comparison) -> str:
    """Seeds to add, in a cell: none where a difference is shown already."""
    if row.verdict in SHOWN:
        return "none"
    if row.further_seeds is None:
        return "unknown"
    return f"more than {MOST_SEEDS}" if row.further_seeds > MOST_SEEDS else str(row.further_seeds)


def published_part(rows: Sequence[Comparison], runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Published differences beside those found here, and whether they are compatible."""
    levels = [spec.level_name or "level"] if spec.levels != ("",) else []
    doses = ["dose"] if any(published.dose for published in spec.published) else []
    means = {place: found.mean for place, found in summarize_variants(runs, spec).items()}
    cells = [
        [
            f"{published.variant} - {published.against}",
            *([level_words(row.level)] if levels else []),
            difference_words(row, spec),
            signed(published.value, spec),
            compatibility(published, row, means[row.against, row.level]),
            *([published.dose] if doses else []),
            published.what,
            published.source,
        ]
        for published in spec.published
        for row in group_by_answer(rows, published)
    ]
    header = [spec.difference_label, *levels, "here", "published", "compatible", *doses, "published on", "source"]
    return ["## Published", PUBLISHED, markdown(header, cells)] if cells else []


def difference_words(row: Comparison, spec: ReportSpec) -> str:
    """A difference with its interval."""
    if not row.result.n:
        return "-"
    low, high = row.result.low, row.result.high
    interval = "" if math.isnan(low) else f" ({signed(low, spec)} to {signed(high, spec)})"
    return signed(row.result.difference, spec) + interval


def tuning_part(tuning: pd.DataFrame | None, searched: Mapping[str, Any] | None = None) -> list[str]:
    """What was tuned, on what, with which budget.

    tuning: the table of a search (see report/tuning.py); searched: what is written beside it, if anything.
    """
    if tuning is None or tuning.empty:
        return []
    fields, measure, best = fields_of(tuning), measure_of(tuning), chosen(tuning)
    words, scale = measure_words(measure)
    trial = ["trial"] if "trial" in tuning.columns else []
    cells = [
        [
            str(row["variant"]),
            *(str(row[name]) for name in trial),
            *(format_value(row[f]) for f in fields),
            f"{scale * row[measure]:.{2 if scale > 1 else 4}f}",
            chosen_words(row.to_dict(), searched or {}) if i in best else "",
        ]
        for i, row in best_tries(tuning).iterrows()
    ]
    header = ["variant", *trial, *fields, words, ""]
    return ["## Recipes", tuning_text(tuning, searched or {}), markdown(header, cells)]


def chosen_words(row: Mapping[Any, Any], searched: Mapping[str, Any]) -> str:
    """Mark of a chosen trial, with the fields whose value is at the edge of its range."""
    space = {**searched.get("space", {}), **searched.get("space_of", {}).get(row["variant"], {})}
    fields = [path for path, values in space.items() if path in row and at_edge(values, row[path])]
    return f"chosen, at the edge of {listed(fields)}" if fields else "chosen"


def tuning_text(tuning: pd.DataFrame, searched: Mapping[str, Any]) -> str:
    """The search in words: fields and their ranges, the budget, and how a recipe was chosen."""
    space = {path: values_words(values) for path, values in searched.get("space", {}).items()}
    fields = ", ".join(f"{f} ({space[f]})" if f in space else f for f in fields_of(tuning))
    at = "".join(f" at {path} = {format_value(level)}" for path, level in searched.get("level", {}).items())
    tries = " or ".join(str(n) for n in sorted(set(tuning.groupby("variant").size())))
    words = measure_words(measure_of(tuning))[0].removesuffix(" (%)")
    extreme = "lowest" if lower_is_better(tuning) else "highest"
    parts = [
        f"Tuned{at}: {fields}.",
        *(f"{variant}: {own_space(found)}." for variant, found in searched.get("space_of", {}).items()),
        f"Every variant tried {tries} recipes, each with {tuning['seeds'].max()} seeds that no comparison uses;",
        f"the {extreme} mean {words} was chosen, and no test document had a say.",
    ]
    if "state" in tuning.columns:
        ended = tuning["state"].value_counts()
        stopped, diverged = (int(ended.get(state, 0)) for state in (PRUNED, DIVERGED))
        parts += [
            "A variant's first trial is the recipe it had before, the others are a tree-structured Parzen estimator's.",
            f"Of {len(tuning)} trials {stopped} were stopped before their last seed and {diverged} diverged.",
            f"Shown: the {TRIALS_SHOWN} best of each variant.",
        ]
    return " ".join(parts)


def own_space(space: Mapping[str, Any]) -> str:
    """The values of a variant's own that it was searched over."""
    return ", ".join(f"{path} ({values_words(values)})" for path, values in space.items())


def format_value(value: object) -> str:
    """A config value in a cell."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def format_facts(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """How many runs, on which data, what they cost, and which code made them; a line each."""
    seeds = ", ".join(str(seed) for seed in spec.seeds)
    most = len(spec.variants) * len(spec.levels) * len(spec.seeds)
    saved = [f"All cells with all seeds would have been {most} runs: looks saved {most - len(runs)}."]
    shared = len(runs) - runs["run_id"].nunique()
    levels = f", {len(spec.levels)} levels of {spec.level_name}" if spec.levels != ("",) else ""
    return [
        f"{len(runs)} runs at scale `{spec.scale}`: {len(spec.variants)} variants{levels}, seeds {seeds}.",
        *(saved if spec.looks else []),
        *([f"{shared} of them are another's run, which differs in nothing that it reads."] if shared else []),
        *data_line(runs),
        f"Computing took {format_duration(runs['computed_seconds'].sum())}; "
        f"reusing stages saved {format_duration(runs['reused_seconds'].sum())}.",
        commit_line(runs),
    ]


def data_line(runs: pd.DataFrame) -> list[str]:
    """The named sets that the runs read; a user's own path is not shown."""
    parts = []
    alone = set(column(runs, "param/last_stage")) == {
        "pretrained"
    }  # a language model that reads the general corpus only
    for role in ("general",) if alone else ("target", "general", "unlabelled"):
        names = [column(runs, f"param/{role}.{field}") for field in ("name", "split", "path")]
        sets = {f"{name} ({split})" if not path else "own files" for name, split, path in zip(*names, strict=True)}
        given = sorted(text for text in sets if not text.startswith(" ("))
        parts += [f"{role} {listed}"] if (listed := " and ".join(given)) else []
    return [f"Data: {'; '.join(parts)}."] if parts else []


def column(runs: pd.DataFrame, name: str) -> list[str]:
    """A text column, empty where the runs have none."""
    return list(runs[name]) if name in runs.columns else [""] * len(runs)


def commit_line(runs: pd.DataFrame) -> str:
    """The commits that made the runs, and how many of them had uncommitted changes."""
    counts = runs["commit"].str[:10].replace("", "unknown").value_counts().sort_index()
    parts = [f"{commit} ({count} runs)" if len(counts) > 1 else str(commit) for commit, count in counts.items()]
    dirty = int(runs["dirty"].sum())
    changed = f"; {dirty} of {len(runs)} runs had uncommitted changes" if dirty else ""
    return f"Commit {', '.join(parts)}{changed}."


def format_duration(seconds: float) -> str:
    """Seconds in the unit that people would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars and line ends in cells are made harmless."""
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (header, *rows)]
    drawn = [f"| {' | '.join(row)} |" for row in lines]
    return "\n".join([drawn[0], f"|{'---|' * len(header)}", *drawn[1:]])


def console_parts(runs: pd.DataFrame, spec: ReportSpec) -> list[RenderableType]:
    """The tables and the verdict, to print on a terminal; raises IncompleteError for a grid with holes."""
    runs = check_grid(runs, spec)
    rows = compare_variants(runs, spec)
    header, cells = result_cells(runs, spec)
    over, kind = (seeds_words(rows), "repeated ") if spec.looks and rows else (str(len(spec.seeds)), "")
    return [
        Text(spec.question, style="bold"),
        Text(f"{spec.metric_label}, mean ± sd over {over} seeds; {better(spec)}"),
        FittedTable(header, [[cell.removesuffix(f" ({over})") for cell in row] for row in cells]),
        Text(f"\nVariant minus against, paired by seed; 95% {kind}interval; {kind}p corrected (Holm)"),
        FittedTable(
            *compact_cells(rows, spec),
            [(row.result.low, row.result.difference, row.result.high) for row in rows],
        ),
        *(
            Text(f"\n{sentence}", style="bold")
            for sentence in (headline(rows, spec), *association_verdicts(runs, spec), these_documents_only(rows, spec))
            if sentence
        ),
    ]


def compact_cells(rows: Sequence[Comparison], spec: ReportSpec) -> Cells:
    """The comparisons in the width of a terminal: the pair in one column, further seeds beside the verdict."""
    header, cells = comparison_cells(rows, spec)
    found = [dict(zip(header, row, strict=True)) for row in cells]
    hidden = {"variant", "against", "further seeds", *(() if spec.looks or any(row.shared for row in rows) else ("n",))}
    shown = [name for name in header if name not in hidden]
    for row in found:
        row["verdict"] += f" (+{more})" if (more := row.get("further seeds", "")).isdecimal() else ""
    pairs = [[f"{row['variant']} - {row['against']}", *(row[name] for name in shown)] for row in found]
    return ["pair", *(name.removesuffix(" (points)") for name in shown)], pairs


def print_report(runs: pd.DataFrame, spec: ReportSpec, console: Console | None = None) -> None:
    """Print the tables and the verdict."""
    (console or Console()).print(Group(*console_parts(runs, spec)))
