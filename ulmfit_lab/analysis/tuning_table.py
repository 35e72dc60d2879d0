"""The table of a search: one row a trial with `variant`, `trial`, the fields searched, a measure, `seeds`, `state`.

The measure is the column before `seeds`; `training/measures.py` says which way is better. Tables of searches over a
fixed grid have neither `trial` nor `state`: each of their rows is a complete trial.
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
"""Columns that are neither a field nor the measure."""
COMPLETE, PRUNED, DIVERGED = "complete", "pruned", "diverged"
"""States of a trial: it had all its seeds, was stopped before its last, or its training came to no finite loss."""
TRIALS_SHOWN = 3
"""Trials of a variant that a report shows."""


def read_tuning(folder: Path) -> tuple[pd.DataFrame | None, Mapping[str, Any]]:
    """The table of the search whose files lie in a folder, and what the table does not hold; (None, {}) without one.

    Raises DataError where they cannot be read.
    """
    path, beside = folder / "tuning.csv", folder / "tuning.json"
    if not path.is_file():
        return None, {}
    try:
        table = pd.read_csv(path, encoding="utf-8")
        facts = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        if not {"variant", "seeds"} <= set(table.columns):
            raise ValueError("it has no column variant or seeds")
    except ValueError as error:
        hint = "make it again with ulmfit-lab tune, or remove it"
        raise DataError(f"The search in {path} cannot be read ({error}); {hint}.") from error
    return table, facts


def measure_of(table: pd.DataFrame) -> str:
    """The column that was made small, or large."""
    return str(table.columns[list(table.columns).index("seeds") - 1])


def lower_is_better(table: pd.DataFrame) -> bool:
    """Whether the measure was made small."""
    metric = metric_of(measure_of(table))
    return metric is None or metric.lower_is_better


def fields_of(table: pd.DataFrame) -> list[str]:
    """The fields that were searched."""
    return [str(name) for name in table.columns if name not in (*BESIDE, measure_of(table))]


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """The trials with all their seeds; the others' means are over fewer, and are not compared."""
    return table[table["state"] == COMPLETE] if "state" in table.columns else table


def chosen(table: pd.DataFrame) -> list[int]:
    """Index of every variant's best trial: the one with the best mean, the earliest of several."""
    means = complete(table).groupby("variant", sort=False)[measure_of(table)]
    return [int(i) for i in (means.idxmin() if lower_is_better(table) else means.idxmax())]


def best_tries(table: pd.DataFrame) -> pd.DataFrame:
    """The trials to show: the best of each variant, the best first; all, in their order, of a grid."""
    if "trial" not in table.columns:
        return table
    ranked = complete(table).sort_values(measure_of(table), kind="stable", ascending=lower_is_better(table))
    order = {variant: place for place, variant in enumerate(dict.fromkeys(table["variant"]))}
    shown = ranked.groupby("variant", sort=False).head(TRIALS_SHOWN)
    return shown.sort_values("variant", key=lambda names: names.map(order), kind="stable")


def measure_words(measure: str) -> tuple[str, float]:
    """What the measure is called where it is shown, and what it is multiplied by there."""
    metric, model = metric_of(measure), "LM " if measure.startswith("lm_") else ""
    label, scale = (metric.label, metric.scale) if metric else (measure.replace("_", " "), 1.0)
    return f"validation {model}{label}", scale


def values_words(values: Any) -> str:
    """A range or a list of choices, as a sidecar holds them, in words."""
    if isinstance(values, Mapping):
        return f"{values['low']:g} to {values['high']:g}" + (", logarithmic" if values["log"] else "")
    return "one of " + ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
