"""Table of a search: one row per trial with `variant`, `trial`, searched fields, metric, `seeds`, `state`.

The metric is the column before `seeds`. Tables of grid searches have no `trial` and `state`; all rows are complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ulmfit_lab.training.metrics import metric_of
from ulmfit_lab.utils.errors import DataError

BESIDE = ("variant", "trial", "seeds", "state")
"""Columns that are neither a field nor the metric."""
COMPLETE, PRUNED, DIVERGED = "complete", "pruned", "diverged"
"""States of a trial: all seeds finished, stopped early, or its loss was not finite."""
TRIALS_SHOWN = 3
"""Number of trials of each variant that a report shows."""


def read_tuning(folder: Path) -> tuple[pd.DataFrame | None, Mapping[str, Any]]:
    """Read table and settings of a search; (None, {}) if there is none. Raises DataError if they are invalid."""
    path, beside = folder / "tuning.csv", folder / "tuning.json"
    if not path.is_file():
        return None, {}
    try:
        table = pd.read_csv(path, encoding="utf-8")
        facts = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        if not {"variant", "seeds"} <= set(table.columns):
            raise ValueError("it has no column variant or seeds")
    except ValueError as error:
        hint = "repeat ulmfit-lab tune, or delete it"
        raise DataError(f"The search in {path} cannot be read ({error}); {hint}.") from error
    return table, facts


def measure_of(table: pd.DataFrame) -> str:
    """Column of the optimized metric."""
    return str(table.columns[list(table.columns).index("seeds") - 1])


def lower_is_better(table: pd.DataFrame) -> bool:
    """Whether the metric was minimized."""
    metric = metric_of(measure_of(table))
    return metric is None or metric.lower_is_better


def fields_of(table: pd.DataFrame) -> list[str]:
    """Searched fields."""
    return [str(name) for name in table.columns if name not in (*BESIDE, measure_of(table))]


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """Complete trials; others have means over fewer seeds."""
    return table[table["state"] == COMPLETE] if "state" in table.columns else table


def chosen(table: pd.DataFrame) -> list[int]:
    """Index of each variant's best trial, the earliest of equal ones."""
    means = complete(table).groupby("variant", sort=False)[measure_of(table)]
    return [int(i) for i in (means.idxmin() if lower_is_better(table) else means.idxmax())]


def best_tries(table: pd.DataFrame) -> pd.DataFrame:
    """Best trials of each variant, best first; all rows of a grid search."""
    if "trial" not in table.columns:
        return table
    ranked = complete(table).sort_values(measure_of(table), kind="stable", ascending=lower_is_better(table))
    return order_variants(ranked.groupby("variant", sort=False).head(TRIALS_SHOWN), table)


def order_variants(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return rows in the order in which their variants appear in a table; rows of a variant keep their order."""
    order = {variant: place for place, variant in enumerate(dict.fromkeys(table["variant"]))}
    return rows.sort_values("variant", key=lambda names: names.map(order), kind="stable")


def measure_words(measure: str) -> tuple[str, float]:
    """Label and display factor of the metric."""
    metric, model = metric_of(measure), "LM " if measure.startswith("lm_") else ""
    label, scale = (metric.label, metric.scale) if metric else (measure.replace("_", " "), 1.0)
    return f"validation {model}{label}", scale


def values_words(values: Any) -> str:
    """Format a range or list of choices of `tuning.json`."""
    if isinstance(values, Mapping):
        return f"{values['low']:g} to {values['high']:g}" + (", logarithmic" if values["log"] else "")
    return "one of " + ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
