"""MLflow runs of means: mean over seeds of each variant and level, with verdict and averaged curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from ulmfit_lab.analysis.comparisons import Comparison, summarize_variants
from ulmfit_lab.analysis.spec import ReportSpec, level_words
from ulmfit_lab.analysis.statistics import summarize
from ulmfit_lab.report.tables import verdict_words
from ulmfit_lab.tracking.records import LoggedMetric, MeanRun

Histories = Mapping[str, Sequence[LoggedMetric]]


def mean_runs(
    runs: pd.DataFrame,
    spec: ReportSpec,
    rows: Sequence[Comparison],
    curves: Mapping[tuple[str, str], Sequence[Histories]],
) -> list[MeanRun]:
    """Return a run of means for every variant and level that has runs.

    curves   (variant, level) -> curves of each run
    """
    found = []
    for (variant, level), summary in summarize_variants(runs, spec).items():
        if not summary.n:
            continue
        row = next((r for r in rows if (r.variant, r.against, r.level) == (variant, spec.baseline, level)), None)
        values = {"mean": summary.mean, "sd": summary.sd, "low": summary.low, "high": summary.high, "n": summary.n}
        values |= {spec.metric: summary.mean / spec.metric_scale} | ({"p": row.corrected_p} if row else {})
        own_verdict = "the baseline" if variant == spec.baseline else ""
        found.append(
            MeanRun(
                name=f"{variant}{f' @ {level_words(level)}' if level else ''}, mean of {summary.n}",
                variant=variant,
                level=level,
                metrics={name: float(value) for name, value in values.items() if math.isfinite(value)},
                verdict=f"{verdict_words(row)} (against {spec.baseline})" if row else own_verdict,
                curves=mean_curves(curves.get((variant, level), ())),
            )
        )
    return found


def mean_curves(histories: Iterable[Histories]) -> dict[str, list[tuple[int, float]]]:
    """Return the mean of each curve over runs and, as `_low` and `_high`, its 95% t interval.

    Only steps that all runs with the curve have recorded are included.
    """
    by_name: dict[str, list[dict[int, float]]] = {}
    for history in histories:
        for name, points in history.items():
            if name.count("/") == 1 and not name.startswith("system/"):
                by_name.setdefault(name, []).append({step: value for step, value, _ in points})
    found: dict[str, list[tuple[int, float]]] = {}
    for name, runs in by_name.items():
        steps = sorted(set.intersection(*(set(run) for run in runs)))
        summaries = [(step, summarize([run[step] for run in runs])) for step in steps]
        edges = {"": "mean", "_low": "low", "_high": "high"} if len(runs) > 1 else {"": "mean"}
        for suffix, edge in edges.items():
            found[name + suffix] = [
                (step, value) for step, each in summaries if math.isfinite(value := getattr(each, edge))
            ]
    return found
