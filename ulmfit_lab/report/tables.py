"""Tables of a report, as Markdown for table.md and as text for the terminal."""

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
    where_words,
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
    "Difference: variant minus against, paired by seed, with unadjusted 95% t interval. Adjusted p: paired t test, "
    "{adjusted}. Further seeds: number of seeds to add for 80% power to detect {size}, at the smallest alpha of "
    "Holm's procedure and the upper limit of the one-sided 80% interval of the sd."
)
HOLM = "adjusted over all rows (Holm)"
GATEKEEPING = (
    "adjusted within the primary contrasts (Holm); secondary ones are tested only after all primary ones are shown, "
    "and their adjusted p is never below the largest primary one (serial gatekeeping)"
)
SHARED = (
    "n: number of independent replicates; runs that share a {shared} are averaged to one observation. With one "
    "replicate the verdict is 'not replicated'."
)
EQUAL = (
    "The sides of {pairs} have the same value with every seed: their interval has no width, and shows no equality "
    "beyond these runs."
)
MARGINS = (
    "Margin: two one-sided paired t tests at 5%, adjusted over all margins (Holm). Equivalent: the difference is shown "
    "to be within ± the margin. Non-inferior: the variant is shown not to be worse by more than the margin. "
    "Margins: {margins}."
)
EFFICIENCY = (
    "Level at which against reaches the mean of the variant, interpolated between the levels of its monotone curve on "
    "the log scale. 95% CI: t interval of the log ratio, with a jackknife over independent pairs. Not tested."
)
HOLDOUT_PREFIX = "final/holdout_"
HOLDOUT = (
    "The holdout is a part of the training split that is used neither for training nor for choosing models. It has the "
    "distribution of the training data, which may differ from that of the official test set."
)
PUBLISHED = (
    "Compatible: the 95% CI contains the published difference and not 0. Not compatible: it does not contain the "
    "published difference. Cannot tell: it contains both, or no claim is made here. Perplexities are compared as "
    "ratios."
)
TESTED_FIRST = ", planned after a fixed test of {seeds} seeds, whose error p and interval include"
DOCUMENTS = (
    "The test documents are a sample too. 95% CI for new seeds and new documents of the same kind: two crossed random "
    "factors, unadjusted. Shares of the variance of the mean difference; the rest is the interaction of seeds and "
    "documents."
)
LOOKED = (
    "Difference: variant minus against, paired by seed. Interim analyses after {looks} seeds{planned}; a comparison "
    "gets no more seeds once it is decided. 95% CI: repeated confidence interval, unadjusted. Adjusted p: repeated "
    "p-value, {adjusted}. Both are valid for any number of interim analyses. Rule: {rule}. n: "
    "number of seeds at the decision, or all. The means above are over all seeds, not adjusted for interim analyses."
)


