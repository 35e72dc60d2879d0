"""Results of a complete grid of runs: summary of each variant and level, verdict on each contrast."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ulmfit_lab.analysis.interim import Place, replay_looks
from ulmfit_lab.analysis.manipulation_checks import Voids, find_failed_checks
from ulmfit_lab.analysis.run_table import measured_in, trained_runs
from ulmfit_lab.analysis.spec import FEWEST_SEEDS, Published, ReportSpec, level_words
from ulmfit_lab.analysis.statistics import (
    ALPHA,
    PairedResult,
    Summary,
    Verdict,
    compare_paired,
    further_seeds,
    holm,
    summarize,
    verdict,
)

SHOWN: tuple[Verdict, ...] = ("better", "worse")
TURNED: Mapping[Verdict, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Comparison:
    """A variant compared with another at a level, in the unit of the report."""

    level: str
    variant: str
    against: str
    result: PairedResult
    corrected_p: float
    verdict: Verdict
    further_seeds: int | None
    """Further seeds with which a difference of this size would be significant; None if it is, or is unknown."""
    why: str = ""
    """Why the verdict is void."""


def values(runs: pd.DataFrame, spec: ReportSpec, variant: str, level: str) -> list[float]:
    """Scaled metric of a variant at a level, in order of seeds, without diverged runs."""
    return list(by_seed(runs, spec, variant, level).values())


def by_seed(runs: pd.DataFrame, spec: ReportSpec, variant: str, level: str) -> dict[int, float]:
    """Seed -> the same."""
    chosen = trained_runs(runs[(runs["variant"] == variant) & (runs["level"] == level)])
    found = dict(zip(chosen["seed"], chosen[spec.metric], strict=True))
    return {seed: float(found[seed]) * spec.metric_scale for seed in spec.seeds if seed in found}


def summarize_variants(runs: pd.DataFrame, spec: ReportSpec) -> dict[tuple[str, str], Summary]:
    """(variant, level) -> summary over seeds; nan if all runs diverged."""
    places = [(v, level) for v in spec.variants for level in spec.levels]
    found = {place: values(runs, spec, *place) for place in places}
    nothing = Summary(math.nan, math.nan, math.nan, math.nan, 0)
    return {place: summarize(each) if each else nothing for place, each in found.items()}


def compare_variants(runs: pd.DataFrame, spec: ReportSpec) -> list[Comparison]:
    """Compare all pairs at all levels, paired by seed, with Holm's correction over all comparisons."""
    places = [(level, variant, against) for variant, against in spec.pairs for level in spec.levels]
    results = compared(runs, spec, places)
    found = find_failed_checks(runs, spec)
    why = [why_void(place, found) for place in places]
    results = [replace(result, p=math.nan) if reason else result for result, reason in zip(results, why, strict=True)]
    corrected = holm([result.p for result in results])
    # the smallest alpha of Holm's correction
    hardest = ALPHA / max(len(places), 1)
    return [
        _row(place, result, p, spec.lower_is_better, hardest, reason)
        for place, result, p, reason in zip(places, results, corrected, why, strict=True)
    ]


def why_void(place: Place, found: Voids) -> str:
    """Why a comparison is void; empty if it is not."""
    level, *sides = place
    return "; ".join(f"{side}: {found[side, level]}" for side in sides if (side, level) in found)


def compared(runs: pd.DataFrame, spec: ReportSpec, places: Sequence[Place]) -> list[PairedResult]:
    """Paired test at each place, as of its latest interim analysis if there are any."""
    if spec.looks:
        results = replay_looks(measured_in(runs, spec), spec).results
        return [results[place] for place in places]
    return [paired_at(runs, spec, place) for place in places]


