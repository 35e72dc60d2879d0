"""Write a report: runs.csv, table.md, the figure, and a sidecar that says what the figure was made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ulmfit_lab.config import fingerprint
from ulmfit_lab.files import replacing
from ulmfit_lab.report.compare import summaries
from ulmfit_lab.report.figures import draw, figure_bytes
from ulmfit_lab.report.runs import check_grid, csv_text, read_runs
from ulmfit_lab.report.scatter import draw_scatter
from ulmfit_lab.report.spec import Published, ReportSpec
from ulmfit_lab.report.tables import markdown_report

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
    table = check_grid(runs, spec)
    data = csv_text(table).encode()
    files = {
        "runs.csv": data,
        "table.md": markdown_report(table, spec, tuning, searched).encode(),
        **figure_bytes(table, spec, draw_scatter if spec.associations else draw),
        "figure.json": sidecar(table, spec, data).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in files]


def sidecar(runs: pd.DataFrame, spec: ReportSpec, data: bytes) -> str:
    """What the figure was made from, as JSON."""
    facts = {
        "experiment": spec.name,
        "scale": spec.scale,
        "measure": spec.measure,
        "declaration": fingerprint(declared(spec)),
        "runs_sha256": hashlib.sha256(data).hexdigest(),
        "commits": sorted(set(runs["commit"])),
        "dirty_runs": int(runs["dirty"].sum()),
        "runs": list(runs["run_id"]),
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def declared(spec: ReportSpec) -> dict[str, Any]:
    """All that the report was told; associations only where there are any, as older reports knew of none."""
    return {name: value for name, value in dataclasses.asdict(spec).items() if name != "associations" or value}


def sweep_metrics(runs: pd.DataFrame, spec: ReportSpec) -> dict[str, float]:
    """Mean, sd and n of every variant and level, for the sweep's parent run; an sd of one seed is left out."""
    found: dict[str, float] = {}
    for (variant, level), summary in summaries(check_grid(runs, spec), spec).items():
        name = f"{variant} at {level}" if level else variant
        found |= {f"mean/{name}": summary.mean, f"n/{name}": float(summary.n)}
        found |= {f"sd/{name}": summary.sd} if summary.n > 1 else {}
    return found
