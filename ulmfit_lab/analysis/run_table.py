"""Table of runs, one row per finished run: column types, CSV file, and check for a complete grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ulmfit_lab.analysis.interim import Cell, replay_looks
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.config.paths import rename_fields
from ulmfit_lab.utils.errors import DataError, IncompleteError, MismatchError

IDENTITY = (
    "run_id", "status", "experiment", "scale", "variant", "level", "seed", "commit", "dirty", "cell",
    "computed_seconds", "reused_seconds",
)  # fmt: skip
FINISHED = "FINISHED"
METRICS = ("final/", "best/", "pretraining/", "fine_tuning/")
VOCABULARY = "param/vocabulary"
"""Column with the digest of the language model's vocabulary."""
LAST_STAGE = "param/last_stage"
"""Column with the last stage of a run, whose loss is `final/loss`."""
DIVERGED = "diverged"
"""Column with the reason of divergence; missing if no run diverged."""
SHOWN = 3
"""Maximum number of runs that a message names."""


def runs_frame(runs: pd.DataFrame) -> pd.DataFrame:
    """Convert a table of runs to a fixed order and fixed types of columns.

    `IDENTITY` comes first, then the other columns by name. Seeds are int64, seconds and metrics float64 (nan: not
    measured), `dirty` bool, all others text ("": missing). Raises DataError for a missing column or an invalid number.
    """
    missing = [name for name in IDENTITY if name not in runs.columns]
    if missing:
        raise DataError(f"The table of runs has no column {', '.join(missing)}; create it again from the tracked runs.")
    names = [*IDENTITY, *sorted(name for name in runs.columns if name not in IDENTITY)]
    return pd.DataFrame({name: _column(runs[name], name) for name in names}).reset_index(drop=True)


