"""Interim analyses of a sweep, recomputed from its runs: decisions so far, and the runs of the next analysis.

All variants have the seeds of the first analysis. A comparison gets more seeds, the same for both sides, until it is
decided: its p with Holm's correction over all comparisons is below 5%. A decided comparison does not change, even if
one side gets more seeds for another comparison. Comparisons still open after the last analysis are not significant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ulmfit_lab.analysis.sequential import compare_sequentially
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.analysis.statistics import ALPHA, PairedResult, holm

Place = tuple[str, str, str]
"""Level, variant, against: a comparison."""
Cell = tuple[str, str, int]
"""Variant, level and seed of a run."""
Measured = Mapping[Cell, float]
"""Metric of each run, in the unit of the report."""


@dataclass(frozen=True)
class SequentialState:
    """State after the interim analyses so far."""

    results: Mapping[Place, PairedResult]
    """Each comparison as of its latest analysis; empty before the first."""
    corrected: Mapping[Place, float]
    """p with Holm's correction."""
    open: tuple[Place, ...]
    """Undecided comparisons."""
    needed: frozenset[Cell]
    """Runs of the analyses so far, and of the next one."""
    ended: bool
    """Whether all comparisons are decided, or the last analysis was made."""

    def __str__(self) -> str:
        if not self.results:
            return "No interim analysis was made yet."
        n = max(result.n for result in self.results.values())
        decided = len(self.results) - len(self.open)
        next_ = " The sweep is complete." if self.ended else " Undecided ones get more seeds."
        return f"Interim analysis after {n} seeds: {decided} of {len(self.results)} comparisons decided.{next_}"


def replay_looks(measured: Measured, spec: ReportSpec) -> SequentialState:
    """Make all interim analyses that the runs allow, in order."""
    places = [(level, variant, against) for variant, against in spec.pairs for level in spec.levels]
    first = {(v, level, seed) for v in spec.variants for level in spec.levels for seed in spec.seeds[: spec.looks[0]]}
    state = SequentialState({}, {}, tuple(places), frozenset(first), ended=False)
    for n in spec.looks:
        more = {(v, level, seed) for level, *pair in state.open for v in pair for seed in spec.seeds[:n]}
        needed = state.needed | more
        if not needed <= measured.keys():
            return SequentialState(state.results, state.corrected, state.open, needed, ended=False)
        results = dict(state.results)
        for level, variant, against in state.open:
            a, b = ([measured[v, level, seed] for seed in spec.seeds[:n]] for v in (variant, against))
            results[level, variant, against] = compare_sequentially(a, b, spec.looks, spec.tested_seeds)
        corrected = dict(zip(places, holm([results[place].p for place in places]), strict=True))
        undecided = tuple(place for place in places if not corrected[place] < ALPHA)
        state = SequentialState(results, corrected, undecided, needed, ended=not undecided or n == spec.looks[-1])
        if not undecided:
            break
    return state
