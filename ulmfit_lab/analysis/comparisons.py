"""Results of a complete grid of runs: summary of each variant and level, verdict on each contrast."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ulmfit_lab.analysis.interim import Place, replay_looks
from ulmfit_lab.analysis.manipulation_checks import Voids, find_failed_checks
from ulmfit_lab.analysis.replicates import Replicates, find_replicates
from ulmfit_lab.analysis.run_table import DIVERGED, measured_in, trained_runs
from ulmfit_lab.analysis.spec import FEWEST_SEEDS, Published, ReportSpec, level_words
from ulmfit_lab.analysis.statistics import (
    ALPHA,
    MarginVerdict,
    PairedResult,
    Summary,
    Verdict,
    compare_clusters,
    compare_with_margin,
    further_seeds,
    gatekeep,
    holm,
    margin_verdict,
    sd_limit,
    summarize,
    verdict,
)

SHOWN: tuple[Verdict, ...] = ("better", "worse")
UNCLAIMED: tuple[Verdict, ...] = ("not tested", "too few seeds", "not replicated", "void")
RANKED: tuple[Verdict, ...] = (*SHOWN, "no difference shown", *UNCLAIMED)
"""The order in which a sentence names verdicts."""
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
    """Seeds to add before a difference of the size of interest would show; None where one is shown, or unknown."""
    why: str = ""
    """Why the verdict is void or not replicated."""
    is_primary: bool = False
    pairs: int = 0
    """Pairs of runs; more than n of the result where several share a realisation of the treatment."""
    shared: str = ""
    """The kind of stage that pairs share, in words."""
    margin: float | None = None
    """The declared margin, if any."""
    margin_p: float = math.nan
    """p of equivalence or, where only that is shown, of non-inferiority, corrected over all margins (Holm)."""
    margin_verdict: MarginVerdict = ""


def values(runs: pd.DataFrame, spec: ReportSpec, variant: str, level: str) -> list[float]:
    """Scaled metric of a variant at a level, in order of seeds, without diverged runs."""
    return list(by_seed(runs, spec, variant, level).values())


def by_seed(runs: pd.DataFrame, spec: ReportSpec, variant: str, level: str) -> dict[int, float]:
    """Seed -> the same."""
    # pandas takes the rows of a few columns in a tenth of the time of all of them
    read = runs.filter(items=["variant", "level", "seed", spec.metric, DIVERGED])
    chosen = trained_runs(read[(read["variant"] == variant) & (read["level"] == level)])
    found = dict(zip(chosen["seed"], chosen[spec.metric], strict=True))
    return {seed: float(found[seed]) * spec.metric_scale for seed in spec.seeds if seed in found}


def summarize_variants(runs: pd.DataFrame, spec: ReportSpec) -> dict[tuple[str, str], Summary]:
    """(variant, level) -> summary over seeds; nan if all runs diverged."""
    places = [(v, level) for v in spec.variants for level in spec.levels]
    found = {place: values(runs, spec, *place) for place in places}
    nothing = Summary(math.nan, math.nan, math.nan, math.nan, 0)
    return {place: summarize(each) if each else nothing for place, each in found.items()}


def compare_variants(runs: pd.DataFrame, spec: ReportSpec) -> list[Comparison]:
    """Every pair at every level, paired by seed; the primary family is corrected first, the others after it (Holm).

    The result's n counts independent realisations of what differs between the arms (`replicates`).
    """
    places = [(level, variant, against) for variant, against in spec.pairs for level in spec.levels]
    replicates = [replicates_at(runs, spec, place) for place in places]
    results = compared(runs, spec, places, replicates)
    failed = find_failed_checks(runs, spec)
    rows = []
    for place, result, found in zip(places, results, replicates, strict=True):
        why, verdict_ = why_void(place, failed), "void"
        if not why and found.count < len(found.clusters):
            if found.count == 1:
                why, verdict_ = f"1 {found.shared}", "not replicated"
            elif spec.looks:
                why = (
                    f"looks need independent pairs, and {len(found.clusters)} pairs share {found.count} {found.shared}s"
                )
        kept = replace(result, p=math.nan) if why else result
        level, variant, against = place
        rows.append(
            Comparison(
                level,
                variant,
                against,
                kept,
                math.nan,
                verdict_ if why else "no difference shown",  # type: ignore[arg-type]
                None,
                why,
                (variant, against, level) in spec.primary,
                len(found.clusters),
                found.shared,
            )
        )
    return add_margins(correct(rows, spec), spec)


def correct(rows: Sequence[Comparison], spec: ReportSpec) -> list[Comparison]:
    """The rows with their corrected p, verdict and further seeds."""
    corrected = gatekeep([row.result.p for row in rows], [row.is_primary for row in rows])
    # the hardest test of Holm's family has this alpha, so the seeds that it asks for suffice for any of them
    hardest = {primary: ALPHA / max(sum(row.is_primary == primary for row in rows), 1) for primary in (True, False)}
    closed = any(row.is_primary and not p < ALPHA for row, p in zip(rows, corrected, strict=True))
    found = []
    for row, p in zip(rows, corrected, strict=True):
        if row.why:
            found.append(replace(row, corrected_p=p))
            continue
        words = verdict(row.result, p, spec.lower_is_better, row.pairs)
        if closed and not row.is_primary and words == "no difference shown":
            words = "not tested"
        size = spec.smallest_difference or abs(row.result.difference)
        sd = sd_limit(row.result.sd, row.result.n)
        more = (
            None
            if words in SHOWN
            else further_seeds(replace(row.result, difference=size, sd=sd), alpha=hardest[row.is_primary])
        )
        found.append(replace(row, corrected_p=p, verdict=words, further_seeds=more))
    return found


def add_margins(rows: Sequence[Comparison], spec: ReportSpec) -> list[Comparison]:
    """The rows with the verdicts on their margins; each kind of test is corrected over all margins (Holm)."""
    tested = [i for i, row in enumerate(rows) if spec.margin_of(row.variant, row.against) and not row.why]
    margins = {i: spec.margin_of(rows[i].variant, rows[i].against).value for i in tested}  # type: ignore[union-attr]
    tests = [compare_with_margin(rows[i].result, margins[i], spec.lower_is_better) for i in tested]
    both = [holm([getattr(each, name) for each in tests]) for name in ("p_equivalent", "p_non_inferior")]
    found = list(rows)
    for i, equivalent, non_inferior in zip(tested, *both, strict=True):
        words = margin_verdict(equivalent, non_inferior) if rows[i].verdict != "too few seeds" else "not shown"
        p = non_inferior if words == "non-inferior" else equivalent
        found[i] = replace(rows[i], margin=margins[i], margin_p=p, margin_verdict=words)
    return found


def why_void(place: Place, found: Voids) -> str:
    """Why a comparison is void; empty if it is not."""
    level, *sides = place
    return "; ".join(f"{side}: {found[side, level]}" for side in sides if (side, level) in found)


def replicates_at(runs: pd.DataFrame, spec: ReportSpec, place: Place) -> Replicates:
    """The clusters of the pairs of runs with which neither side diverged."""
    level, variant, against = place
    return find_replicates(runs, variant, against, level, paired_seeds(runs, spec, place))


def paired_seeds(runs: pd.DataFrame, spec: ReportSpec, place: Place) -> list[int]:
    """The seeds with which both sides have a run that did not diverge."""
    level, *sides = place
    a, b = (by_seed(runs, spec, side, level) for side in sides)
    return [seed for seed in a if seed in b]


def compared(
    runs: pd.DataFrame, spec: ReportSpec, places: Sequence[Place], replicates: Sequence[Replicates]
) -> list[PairedResult]:
    """Paired test at each place, as of its latest interim analysis if there are any."""
    if spec.looks:
        results = replay_looks(measured_in(runs, spec), spec).results
        return [results[place] for place in places]
    return [paired_at(runs, spec, place, found) for place, found in zip(places, replicates, strict=True)]


def paired_at(runs: pd.DataFrame, spec: ReportSpec, place: Place, found: Replicates) -> PairedResult:
    """The test over clusters of pairs; nan where there are none."""
    level, *sides = place
    seeds = paired_seeds(runs, spec, place)
    if not seeds:
        return PairedResult(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    a, b = (by_seed(runs, spec, side, level) for side in sides)
    return compare_clusters([a[seed] for seed in seeds], [b[seed] for seed in seeds], found.clusters)


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


def compatibility(published: Published, row: Comparison, against_mean: float) -> str:
    """Whether a published difference is within the 95% interval of the one found here.

    "cannot tell" where the interval holds 0 too, or where nothing is claimed of the contrast. Perplexities are compared
    on the log scale where the published value of against is known.

    against_mean: mean of the variant compared with, in the report's unit
    """
    result, value = row.result, published.value
    low, high = result.low, result.high
    if row.why or math.isnan(low) or result.n < 2:
        return "cannot tell"
    if published.against_value:
        value = math.log1p(value / published.against_value)
        low, high = (math.log1p(max(end / against_mean, -0.999)) for end in (low, high))
    if not low <= value <= high:
        return "not compatible"
    return "cannot tell" if low <= 0 <= high else "compatible"


def headline(rows: Sequence[Comparison], spec: ReportSpec) -> str:
    """All comparisons in one sentence."""
    n = len(spec.seeds)
    if not rows:
        return "Nothing is compared: there is one variant."
    if n < FEWEST_SEEDS:
        have = "1 seed is" if n == 1 else f"{n} seeds are"
        return f"{have} too few for a claim ({FEWEST_SEEDS} are needed); the differences only describe these runs."
    groups = _grouped(rows)
    ranked = sorted(groups, key=lambda key: RANKED.index(key[0]))
    return (
        f"Over {seeds_words(rows)} paired seeds, " + "; ".join(_clause(*key, groups[key], spec) for key in ranked) + "."
    )


def seeds_words(rows: Sequence[Comparison]) -> str:
    """Number of seeds of the comparisons: "6" or "6 to 12"."""
    return format_range([max(row.result.n, row.pairs) for row in rows])


def format_range(counts: Sequence[int]) -> str:
    """The counts as "6" or "6 to 12"."""
    return str(max(counts)) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"


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
    names, where = listed(variants), where_words(levels, spec)
    if words in UNCLAIMED:
        return f"nothing is claimed of {names} against {against}{where} ({words})"
    if words == "no difference shown":
        return f"no difference is shown between {names} and {against}{where}"
    return f"{names} {'is' if len(variants) == 1 else 'are'} {words} than {against}{where}"


def where_words(levels: tuple[str, ...], spec: ReportSpec) -> str:
    """The levels in a sentence, after a blank; empty without a factor."""
    if spec.levels == ("",):
        return ""
    if levels == spec.levels and len(levels) > 1:
        return f" at every level of {spec.level_name}"
    return f" at {spec.level_name} {listed([level_words(level) for level in levels])}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