def markdown_report(
    runs: pd.DataFrame,
    spec: ReportSpec,
    tuning: pd.DataFrame | None = None,
    searched: Mapping[str, Any] | None = None,
) -> str:
    """Return the content of table.md: question, results, comparisons, search, cost and provenance."""
    rows = compare_variants(runs, spec)
    parts = [
        f"# {spec.name}",
        spec.question,
        *claim_part(spec),
        *registration_part(spec),
        f"**{headline(rows, spec)}**",
        f"## {spec.metric_label}",
        f"Mean ± sd over seeds (number of seeds); {direction_words(spec)}.",
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
    """Return a report without its title and with the verdict before the claim, for pages that fold long texts.

    >>> verdict_first("# starts\\n\\nDoes it help?\\n\\n> It does.\\n\\n**Not shown.**\\n\\n## Runs\\n\\n- 2\\n")
    'Does it help?\\n\\n**Not shown.**\\n\\n> It does.\\n\\n## Runs\\n\\n- 2\\n'
    """
    opening, heading, found = report.partition("\n\n## ")
    _, question, *claim, verdict = opening.split("\n\n")
    return "\n\n".join([question, verdict, *claim]) + heading + found


def registration_part(spec: ReportSpec) -> list[str]:
    """Return when the experiment was registered, and what has changed since."""
    if not spec.registered:
        return []
    changed = (
        f" Changed since: {'; '.join(spec.changed)}. Contrasts that this affects are exploratory."
        if spec.changed
        else ""
    )
    return [f"{spec.registered}{changed}"]


def claim_part(spec: ReportSpec) -> list[str]:
    """Return the claim and its source as a quotation."""
    quoted = [f"> {text}" for text in (spec.claim, spec.source) if text]
    return ["\n>\n".join(quoted)] if quoted else []


def direction_words(spec: ReportSpec) -> str:
    """Return whether lower or higher is better, in words."""
    return "lower is better" if spec.lower_is_better else "higher is better"


def result_cells(runs: pd.DataFrame, spec: ReportSpec) -> Cells:
    """Return a row per variant and a column per level."""
    found = summarize_variants(runs, spec)
    header = ["variant", *(f"{spec.level_name} {level_words(level)}" if level else "result" for level in spec.levels)]
    void = {place: f"; void: {reason}" for place, reason in find_failed_checks(runs, spec).items()}
    cells = {place: mean_sd(each, spec) + void.get(place, "") for place, each in found.items()}
    return header, [[v, *(cells[v, level] for level in spec.levels)] for v in spec.variants]


def checks_part(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Return the manipulation checks with the number of runs that pass, and the diverged runs."""
    header = ["variant", spec.level_name or "level", "check", "passed", "values by seed"]
    rows = check_rows(runs, spec)
    if spec.levels == ("",):
        header, rows = [header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]
    parts = ["## Checks", markdown(header, rows)] if rows else []
    lines = "\n".join(f"- {line}" for line in diverged_lines(runs))
    return [*parts, "## Diverged", f"Excluded from means and comparisons:\n\n{lines}"] if lines else parts


def holdout_part(rows: Sequence[Comparison], runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Return the comparisons on the holdout beside those on the test set, if the runs have a holdout."""
    column = spec.metric.replace("final/", HOLDOUT_PREFIX, 1)
    if spec.metric.startswith(HOLDOUT_PREFIX) or column not in runs.columns or runs[column].isna().any() or not rows:
        return []
    on_holdout = compare_variants(runs, replace(spec, metric=column, margins=()))
    levels = [spec.level_name or "level"] if spec.levels != ("",) else []
    cells = [
        [
            f"{row.variant} - {row.against}",
            *([level_words(row.level)] if levels else []),
            *(difference_words(each, spec) for each in (row, other)),
            "same" if row.verdict == other.verdict else f"{row.verdict}; holdout: {other.verdict}",
        ]
        for row, other in zip(rows, on_holdout, strict=True)
    ]
    header = ["pair", *levels, "test set", "holdout", "verdict"]
    return ["## Holdout", HOLDOUT, markdown(header, cells)]


def efficiency_part(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Return the table of label efficiency, if declared."""
    cells = [
        [each.variant, level_words(each.level), each.against, *format_ratio(each), str(each.n)]
        for each in label_efficiency(runs, spec)
    ]
    header = ["variant", spec.level_name, "against", f"{spec.level_name} needed", "ratio", "95% CI", "n"]
    return ["## Label efficiency", EFFICIENCY, markdown(header, cells)] if cells else []


def describe_tests(rows: Sequence[Comparison], spec: ReportSpec) -> str:
    """Return the text that defines the columns of the comparisons."""
    adjusted = GATEKEEPING if spec.primary else HOLM
    if spec.looks:
        planned = TESTED_FIRST.format(seeds=spec.tested_seeds) if spec.tested_seeds else ", as planned"
        parts = [LOOKED.format(looks=", ".join(map(str, spec.looks)), planned=planned, rule=RULE, adjusted=adjusted)]
    else:
        smallest = spec.smallest_difference
        size = f"a difference of {smallest:g} (the smallest of interest)" if smallest else "the observed difference"
        parts = [TESTS.format(adjusted=adjusted, size=size)]
    equal = [
        f"{row.variant} - {row.against}{where_words((row.level,), spec)}"
        for row in rows
        if row.result.n > 1 and row.result.difference == row.result.sd == 0
    ]
    if equal:
        parts.append(EQUAL.format(pairs=listed(equal)))
    if shared := sorted({row.shared for row in rows if row.shared}):
        parts.append(SHARED.format(shared=listed(shared)))
    if spec.margins:
        margins = (f"{m.value:g} for {m.variant} - {m.against} ({m.reason})" for m in spec.margins)
        parts.append(MARGINS.format(margins="; ".join(margins)))
    return " ".join(parts)


def format_extra_metrics(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Return a table per further metric, which is not tested."""
    parts = []
    for extra in spec.extra_metrics:
        shown = replace(spec, metric=extra.metric, metric_label=extra.label, metric_scale=extra.scale)
        parts += [f"## {extra.label}", "Further metric, not tested.", markdown(*result_cells(runs, shown))]
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
    header = ["variant", "against", *levels, spec.difference_label, "95% CI", "seeds", "documents", "n documents"]
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
    """Return a summary as "mean ± sd (n)"; "none (0)" if all runs diverged."""
    if not summary.n:
        return "none (0)"
    sd = "" if math.isnan(summary.sd) else f" ± {summary.sd:.{spec.decimals}f}"
    return f"{summary.mean:.{spec.decimals}f}{sd} ({summary.n})"


def comparison_cells(rows: Sequence[Comparison], spec: ReportSpec) -> Cells:
    """Return a row per comparison; columns that do not apply are omitted."""
    levels = [spec.level_name or "level"] if spec.levels != ("",) else []
    family = ["family"] if spec.primary else []
    margin = ["margin"] if spec.margins else []
    numbers = [spec.difference_label, "95% CI", "adjusted p"]
    header = ["variant", "against", *levels, *family, *numbers, "verdict", *margin, "n"]
    if spec.looks:  # the number of seeds is limited by the last look
        return header, [comparison_row(row, spec)[:-1] for row in rows]
    return [*header, "further seeds"], [comparison_row(row, spec) for row in rows]


def comparison_row(row: Comparison, spec: ReportSpec) -> list[str]:
    """Return the cells of one comparison."""
    result = row.result
    interval = "" if math.isnan(result.low) else f"{signed(result.low, spec)} to {signed(result.high, spec)}"
    level = [level_words(row.level)] if spec.levels != ("",) else []
    difference = signed(result.difference, spec) if result.n else ""
    numbers = [difference, interval, format_p_value(row.corrected_p)]
    family = ["primary" if row.is_primary else "secondary"] if spec.primary else []
    margin = [format_margin(row)] if spec.margins else []
    exploratory = ", exploratory" if (row.variant, row.against, row.level) in spec.exploratory else ""
    verdict = [verdict_words(row) + exploratory, *margin, format_n(row), format_further_seeds(row)]
    return [row.variant, row.against, *level, *family, *numbers, *verdict]


def verdict_words(row: Comparison) -> str:
    """Return a verdict, with the reason if it is "not replicated"."""
    return f"not replicated: {row.why}" if row.verdict == "not replicated" else row.verdict


def format_margin(row: Comparison) -> str:
    """Return the verdict on a margin with its p; empty if no margin is declared."""
    if row.margin is None:
        return ""
    p = format_p_value(row.margin_p)
    return f"{row.margin_verdict} (p {p})" if p else row.margin_verdict


def format_n(row: Comparison) -> str:
    """Return the number of independent observations, and the number of pairs if that is larger."""
    return str(row.result.n) if row.result.n >= row.pairs else f"{row.result.n} ({row.pairs} pairs)"


def signed(difference: float, spec: ReportSpec) -> str:
    """Return a difference with its sign; what rounds to zero has a plus."""
    return f"{difference:+z.{spec.decimals}f}"


def format_p_value(p: float) -> str:
    """Return a p-value with four decimals; empty if nan."""
    return "" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def format_further_seeds(row: Comparison) -> str:
    """Return the number of seeds to add; "decided" if the verdict is better or worse."""
    if row.verdict in SHOWN:
        return "decided"
    if row.further_seeds is None:
        return "unknown"
    return f"more than {MOST_SEEDS}" if row.further_seeds > MOST_SEEDS else str(row.further_seeds)


def published_part(rows: Sequence[Comparison], runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Return the table of published differences, if any, and whether those found here are compatible."""
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
    header = [spec.difference_label, *levels, "here", "published", "compatible", *doses, "published metric", "source"]
    return ["## Published", PUBLISHED, markdown(header, cells)] if cells else []


def difference_words(row: Comparison, spec: ReportSpec) -> str:
    """Return a difference with its interval."""
    if not row.result.n:
        return "-"
    low, high = row.result.low, row.result.high
    interval = "" if math.isnan(low) else f" ({signed(low, spec)} to {signed(high, spec)})"
    return signed(row.result.difference, spec) + interval


def tuning_part(tuning: pd.DataFrame | None, searched: Mapping[str, Any] | None = None) -> list[str]:
    """Return the section on the hyperparameter search: description and best trials.

    tuning     trials of the search (tuning.csv)
    searched   facts of the search (tuning.json), if any
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
    return ["## Hyperparameter search", tuning_text(tuning, searched or {}), markdown(header, cells)]


def chosen_words(row: Mapping[Any, Any], searched: Mapping[str, Any]) -> str:
    """Return "chosen", with the fields whose value is at an edge of its range."""
    space = {**searched.get("space", {}), **searched.get("space_of", {}).get(row["variant"], {})}
    fields = [path for path, values in space.items() if path in row and at_edge(values, row[path])]
    return f"chosen, at the edge of {listed(fields)}" if fields else "chosen"


def tuning_text(tuning: pd.DataFrame, searched: Mapping[str, Any]) -> str:
    """Return a description of the search: fields, ranges, budget, and rule of choice."""
    space = {path: values_words(values) for path, values in searched.get("space", {}).items()}
    fields = ", ".join(f"{f} ({space[f]})" if f in space else f for f in fields_of(tuning))
    at = "".join(f" at {path} = {format_value(level)}" for path, level in searched.get("level", {}).items())
    tries = " or ".join(str(n) for n in sorted(set(tuning.groupby("variant").size())))
    words = measure_words(measure_of(tuning))[0].removesuffix(" (%)")
    extreme = "lowest" if lower_is_better(tuning) else "highest"
    parts = [
        f"Tuned{at}: {fields}.",
        *(f"{variant}: {own_space(found)}." for variant, found in searched.get("space_of", {}).items()),
        *(
            f"Searched before in {own_space(found)}, with a best trial at an edge; all trials count."
            for found in searched.get("narrower_spaces", [])
        ),
        f"{tries} trials per variant, each with {tuning['seeds'].max()} seeds that no comparison uses.",
        f"Chosen: the {extreme} mean {words}.",
    ]
    if "state" in tuning.columns:
        pruned, diverged = (int((tuning["state"] == state).sum()) for state in (PRUNED, DIVERGED))
        parts += [
            "The first trial of a variant has its previous hyperparameters; the others are sampled by a "
            "tree-structured Parzen estimator.",
            f"Of {len(tuning)} trials, pruned: {pruned}; diverged: {diverged}.",
            f"Shown: the {TRIALS_SHOWN} best trials of each variant.",
        ]
    return " ".join(parts)


def own_space(space: Mapping[str, Any]) -> str:
    """Return the search space of a single variant in words."""
    return ", ".join(f"{path} ({values_words(values)})" for path, values in space.items())


def format_value(value: object) -> str:
    """Return a config value as a cell."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def format_facts(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Return lines on the number of runs, data, compute time and commits."""
    seeds = ", ".join(str(seed) for seed in spec.seeds)
    full = len(spec.variants) * len(spec.levels) * len(spec.seeds)
    saved = [f"Interim analyses saved {full - len(runs)} of {full} runs."]
    shared = len(runs) - runs["run_id"].nunique()
    levels = f", {len(spec.levels)} levels of {spec.level_name}" if spec.levels != ("",) else ""
    return [
        f"{len(runs)} runs at scale `{spec.scale}`: {len(spec.variants)} variants{levels}, seeds {seeds}.",
        *(saved if spec.looks else []),
        *(
            [f"{shared} of them reuse the run of another variant or level: no stage reads the fields that differ."]
            if shared
            else []
        ),
        *data_line(runs),
        f"Compute time {format_duration(runs['computed_seconds'].sum())}; "
        f"reused stages saved {format_duration(runs['reused_seconds'].sum())}.",
        commit_line(runs),
    ]


def data_line(runs: pd.DataFrame) -> list[str]:
    """Return a line with the named sets that the runs read; paths of own files are not shown."""
    parts = []
    pretraining_only = set(column(runs, "param/last_stage")) == {"pretrained"}
    for role in ("general",) if pretraining_only else ("target", "general", "unlabelled"):
        names = [column(runs, f"param/{role}.{field}") for field in ("name", "split", "path")]
        sets = {f"{name} ({split})" if not path else "own files" for name, split, path in zip(*names, strict=True)}
        if given := sorted(text for text in sets if not text.startswith(" (")):
            parts.append(f"{role} {' and '.join(given)}")
    return [f"Data: {'; '.join(parts)}."] if parts else []


def column(runs: pd.DataFrame, name: str) -> list[str]:
    """Return a text column; empty texts if the column is missing."""
    return list(runs[name]) if name in runs.columns else [""] * len(runs)


def commit_line(runs: pd.DataFrame) -> str:
    """Return a line with the commits of the runs and the number of runs with uncommitted changes."""
    counts = runs["commit"].str[:10].replace("", "unknown").value_counts().sort_index()
    parts = [f"{commit} ({count} runs)" if len(counts) > 1 else str(commit) for commit, count in counts.items()]
    dirty = int(runs["dirty"].sum())
    uncommitted = f"; {dirty} of {len(runs)} runs had uncommitted changes" if dirty else ""
    return f"Commit {', '.join(parts)}{uncommitted}."


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars in cells are escaped, newlines become spaces."""
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (header, *rows)]
    first, *others = (f"| {' | '.join(row)} |" for row in lines)
    return "\n".join([first, f"|{'---|' * len(header)}", *others])


def console_parts(runs: pd.DataFrame, spec: ReportSpec) -> list[RenderableType]:
    """Return the tables and the verdict for the terminal. Raises IncompleteError if runs are missing."""
    runs = check_grid(runs, spec)
    rows = compare_variants(runs, spec)
    header, cells = result_cells(runs, spec)
    n, repeated = (seeds_words(rows), "repeated ") if spec.looks and rows else (str(len(spec.seeds)), "")
    return [
        Text(spec.question, style="bold"),
        Text(f"{spec.metric_label}, mean ± sd over {n} seeds; {direction_words(spec)}"),
        FittedTable(header, [[cell.removesuffix(f" ({n})") for cell in row] for row in cells]),
        Text(f"\nVariant minus against, paired by seed; {repeated}95% CI; {repeated}p adjusted (Holm)"),
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
    """Return the comparisons in fewer columns: the pair in one, further seeds beside the verdict."""
    header, cells = comparison_cells(rows, spec)
    found = [dict(zip(header, row, strict=True)) for row in cells]
    hidden = {"variant", "against", "further seeds", *(() if spec.looks or any(row.shared for row in rows) else ("n",))}
    shown = [name for name in header if name not in hidden]
    for row in found:
        more = row.get("further seeds", "")
        row["verdict"] += f" (+{more} seeds)" if more.isdecimal() and more != "0" else ""
    pairs = [[f"{row['variant']} - {row['against']}", *(row[name] for name in shown)] for row in found]
    return ["pair", *(name.removesuffix(" (points)").removeprefix("adjusted ") for name in shown)], pairs


def print_report(runs: pd.DataFrame, spec: ReportSpec, console: Console | None = None) -> None:
    """Print tables and verdict."""
    (console or Console()).print(Group(*console_parts(runs, spec)))
