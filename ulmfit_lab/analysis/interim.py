"""A sequential sweep's looks, made again from its runs: what was decided when, and which runs the next look needs.

Every variant has the first look's seeds. After that a comparison gets more seeds, the same for both sides, until it is
decided: its p, corrected over all comparisons (Holm), is below 5%. Then it stays as it is, even where one side goes on
for the sake of another comparison. What is open after the last look ends with no difference shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ulmfit_lab.analysis.sequential import compare_sequentially
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.analysis.statistics import ALPHA, PairedResult, holm

Place = tuple[str, str, str]
"""Level, variant, against: what is compared with what, and where."""
Cell = tuple[str, str, int]
"""Variant, level, seed."""
Measured = Mapping[Cell, float]
"""What the runs measured, in the unit that the report shows."""


@dataclass(frozen=True)
class SequentialState:
    """What the looks that were taken say."""

    results: Mapping[Place, PairedResult]
    """Every comparison as of its latest look; empty before the first."""
    corrected: Mapping[Place, float]
    """Its p, corrected over all comparisons."""
    open: tuple[Place, ...]
    """Comparisons that are not decided."""
    needed: frozenset[Cell]
    """Cells of the looks that were taken, and of the next one."""
    ended: bool
    """Whether all is decided, or the last look was taken."""

    def __str__(self) -> str:
        if not self.results:
            return "No look was taken yet."
        n = max(result.n for result in self.results.values())
        decided = len(self.results) - len(self.open)
        next_ = " The sweep has come to its end." if self.ended else " Those that are open get more seeds."
        return f"Look after {n} seeds: {decided} of {len(self.results)} comparisons decided.{next_}"


def replay_looks(measured: Measured, spec: ReportSpec) -> SequentialState:
    """Take every look that the runs allow, in order."""
    places = [(level, variant, against) for variant, against in spec.pairs for level in spec.levels]
    first = {(v, level, seed) for v in spec.variants for level in spec.levels for seed in spec.seeds[: spec.looks[0]]}
    state = SequentialState({}, {}, tuple(places), frozenset(first), ended=False)
    for n in spec.looks:
        more = {(v, level, seed) for level, *pair in state.open for v in pair for seed in spec.seeds[:n]}
        needed = state.needed | more
        if not needed <= measured.keys():
            return SequentialState(state.results, state.corrected, state.open, needed, ended=False)
        results = {**state.results, **{place: _at(measured, place, spec, n) for place in state.open}}
        corrected = dict(zip(places, holm([results[place].p for place in places]), strict=True))
        undecided = tuple(place for place in places if not corrected[place] < ALPHA)
        state = SequentialState(results, corrected, undecided, needed, ended=not undecided or n == spec.looks[-1])
        if not undecided:
            break
    return state


def _at(measured: Measured, place: Place, spec: ReportSpec, n: int) -> PairedResult:
    level, variant, against = place
    a, b = ([measured[v, level, seed] for seed in spec.seeds[:n]] for v in (variant, against))
    return compare_sequentially(a, b, spec.looks)
