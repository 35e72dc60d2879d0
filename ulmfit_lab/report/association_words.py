"""What associations come to, in tables and sentences."""

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
    steadiness_of,
)
from ulmfit_lab.analysis.spec import FEWEST_SEEDS, Associations, ReportSpec

Cells = tuple[list[str], list[list[str]]]
"""Header, rows."""

INTERVALS = (
    f"95% t intervals with the standard deviation of a bootstrap over variants ({RESAMPLES:,} draws), as runs of one "
    "variant are not independent; not corrected for being several."
)
STEADINESS = (
    "Between models: sd of the variants' means. Noise: sd over the seeds of a variant, or over the last half of the "
    "epochs of a run (where it has two; a trend counts), as root mean square over variants. Share of noise: its share "
    "of the variance, 1 - intraclass correlation, so that two units compare. Verdicts are on the ratio of the "
    f"noise to the spread between models, paired by variant. {INTERVALS}"
)
TELLS = (
    "Rank correlation over all runs; Kendall's is a check of Spearman's. "
    f"Difference: that of the absolute values. {INTERVALS}"
)
OVER = {"seeds": "seeds", "epochs": "the last epochs"}


def association_parts(runs: pd.DataFrame, spec: ReportSpec) -> list[str | Cells]:
    """The sections on steadiness and on what tells of the outcome: texts and tables; none without associations."""
    if spec.associations is None:
        return []
    declared, parts = spec.associations, list[str | Cells]()
    if found := steadiness_of(runs, spec):
        parts += ["## Steadiness", STEADINESS, steadiness_cells(found, declared)]
        parts += [f"**{format_stability(each, declared)}**" for each in found]
    if correlated := correlations_of(runs, spec):
        parts += ["## What tells the better classifier", TELLS, correlation_cells(correlated, declared)]
        parts += [f"**{format_correlation(correlated, declared)}**"]
    return parts


def association_verdicts(runs: pd.DataFrame, spec: ReportSpec) -> list[str]:
    """The verdicts alone, for the terminal."""
    if spec.associations is None:
        return []
    found, correlated = steadiness_of(runs, spec), correlations_of(runs, spec)
    last = [format_correlation(correlated, spec.associations)] if correlated else []
    return [*(format_stability(each, spec.associations) for each in found), *last]


def steadiness_cells(found: list[Stability], declared: Associations) -> Cells:
    """A number a row, for each kind of noise."""
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
        "noise over", "number", "between models", "noise", "share of noise (%)", "95% interval", "variants",
    ], rows  # fmt: skip


def format_stability(found: Stability, declared: Associations) -> str:
    """Which of the two numbers is steadier."""
    first, second = (x.name for x in declared.x)
    ratio = (
        f"relative to the spread between models, the noise of {second} is {format_plain(found.ratio.value)} times that "
        f"of {first} (95% interval {format_interval(found.ratio, format_plain)})"
    )
    words = {
        "less": f"{second} is steadier than {first}",
        "more": f"{second} is less steady than {first}",
        "no difference shown": f"no difference in steadiness is shown between {second} and {first}",
    }
    shown = "" if math.isnan(found.ratio.low) else f": {ratio}"
    return f"Over {OVER[found.over]}, {format_verdict(found, words)}{shown}."


def correlation_cells(found: dict[str, Correlations], declared: Associations) -> Cells:
    """A number a row, then their difference; a column and its interval for each kind of correlation."""
    names = [x.name for x in declared.x]
    rows = [[name, *both_words([each.each[place] for each in found.values()])] for place, name in enumerate(names)]
    difference = [f"{names[1]} - {names[0]}", *both_words([each.difference for each in found.values()])]
    return ["number", *(cell for name in found for cell in (name, "95% interval"))], [*rows, difference]


def both_words(estimates: list[Estimate]) -> list[str]:
    """Estimates and their intervals in cells."""
    return [cell for each in estimates for cell in (format_signed(each.value), format_interval(each, format_signed))]


def format_correlation(found: dict[str, Correlations], declared: Associations) -> str:
    """Which of the two numbers tells more of the outcome, and whether each tells anything."""
    first, second = (x.name for x in declared.x)
    main, check = found["Spearman"], found["Kendall"]
    words = {
        "more": f"{second} tells more of the outcome than {first}",
        "less": f"{second} tells less of the outcome than {first}",
        "no difference shown": f"no difference is shown in how well {second} and {first} tell the outcome",
    }
    verdict = format_verdict(main, words)
    doubt = "" if check.outcome == main.outcome else f"; but by Kendall's tau {format_verdict(check, words)}"
    each = " and ".join(
        f"{format_signed(e.value)} for {x.name}{caution(e, x.lower_is_better == declared.y_lower_is_better)}"
        for x, e in zip(declared.x, main.each, strict=True)
    )
    return f"{verdict[0].upper()}{verdict[1:]} (Spearman {each.removesuffix(',')}){doubt}."


def caution(found: Estimate, rising: bool) -> str:
    """What must be said of a correlation whose interval holds zero, or which is the wrong way round."""
    if found.low <= 0 <= found.high:
        return ", not shown to differ from 0,"
    wrong = found.high < 0 if rising else found.low > 0
    return ", which is the wrong way round," if wrong else ""


def format_verdict(found: Stability | Correlations, words: Mapping[str, str]) -> str:
    """An outcome in the words that belong to it."""
    too_few = {
        "too few models": f"no claim is made from {found.models} models ({FEWEST_MODELS} are needed)",
        "too few seeds": f"no claim is made from fewer than {FEWEST_SEEDS} seeds",
        "unknown": "nothing can be compared, as one of the numbers does not move",
    }
    return {**too_few, **words}[found.outcome]


def format_interval(found: Estimate, show: Callable[[float], str]) -> str:
    """An interval in a cell; empty where there is none."""
    return "" if math.isnan(found.low) else f"{show(found.low)} to {show(found.high)}"


def format_percent(share: float) -> str:
    """A share as a percentage."""
    return "unknown" if math.isnan(share) else f"{100 * share:.1f}"


def format_plain(ratio: float) -> str:
    """A ratio."""
    return f"{ratio:.2f}"


def format_signed(value: float) -> str:
    """A correlation with its sign; what rounds to zero has a plus."""
    return "unknown" if math.isnan(value) else f"{value:+z.2f}"
