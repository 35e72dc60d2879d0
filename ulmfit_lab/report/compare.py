"""From runs and a specification to summaries and comparisons; refuses a grid with holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ulmfit_lab.errors import IncompleteError
from ulmfit_lab.report.spec import ReportSpec
from ulmfit_lab.report.statistics import Paired, Summary, further_seeds, holm, paired, summarise, verdict


@dataclass(frozen=True)
class Row:
    """A variant compared with another at a level."""

    level: str
    variant: str
    against: str
    result: Paired
    corrected_p: float
    verdict: str
    further_seeds: int | None


def check_grid(runs: pd.DataFrame, spec: ReportSpec) -> None:
    """Refuse runs that are not exactly one for every declared cell, or not of one vocabulary where that matters."""
    wanted = [(v, level, s) for v in spec.variants for level in spec.levels for s in spec.seeds]
    found = list(zip(runs["variant"], runs["level"].astype(str), runs["seed"].astype(int), strict=True))
    missing = [cell for cell in wanted if cell not in set(found)]
    if missing:
        named = "; ".join(f"{v} at {level or 'the one level'}, seed {s}" for v, level, s in missing[:3])
        raise IncompleteError(
            f"{spec.name}: {len(missing)} of {len(wanted)} runs are missing ({named}{'; ...' if missing[3:] else ''}); "
            f"make them: ulmfit-lab sweep {spec.name} --scale {spec.scale}"
        )
    twice = sorted({cell for cell in found if found.count(cell) > 1})
    if twice:
        raise IncompleteError(f"{spec.name}: {twice[0]} has more than one run; keep one of them in runs.csv.")
    if any(word in spec.measure for word in ("perplexity", "lm_loss")) and "param/vocabulary" in runs:
        vocabularies = sorted(set(runs["param/vocabulary"]))
        if len(vocabularies) > 1:
            raise IncompleteError(
                f"{spec.name}: its runs have {len(vocabularies)} vocabularies, and {spec.measure} can only be "
                "compared under one; compare runs with the same vocabulary settings and text."
            )


def values(runs: pd.DataFrame, spec: ReportSpec, variant: str, level: str) -> list[float]:
    """The measure of a variant at a level, scaled, in the order of the seeds."""
    chosen = runs[(runs["variant"] == variant) & (runs["level"].astype(str) == level)]
    by_seed = dict(zip(chosen["seed"].astype(int), chosen[spec.measure].astype(float), strict=True))
    return [by_seed[seed] * spec.measure_scale for seed in spec.seeds]


def summaries(runs: pd.DataFrame, spec: ReportSpec) -> dict[tuple[str, str], Summary]:
    """(variant, level) -> summary over seeds."""
    return {(v, level): summarise(values(runs, spec, v, level)) for v in spec.variants for level in spec.levels}


def comparisons(runs: pd.DataFrame, spec: ReportSpec) -> list[Row]:
    """Every contrast at every level, paired by seed, corrected together (Holm)."""
    pairs = [(level, variant, against) for variant, against in spec.contrasts for level in spec.levels]
    results = [paired(values(runs, spec, v, level), values(runs, spec, a, level)) for level, v, a in pairs]
    corrected = holm([result.p for result in results])
    return [
        Row(*pair, result, p, verdict(result, p, spec.lower_is_better), further_seeds(result))
        for pair, result, p in zip(pairs, results, corrected, strict=True)
    ]


def headline(rows: Sequence[Row], spec: ReportSpec) -> str:
    """The outcome in a sentence for each contrast."""
    by_pair: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_pair.setdefault((row.variant, row.against), []).append(row)
    return " ".join(
        sentence(variant, against, found, spec.level_name) for (variant, against), found in by_pair.items()
    )


def sentence(variant: str, against: str, rows: Sequence[Row], level_name: str) -> str:
    """One contrast over its levels, in words."""
    by_verdict: dict[str, list[str]] = {}
    for row in rows:
        by_verdict.setdefault(row.verdict, []).append(row.level)
    where = {
        word: "" if len(by_verdict) == 1 else f" at {', '.join(levels)} {level_name}"
        for word, levels in by_verdict.items()
    }
    said = "; ".join(f"{word}{where[word]}" for word in by_verdict)
    return f"{variant} against {against}: {said}."
