"""Tables and sentences for associations: variability of two metrics and their correlation with an outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pandas as pd

from ulmfit_lab.analysis.association import (
    FEWEST_MODELS,
    RESAMPLES,
    Correlations,
    Estimate,
    Stability,
    correlations_of,
    left_out,
    steadiness_of,
)
from ulmfit_lab.analysis.spec import FEWEST_SEEDS, Associations, ReportSpec

Cells = tuple[list[str], list[list[str]]]
"""Header, rows."""

INTERVALS = (
    f"95% CIs are t intervals with a cluster bootstrap standard error over variants ({RESAMPLES:,} resamples), not "
    "adjusted for multiple comparisons."
)
VARIABILITY = (
    "sd between variants: sd of the variants' means. sd within variants: root mean square over variants of the sd over "
    "seeds, or over the last half of the epochs of a run (at least two; includes any trend). Share within: variance "
    "within variants as a share of the total (1 - intraclass correlation). Verdict: on the ratio of sd within / sd "
    f"between of the second metric to that of the first, paired by variant. {INTERVALS}"
)
CORRELATION = (
    "Rank correlation over all runs; Kendall's tau is a check of Spearman's rho. Difference: of the absolute values. "
    f"{INTERVALS}"
)
OVER = {"seeds": "seeds", "epochs": "last epochs"}


def association_parts(runs: pd.DataFrame, spec: ReportSpec) -> list[str | Cells]:
    """Return the report sections on variability and correlation as texts and tables; empty without associations."""
    if spec.associations is None:
        return []
    declared, parts = spec.associations, list[str | Cells](format_left_out(runs, spec))
    if found := steadiness_of(runs, spec):
        parts += ["## Variability", VARIABILITY, variability_cells(found, declared)]
        parts += [f"**{format_stability(each, declared)}**" for each in found]
    if correlated := correlations_of(runs, spec):
        parts += ["## Correlation with the outcome", CORRELATION, correlation_cells(correlated, declared)]
        parts += [f"**{format_correlation(correlated, declared)}**"]
    return parts


def association_verdicts(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Return only the verdicts, for the terminal and the ledger."""
    if spec.associations is None:
        return []
    verdicts = format_left_out(runs, spec)
    verdicts += [format_stability(each, spec.associations) for each in steadiness_of(runs, spec)]
    correlated = correlations_of(runs, spec)
    return verdicts + ([format_correlation(correlated, spec.associations)] if correlated else [])


def format_left_out(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """Return a sentence that names the variants that are not compared, and why; nothing if all are."""
    reasons = [f"{model} ({why})" for model, why in left_out(runs, spec).items()]
    return [f"Left out of variability and correlations: {', '.join(reasons)}."] if reasons else []


def variability_cells(found: list[Stability], declared: Associations) -> Cells:
    """Return one row per metric and source of variation."""
    rows = [
        [
            OVER[each.over],
            x.name,
            f"{noise.between:.3f} {x.unit}",
            f"{noise.within:.3f} {x.unit}",
            format_percent(noise.share.value),
            format_interval(noise.share, format_percent),
            str(each.models),
        ]
        for each in found
        for x, noise in zip(declared.x, each.noises, strict=True)
    ]
    return [
        "over", "metric", "sd between variants", "sd within variants", "share within (%)", "95% CI", "variants",
    ], rows  # fmt: skip


def format_stability(found: Stability, declared: Associations) -> str:
    """Return the verdict on which metric varies less, with the ratio and its 95% CI."""
    first, second = (x.name for x in declared.x)
    phrases = {
        "less": f"{second} varies less than {first}",
        "more": f"{second} varies more than {first}",
        "no difference shown": f"no difference shown between {second} and {first}",
    }
    interval = format_interval(found.ratio, "{:.2f}".format)
    ratio = f" (ratio {found.ratio.value:.2f}, 95% CI {interval})" if interval else ""
    return f"Variability over {OVER[found.over]}: {format_verdict(found, phrases)}{ratio}."


def correlation_cells(found: dict[str, Correlations], declared: Associations) -> Cells:
    """Return one row per metric and one for their difference, with a column and a 95% CI per coefficient."""
    names = [x.name for x in declared.x]
    rows = [[name, *estimate_cells([each.each[i] for each in found.values()])] for i, name in enumerate(names)]
    difference = [f"{names[1]} - {names[0]}", *estimate_cells([each.difference for each in found.values()])]
    return ["metric", *(cell for name in found for cell in (name, "95% CI"))], [*rows, difference]


def estimate_cells(estimates: list[Estimate]) -> list[str]:
    """Return the value and the interval of each estimate as cells."""
    return [cell for each in estimates for cell in (format_signed(each.value), format_interval(each, format_signed))]


def format_correlation(found: dict[str, Correlations], declared: Associations) -> str:
    """Return the verdict on which metric correlates more with the outcome, with both correlations."""
    first, second = (x.name for x in declared.x)
    main, check = found["Spearman"], found["Kendall"]
    phrases = {
        "more": f"stronger for {second} than for {first}",
        "less": f"weaker for {second} than for {first}",
        "no difference shown": f"no difference shown between {second} and {first}",
    }
    values = "; ".join(
        f"{x.name} {format_signed(each.value)}{caution(each, x.lower_is_better == declared.y_lower_is_better)}"
        for x, each in zip(declared.x, main.each, strict=True)
    )
    kendall = "" if check.outcome == main.outcome else f". Kendall: {format_verdict(check, phrases)}"
    return f"Correlation with the outcome: {format_verdict(main, phrases)} (Spearman: {values}){kendall}."


def caution(found: Estimate, expect_positive: bool) -> str:
    """Return a remark on a correlation that is not significant or has an unexpected sign; else empty."""
    if found.low <= 0 <= found.high:
        return ", not significant"
    unexpected = found.high < 0 if expect_positive else found.low > 0
    return ", unexpected sign" if unexpected else ""


def format_verdict(found: Stability | Correlations, phrases: Mapping[str, str]) -> str:
    """Return the phrase for an outcome."""
    no_claim = {
        "too few models": f"no claim from {found.models} variants (at least {FEWEST_MODELS} are needed)",
        "too few seeds": f"no claim from fewer than {FEWEST_SEEDS} seeds",
        "unknown": "no comparison, since a metric is constant",
    }
    return {**no_claim, **phrases}[found.outcome]


def format_interval(found: Estimate, show: Callable[[float], str]) -> str:
    """Return an interval as "low to high"; empty if unknown."""
    return "" if math.isnan(found.low) else f"{show(found.low)} to {show(found.high)}"


def format_percent(share: float) -> str:
    """Return a share in percent."""
    return "unknown" if math.isnan(share) else f"{100 * share:.1f}"


def format_signed(value: float) -> str:
    """Return a correlation with its sign; what rounds to zero has a plus."""
    return "unknown" if math.isnan(value) else f"{value:+z.2f}"
