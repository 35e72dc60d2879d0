"""Write a report: runs.csv, table.md, the figure, and a sidecar that says what the figure was made from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ulmfit_lab.analysis.comparisons import summarize_variants
from ulmfit_lab.analysis.run_table import check_grid, csv_text, read_runs
from ulmfit_lab.analysis.spec import Published, ReportSpec
from ulmfit_lab.config.paths import fingerprint
from ulmfit_lab.report.figures import draw, figure_bytes
from ulmfit_lab.report.scatter import draw_scatter
from ulmfit_lab.report.tables import markdown_report
from ulmfit_lab.utils.files import atomic_write, json_text

DATA = "data/"
"""How the names of columns begin that hold the digest of a text."""

__all__ = ["Published", "ReportSpec", "read_runs", "sweep_metrics", "write_report"]


def write_report(
    runs: pd.DataFrame,
    spec: ReportSpec,
    folder: Path,
    tuning: pd.DataFrame | None = None,
    searched: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the report's files into a folder; the same runs, or the runs.csv made of them, give the same bytes.

    Raises IncompleteError, and writes nothing, for a grid with holes.
    """
    return write_files(report_files(check_grid(runs, spec), spec, tuning, searched), folder)


def report_files(
    table: pd.DataFrame, spec: ReportSpec, tuning: pd.DataFrame | None, searched: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """File name -> bytes of the whole report on the runs of a complete grid."""
    files = text_files(table, spec, tuning, searched) | picture_files(table, spec)
    return files | {"figure.json": sidecar(table, spec, digests(files)).encode()}


def write_files(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write files into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in files]


def text_files(
    table: pd.DataFrame, spec: ReportSpec, tuning: pd.DataFrame | None, searched: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """File name -> bytes of the runs of a complete grid and of the tables made from them."""
    tables = markdown_report(table, spec, tuning, searched)
    return {"runs.csv": csv_text(table).encode(), "table.md": tables.encode()}


def picture_files(table: pd.DataFrame, spec: ReportSpec, formats: Sequence[str] = ("svg", "png")) -> dict[str, bytes]:
    """File name -> bytes of the figure: what was measured, or what is associated with it."""
    return figure_bytes(table, spec, draw_scatter if spec.associations else draw, formats)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """File name -> sha256 of its bytes."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def sidecar(runs: pd.DataFrame, spec: ReportSpec, written: Mapping[str, str]) -> str:
    """What the figure was made from, and what was written with it, as JSON.

    written: file name -> sha256, runs.csv among them.
    """
    facts = {
        "experiment": spec.name,
        "scale": spec.scale,
        "measure": spec.metric,
        "declaration": fingerprint(declared(spec)),
        "runs_sha256": written["runs.csv"],
        "files": {name: digest for name, digest in sorted(written.items()) if name != "runs.csv"},
        "data": data_digests(runs),
        "commits": sorted(set(runs["commit"])),
        "dirty_runs": int(runs["dirty"].sum()),
        "runs": list(runs["run_id"]),
    }
    return json_text(facts, indent=1, ensure_ascii=False) + "\n"


def declared(spec: ReportSpec) -> dict[str, Any]:
    """All that the report was told; what older reports did not know of only where it says something."""
    newer = {"associations", "also", "looks", "checks", "primary", "margins", "smallest_difference", "efficiency"}
    newer |= {"registered", "changed", "exploratory", "tested_seeds", "documents"}
    return {name: value for name, value in dataclasses.asdict(spec).items() if name not in newer or value}


def data_digests(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Data set -> the digests (their first characters) of all texts of that name that the runs read."""
    named = [str(name) for name in runs.columns if str(name).startswith(DATA)]
    return {name.removeprefix(DATA): sorted({str(v) for v in runs[name] if v}) for name in named}


def sweep_metrics(runs: pd.DataFrame, spec: ReportSpec) -> dict[str, float]:
    """Mean, sd and n of every variant and level, for the sweep's parent run; an sd of one seed is left out."""
    found: dict[str, float] = {}
    for (variant, level), summary in summarize_variants(check_grid(runs, spec), spec).items():
        if not summary.n:
            continue
        name = f"{variant} at {level}" if level else variant
        found |= {f"mean/{name}": summary.mean, f"n/{name}": float(summary.n)}
        found |= {f"sd/{name}": summary.sd} if summary.n > 1 else {}
    return found
