"""The report's tables, as Markdown for the repository and as text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from ulmfit_lab.report.compare import Row, comparisons, headline, summaries
from ulmfit_lab.report.spec import ReportSpec
from ulmfit_lab.report.statistics import Summary


def markdown_report(runs: pd.DataFrame, spec: ReportSpec, tuning: pd.DataFrame | None = None) -> str:
    """The whole table.md: question, results, comparisons, recipes, cost and provenance. Free of dates and paths."""
    rows = comparisons(runs, spec)
    parts = [
        f"# {spec.name}",
        spec.question,
        *([f"> {spec.claim}\n>\n> {spec.source}"] if spec.claim else []),
        f"**{headline(rows, spec)}**",
        f"## {spec.measure_label}",
        "Mean ± sd over seeds, with the number of seeds in brackets.",
        markdown(*result_cells(runs, spec)),
        "## Comparisons",
        "Paired by seed; 95% t interval; p corrected over this table (Holm). Further seeds: what a paired t test would "
        "need to show a difference of the size observed, four times in five.",
        markdown(*comparison_cells(rows, spec)),
        *published_part(rows, spec),
        *tuning_part(tuning),
        "## Runs",
        cost_line(runs, spec),
        *(f"- {note}" for note in spec.notes),
    ]
    return "\n\n".join(parts) + "\n"


def result_cells(runs: pd.DataFrame, spec: ReportSpec) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a variant a row, a level a column."""
    found = summaries(runs, spec)
    unit = f" {spec.level_name}" if spec.level_name else ""
    header = ["variant", *(f"{level}{unit}" if level else "result" for level in spec.levels)]
    return header, [[v, *(mean_sd(found[v, level]) for level in spec.levels)] for v in spec.variants]


def mean_sd(summary: Summary) -> str:
    """A summary in a cell."""
    sd = "" if math.isnan(summary.sd) else f" ± {summary.sd:.2f}"
    return f"{summary.mean:.2f}{sd} ({summary.n})"


def comparison_cells(rows: Sequence[Row], spec: ReportSpec) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the comparisons."""
    header = ["variant", "against", spec.level_name or "level", "difference", "95% interval", "p", "verdict", "n"]
    return [*header, "further seeds"], [comparison_row(row) for row in rows]


def comparison_row(row: Row) -> list[str]:
    """One comparison in cells."""
    result = row.result
    interval = "" if math.isnan(result.low) else f"{result.low:+.2f} to {result.high:+.2f}"
    p = "" if math.isnan(row.corrected_p) else f"{row.corrected_p:.4f}" if row.corrected_p >= 1e-4 else "< 0.0001"
    decided = row.verdict in ("better", "worse")
    further = "" if decided else "> 1000" if row.further_seeds is None else str(row.further_seeds)
    cells = [row.variant, row.against, row.level, f"{result.difference:+.2f}", interval, p, row.verdict]
    return [*cells, str(result.n), further]


def published_part(rows: Sequence[Row], spec: ReportSpec) -> list[str]:
    """Published differences beside ours, and whether their directions agree."""
    cells = []
    for row in spec.published:
        for ours in rows:
            if {ours.variant, ours.against} == {row.variant, row.against}:
                sign = 1 if ours.variant == row.variant else -1
                difference = sign * ours.result.difference
                agrees = "agrees" if difference * row.value > 0 else "disagrees"
                if ours.verdict not in ("better", "worse"):
                    agrees = f"{agrees} ({ours.verdict})"
                label = f"{row.variant} - {row.against}"
                cells.append([label, ours.level, f"{difference:+.2f}", f"{row.value:+.2f}", agrees, row.what, row.source])
    if not cells:
        return []
    header = ["difference", spec.level_name or "level", "ours", "published", "direction", "published on", "source"]
    return ["## Published", markdown(header, cells)]


def tuning_part(tuning: pd.DataFrame | None) -> list[str]:
    """What was tuned, on what, with which budget."""
    if tuning is None:
        return []
    fields = [c for c in tuning.columns if c not in ("variant", "valid_error", "seeds")]
    best = set(tuning.loc[tuning.groupby("variant")["valid_error"].idxmin()].index)
    cells = [
        [row["variant"], *(f"{row[f]:g}" for f in fields), f"{100 * row['valid_error']:.2f}", "yes" if i in best else ""]
        for i, row in tuning.iterrows()
    ]
    text = (
        f"Every variant tried the same {len(tuning) // tuning['variant'].nunique()} recipes, each with "
        f"{tuning['seeds'].iloc[0]} seeds that no comparison uses; the lowest mean validation error won."
    )
    return ["## Recipes", text, markdown(["variant", *fields, "validation error (%)", "chosen"], cells)]


def cost_line(runs: pd.DataFrame, spec: ReportSpec) -> str:
    """How many runs, what they took, and which code made them."""
    commits = ", ".join(sorted({str(c)[:10] for c in runs["commit"] if str(c)})) or "unknown"
    spent, saved = (float(runs[c].astype(float).sum()) / 60 for c in ("computed_seconds", "reused_seconds"))
    dirty = " (with uncommitted changes)" if (runs["dirty"].astype(str).str.lower() == "true").any() else ""
    return (
        f"{len(runs)} runs at scale `{spec.scale}`, seeds {min(spec.seeds)} to {max(spec.seeds)}; {spent:.1f} minutes of "
        f"computing, {saved:.1f} minutes saved by reusing stages; commit {commits}{dirty}."
    )


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def print_report(runs: pd.DataFrame, spec: ReportSpec, console: Console | None = None) -> None:
    """The tables and the verdict on a terminal."""
    console = console or Console()
    console.print(f"\n[bold]{spec.question}[/bold]\n{spec.measure_label}, mean ± sd (seeds)")
    console.print(text_table(*result_cells(runs, spec)))
    rows = comparisons(runs, spec)
    console.print("Paired by seed, 95% interval, Holm-corrected p")
    console.print(text_table(*comparison_cells(rows, spec)))
    console.print(headline(rows, spec), style="bold")


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for the terminal."""
    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table