def _column(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    convert, dtype = _kind(name)
    try:
        return pd.Series([convert(value) for value in column], index=column.index, dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise DataError(f"Column {name} of the table of runs has an invalid value: {error}.") from error


def _kind(name: str) -> tuple[Callable[[Any], Any], str]:
    if name == "seed":
        return int, "int64"
    if name == "dirty":
        return lambda value: _text(value).lower() == "true", "bool"
    if name in ("computed_seconds", "reused_seconds") or name.startswith(METRICS):
        return lambda value: float(_text(value) or "nan"), "float64"
    return _text, "str"


def _text(value: Any) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def csv_text(runs: pd.DataFrame) -> str:
    """Table of runs as CSV; floats are written without loss of precision."""
    floats = {name: runs[name].map(_text).astype("str") for name in runs.select_dtypes("float").columns}
    return runs.assign(**floats).to_csv(index=False, lineterminator="\n")


def read_runs(path: Path) -> pd.DataFrame:
    """Read a report's table of runs; raises DataError if it is invalid."""
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        raw.columns = pd.Index(rename_fields(dict.fromkeys(raw.columns), "param/"))
        return runs_frame(raw)
    except (OSError, ValueError, DataError) as error:
        raise DataError(f"{path} cannot be read as a table of runs: {error}") from error


def declared_cells(spec: ReportSpec) -> list[Cell]:
    """All declared runs, in order of the report."""
    return list(itertools.product(spec.variants, spec.levels, spec.seeds))


def measured_in(table: pd.DataFrame, spec: ReportSpec) -> dict[Cell, float]:
    """Metric of each run of a table, in the unit of the report."""
    return dict(zip(_cells(table), table[spec.metric] * spec.metric_scale, strict=True))


def needed_cells(table: pd.DataFrame, spec: ReportSpec) -> list[Cell]:
    """Runs that the report needs, in its order; with interim analyses, those needed so far."""
    if not spec.looks:
        return declared_cells(spec)
    needed = replay_looks(measured_in(table, spec) if spec.metric in table.columns else {}, spec).needed
    return [cell for cell in declared_cells(spec) if cell in needed]


def check_grid(runs: pd.DataFrame, spec: ReportSpec) -> pd.DataFrame:
    """Select the finished runs of the grid, in its order.

    Raises IncompleteError for missing or duplicate runs or missing metrics, MismatchError if losses of language models
    with different vocabularies are compared.
    """
    table = runs_frame(runs)
    mine = (table["experiment"] == spec.name) & (table["scale"] == spec.scale) & (table["status"] == FINISHED)
    order = {cell: place for place, cell in enumerate(needed_cells(table[mine], spec))}
    table = table[mine].assign(place=[order.get(cell, -1) for cell in _cells(table[mine])])
    table = table[table["place"] >= 0].sort_values(["place", "run_id"]).drop(columns="place").reset_index(drop=True)
    for refuse in (_refuse_holes, _refuse_twice, _refuse_unmeasured, _refuse_vocabularies):
        refuse(table, spec)
    return table


def trained_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Runs whose training did not diverge."""
    return table[table[DIVERGED] == ""] if DIVERGED in table.columns else table


def _cells(table: pd.DataFrame) -> list[Cell]:
    return list(zip(table["variant"], table["level"], table["seed"].map(int), strict=True))


def _refuse_holes(table: pd.DataFrame, spec: ReportSpec) -> None:
    finished, declared = set(_cells(table)), needed_cells(table, spec)
    holes = [cell for cell in declared if cell not in finished]
    if holes:
        raise IncompleteError(
            f"{spec.name} at scale {spec.scale}: {len(holes)} of {len(declared)} runs are missing ({_named(holes)}); "
            f"make them: {_sweep(spec)}"
        )


def _refuse_twice(table: pd.DataFrame, spec: ReportSpec) -> None:
    cells = pd.Series(_cells(table), dtype=object)
    twice = list(cells[cells.duplicated()].unique())
    if twice:
        ids = ", ".join(table.loc[cells == twice[0], "run_id"])
        raise IncompleteError(
            f"{spec.name} at scale {spec.scale}: {len(twice)} runs are finished more than once ({_named(twice)}); "
            f"keep one of each. Ids of the first: {ids}."
        )


def _compared(table: pd.DataFrame, spec: ReportSpec) -> Iterator[tuple[str, pd.DataFrame]]:
    """Metrics that the report compares, each with its runs."""
    for name in (spec.metric, *(each.metric for each in spec.extra_metrics)):
        yield name, table
    if spec.associations:
        models = table[table["variant"].isin(spec.models)]
        for name in (spec.associations.y, *(each.metric for each in spec.associations.x)):
            yield name, models


def _refuse_unmeasured(table: pd.DataFrame, spec: ReportSpec) -> None:
    for measure, compared in _compared(table, spec):
        if measure not in table.columns:
            known = ", ".join(name for name in table.columns if name.startswith(METRICS)) or "none"
            raise IncompleteError(f"{spec.name}: no run has the metric {measure!r}. Known: {known}.")
        unmeasured = [
            cell for cell, value in zip(_cells(compared), compared[measure], strict=True) if not math.isfinite(value)
        ]
        if unmeasured:
            raise IncompleteError(
                f"{spec.name} at scale {spec.scale}: {len(unmeasured)} finished runs have no finite {measure} "
                f"({_named(unmeasured)}); delete them and run {_sweep(spec)}"
            )


def _refuse_vocabularies(table: pd.DataFrame, spec: ReportSpec) -> None:
    """Refuse to compare losses over different vocabularies at the same level."""
    for measure, runs in _compared(table, spec):
        if VOCABULARY not in table.columns:
            continue
        compared = runs if of_language_model(measure) else runs[_ends_with_language_model(runs, measure)]
        for _, level in compared[compared[VOCABULARY] != ""].groupby("level", sort=False):
            kinds = level.drop_duplicates(VOCABULARY)
            if len(kinds) > 1:
                raise MismatchError(
                    f"{spec.name} compares {measure} over {len(kinds)} vocabularies ({_named(_cells(kinds))}); "
                    "use the same vocabulary for all variants, or compare another metric."
                )


def _ends_with_language_model(runs: pd.DataFrame, measure: str) -> pd.Series:
    """Which runs' `loss` is a language model's, since they train no classifier."""
    last = runs[LAST_STAGE] if LAST_STAGE in runs.columns else pd.Series("classifier", index=runs.index)
    return (last != "classifier") & (last != "") & ("loss" in measure)


def of_language_model(measure: str) -> bool:
    """Whether a metric is a language model's loss or perplexity."""
    stage, _, name = measure.partition("/")
    return "perplexity" in name or ("loss" in name and (name.startswith("lm_") or stage not in ("final", "best")))


def _sweep(spec: ReportSpec) -> str:
    looks = f" --until-decided` (looks after {', '.join(map(str, spec.looks))} seeds)" if spec.looks else "`"
    return f"`ulmfit-lab sweep {spec.name} --scale {spec.scale}{looks}"


def _named(cells: Iterable[Cell]) -> str:
    words = [f"{variant}{f' @ {level}' if level else ''}, seed {seed}" for variant, level, seed in cells]
    return "; ".join(words[:SHOWN]) + (f"; and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