def paired_at(runs: pd.DataFrame, spec: ReportSpec, place: Place) -> PairedResult:
    """Paired test over the seeds where neither side diverged; nan without any."""
    level, variant, against = place
    a, b = (by_seed(runs, spec, side, level) for side in (variant, against))
    both = [seed for seed in a if seed in b]
    if not both:
        return PairedResult(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    return compare_paired([a[seed] for seed in both], [b[seed] for seed in both])


def _row(
    place: Place, result: PairedResult, p: float, lower_is_better: bool, alpha: float, why: str = ""
) -> Comparison:
    if why:
        return Comparison(*place, result, p, "void", None, why)
    words = verdict(result, p, lower_is_better)
    return Comparison(*place, result, p, words, None if words in SHOWN else further_seeds(result, alpha=alpha))


def group_by_answer(rows: Sequence[Comparison], published: Published) -> list[Comparison]:
    """Comparisons of the pair of a published figure, reversed if they were made the other way round."""
    pair = published.variant, published.against
    turned = [_turned(row) if (row.against, row.variant) == pair else row for row in rows]
    return [row for row in turned if (row.variant, row.against) == pair]


def _turned(row: Comparison) -> Comparison:
    r = row.result
    result = replace(r, difference=-r.difference, low=-r.high, high=-r.low)
    words = TURNED.get(row.verdict, row.verdict)
    return replace(row, variant=row.against, against=row.variant, result=result, verdict=words)


def direction(published: float, row: Comparison) -> str:
    """Whether the difference has the sign of the published one."""
    product = row.result.difference * published
    words = "agrees" if product > 0 else "disagrees" if product < 0 else "neither"
    return words if row.verdict in SHOWN else f"{words} ({row.verdict})"


def headline(rows: Sequence[Comparison], spec: ReportSpec) -> str:
    """All comparisons in one sentence."""
    n = len(spec.seeds)
    if not rows:
        return "Nothing is compared: there is one variant."
    if n < FEWEST_SEEDS:
        have = "1 seed is" if n == 1 else f"{n} seeds are"
        return f"{have} too few for a claim ({FEWEST_SEEDS} are needed); the differences only describe these runs."
    groups = _grouped(rows)
    ranked = sorted(groups, key=lambda key: (*SHOWN, "no difference shown", "void").index(key[0]))
    return (
        f"Over {seeds_words(rows)} paired seeds, " + "; ".join(_clause(*key, groups[key], spec) for key in ranked) + "."
    )


def seeds_words(rows: Sequence[Comparison]) -> str:
    """Number of seeds of the comparisons: "6" or "6 to 12"."""
    fewest, most = (which(row.result.n for row in rows) for which in (min, max))
    return str(most) if fewest == most else f"{fewest} to {most}"


def _grouped(rows: Sequence[Comparison]) -> dict[tuple[Verdict, str, tuple[str, ...]], list[str]]:
    """(verdict, against, levels) -> variants."""
    groups: dict[tuple[Verdict, str, tuple[str, ...]], list[str]] = {}
    for (variant, against), found in itertools.groupby(rows, key=lambda row: (row.variant, row.against)):
        levels: dict[Verdict, tuple[str, ...]] = {}
        for row in found:
            levels[row.verdict] = (*levels.get(row.verdict, ()), row.level)
        for words, where in levels.items():
            groups.setdefault((words, against, where), []).append(variant)
    return groups


def _clause(words: Verdict, against: str, levels: tuple[str, ...], variants: Sequence[str], spec: ReportSpec) -> str:
    names, where = listed(variants), _where(levels, spec)
    if words == "void":
        return f"nothing is claimed of {names} against {against}{where}"
    if words == "no difference shown":
        return f"no difference is shown between {names} and {against}{where}"
    return f"{names} {'is' if len(variants) == 1 else 'are'} {words} than {against}{where}"


def _where(levels: tuple[str, ...], spec: ReportSpec) -> str:
    if spec.levels == ("",):
        return ""
    if levels == spec.levels and len(levels) > 1:
        return f" at every level of {spec.level_name}"
    return f" at {spec.level_name} {listed([level_words(level) for level in levels])}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
