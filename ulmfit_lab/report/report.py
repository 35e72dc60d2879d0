"""Write a report: runs.csv, table.md, the figure, and a sidecar that says what the figure was made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pandas as pd

from ulmfit_lab.config import fingerprint
from ulmfit_lab.report.compare import check_grid, summaries
from ulmfit_lab.report.figures import write_figure
from ulmfit_lab.report.spec import ReportSpec
from ulmfit_lab.report.tables import markdown_report

TEXT_COLUMNS = ("run_id", "status", "experiment", "scale", "variant", "level", "cell", "commit", "dirty")


def write_report(
    runs: pd.DataFrame, spec: ReportSpec, folder: Path, tuning: pd.DataFrame | None = None
) -> list[Path]:
    """Write the report's files into a folder; the same runs give the same bytes.

    Raises IncompleteError, and writes nothing, for a grid with holes.
    """
    check_grid(runs, spec)
    folder.mkdir(parents=True, exist_ok=True)
    ordered = in_order(runs, spec)
    table = folder / "runs.csv"
    write_text(table, ordered.to_csv(index=False, lineterminator="\n"))
    # what is drawn is what a clone would read back, so that both make the same bytes
    runs = read_runs(table)
    write_text(folder / "table.md", markdown_report(runs, spec, tuning))
    figures = write_figure(runs, spec, folder)
    write_text(folder / "figure.json", sidecar(runs, spec, table))
    return [table, folder / "table.md", *figures, folder / "figure.json"]


def in_order(runs: pd.DataFrame, spec: ReportSpec) -> pd.DataFrame:
    """The runs in the order of seeds, levels and variants, and their columns sorted behind the identity."""
    ranks = {"seed": spec.seeds, "level": spec.levels, "variant": spec.variants}
    keys = {name: {str(v): i for i, v in enumerate(order)} for name, order in ranks.items()}
    ranked = runs.assign(**{f"rank {n}": runs[n].astype(str).map(keys[n]) for n in ranks})
    ordered = ranked.sort_values([f"rank {name}" for name in ranks], kind="stable")
    identity = [c for c in (*TEXT_COLUMNS[:6], "seed", *TEXT_COLUMNS[6:]) if c in runs]
    return ordered[identity + sorted(c for c in runs.columns if c not in identity)]


def read_runs(path: Path) -> pd.DataFrame:
    """Runs as `write_report` kept them: numbers exactly, text as text."""
    header = pd.read_csv(path, nrows=0).columns
    text = {c: str for c in header if c in TEXT_COLUMNS or c.startswith(("param/", "stage/"))}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={c: [""] for c in header if c not in text})


def sidecar(runs: pd.DataFrame, spec: ReportSpec, table: Path) -> str:
    """What the figure was made from, as JSON."""
    facts = {
        "experiment": spec.name,
        "scale": spec.scale,
        "measure": spec.measure,
        "runs": list(runs["run_id"]),
        "commits": sorted({str(c) for c in runs["commit"]}),
        "runs_sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
        "declaration": fingerprint(dataclasses.asdict(spec)),
    }
    return json.dumps(facts, indent=1) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def sweep_metrics(runs: pd.DataFrame, spec: ReportSpec) -> dict[str, float]:
    """Mean, sd and n of every variant and level, for the sweep's parent run."""
    found: dict[str, float] = {}
    for (variant, level), summary in summaries(runs, spec).items():
        name = f"{variant} at {level}" if level else variant
        found |= {f"mean/{name}": summary.mean, f"sd/{name}": summary.sd, f"n/{name}": float(summary.n)}
    return found
