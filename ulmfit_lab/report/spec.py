"""What a report compares: everything it needs to know beside the runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A published difference, variant minus against, in the unit of the report's measure."""

    variant: str
    against: str
    what: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """An experiment's declaration, as the report sees it.

    Every variant has a run at every level with every seed; contrasts are pairs (variant, against) compared at each level.
    """

    name: str
    scale: str
    question: str
    claim: str
    source: str
    baseline: str
    variants: tuple[str, ...]
    levels: tuple[str, ...]
    """Values of the crossed field as text; ("",) where nothing is crossed."""
    level_name: str
    level_label: str
    seeds: tuple[int, ...]
    measure: str
    """Column of the runs that is compared, such as final/error."""
    measure_label: str
    measure_scale: float
    lower_is_better: bool
    reference: str | None
    contrasts: tuple[tuple[str, str], ...]
    published: tuple[PublishedRow, ...] = ()
    notes: tuple[str, ...] = ()
