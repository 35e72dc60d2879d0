"""The outcome of a recipe search: a table of what was tried, and each variant's winner.

The search itself is an experiment (`experiment.tuning_of`) that the sweep runs. Each variant of the comparison is
given the same number of tries on the same seeds; the lowest mean validation error wins, the earlier try at a tie.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ulmfit_lab.config import flatten
from ulmfit_lab.lab.experiment import Experiment
from ulmfit_lab.lab.plan import Plan
from ulmfit_lab.lab.tracked import TrackedRun


def tuning_table(runs: Iterable[TrackedRun], plan: Plan, experiment: Experiment) -> pd.DataFrame:
    """One row a try: variant, values tried, mean validation error over the search seeds, seeds."""
    errors = {run.cell: run.metrics["final/valid_error"] for run in runs}
    rows: dict[str, dict[str, Any]] = {}
    for each in plan.cells:
        name = each.cell.variant
        config = flatten(each.cell.config)
        tried = {field: config[field] for field in experiment.search}
        row = rows.setdefault(name, {"variant": name.rpartition(" | ")[0], **tried, "errors": []})
        row["errors"].append(errors[each.stage.fingerprint])
    for row in rows.values():
        found = row.pop("errors")
        row["valid_error"], row["seeds"] = sum(found) / len(found), len(found)
    return pd.DataFrame(list(rows.values()))


def winners(table: pd.DataFrame, experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Variant -> the values with the lowest mean validation error."""
    best = table.loc[table.groupby("variant", sort=False)["valid_error"].idxmin()]
    return {row["variant"]: {field: row[field] for field in experiment.search} for row in best.to_dict("records")}


def recipes_text(found: Mapping[str, Mapping[str, Any]], scale: str) -> str:
    """The winners as the experiment module declares them."""
    lines = [f"        {variant!r}: {dict(values)!r}," for variant, values in found.items()]
    return "\n".join(itertools.chain([f"    recipes={{{scale!r}: {{"], lines, ["    }},"]))
