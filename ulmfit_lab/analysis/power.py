"""What a declared design can show, given the standard deviation of its paired differences."""

from __future__ import annotations

from collections.abc import Iterator

from ulmfit_lab.analysis.spec import Margin, ReportSpec
from ulmfit_lab.analysis.statistics import ALPHA, equivalence_power, smallest_difference


def primary_alpha(spec: ReportSpec) -> float:
    """Alpha of the hardest test of the primary family (Holm's first step)."""
    return ALPHA / max(spec.tests, 1)


def detectable_difference(spec: ReportSpec, sd: float) -> float | None:
    """Smallest difference that a primary contrast shows with 80% power; None if the replicates are too few for a claim.

    sd: of paired differences, in the unit of the report, as is the result
    """
    return smallest_difference(sd, spec.replicates, alpha=primary_alpha(spec))


def margin_powers(spec: ReportSpec, sd: float) -> Iterator[tuple[Margin, float]]:
    """Each margin, with the power of its test of equivalence where the true difference is 0."""
    for margin in spec.margins:
        yield margin, equivalence_power(sd, spec.replicates, margin.value, ALPHA / len(spec.margins))
