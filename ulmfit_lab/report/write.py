"""Write a report: runs.csv, table.md, the figure, and a sidecar (figure.json) with its inputs and digests."""

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
from ulmfit_lab.report.compute_figure import draw_compute
from ulmfit_lab.report.figures import draw, figure_bytes
from ulmfit_lab.report.scatter import draw_scatter
from ulmfit_lab.report.tables import markdown_report
from ulmfit_lab.utils.files import atomic_write, json_text

DATA = "data/"
"""Prefix of columns with digests of data sets."""

__all__ = ["Published", "ReportSpec", "read_runs", "sweep_metrics", "write_report"]


def write_report(
    runs: pd.DataFrame,
    spec: ReportSpec,
    folder: Path,
    tuning: pd.DataFrame | None = None,
    searched: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the files of a report; the same runs, or their runs.csv, give the same bytes.

    Raises IncompleteError, and writes nothing, if runs are missing.
    """
    return write_files(report_files(check_grid(runs, spec), spec, tuning, searched), folder)


def report_files(
    table: pd.DataFrame, spec: ReportSpec, tuning: pd.DataFrame | None, searched: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """Return file name -> bytes of all files of a report on a complete grid."""
    files = text_files(table, spec, tuning, searched) | picture_files(table, spec)
    return files | {"figure.json": sidecar(table, spec, digests(files)).encode()}


def write_files(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write files to a folder, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in files]


def text_files(
    table: pd.DataFrame, spec: ReportSpec, tuning: pd.DataFrame | None, searched: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """Return file name -> bytes of runs.csv and table.md."""
    tables = markdown_report(table, spec, tuning, searched)
    return {"runs.csv": csv_text(table).encode(), "table.md": tables.encode()}


def picture_files(table: pd.DataFrame, spec: ReportSpec, formats: Sequence[str] = ("svg", "png")) -> dict[str, bytes]:
    """Return file name -> bytes of the figure: a scatter plot for associations, or compute, otherwise means."""
    picture = draw_scatter if spec.associations else draw_compute if spec.against_compute else draw
    return figure_bytes(table, spec, picture, formats)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return file name -> sha256."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def sidecar(runs: pd.DataFrame, spec: ReportSpec, written: Mapping[str, str]) -> str:
    """Return the sidecar as JSON: inputs of the report and digests of its files.

    written   file name -> sha256, including runs.csv
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
    """Return the fields of the spec; fields that older reports lack are included only if set."""
    newer = {"associations", "also", "looks", "checks", "primary", "margins", "smallest_difference", "efficiency"}
    newer |= {"registered", "changed", "exploratory", "tested_seeds", "documents", "against_compute"}
    return {name: value for name, value in dataclasses.asdict(spec).items() if name not in newer or value}


def data_digests(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Return data set -> abbreviated digests of its texts in the runs."""
    columns = [str(name) for name in runs.columns if str(name).startswith(DATA)]
    return {name.removeprefix(DATA): sorted({str(v) for v in runs[name] if v}) for name in columns}


def sweep_metrics(runs: pd.DataFrame, spec: ReportSpec) -> dict[str, float]:
    """Return mean, sd and n of every variant and level, for the parent run; without sd for a single seed."""
    found: dict[str, float] = {}
    for (variant, level), summary in summarize_variants(check_grid(runs, spec), spec).items():
        if not summary.n:
            continue
        name = f"{variant} at {level}" if level else variant
        found |= {f"mean/{name}": summary.mean, f"n/{name}": float(summary.n)}
        found |= {f"sd/{name}": summary.sd} if summary.n > 1 else {}
    return found
