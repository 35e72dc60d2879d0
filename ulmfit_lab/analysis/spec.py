"""What a report compares: everything it needs to know beside the runs."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_SEEDS = 6
"""With fewer pairs no claim is made: not even a rank test of pairs could reach p < 0.05."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published figure that a contrast answers to."""

    variant: str
    against: str
    what: str
    """What was measured, on what."""
    value: float
    """Published value of variant minus that of against, in the unit of the report's measure."""
    source: str
    against_value: float | None = None
    """Published value of against: with it, perplexities are compared by their ratio, and not by their difference."""
    dose: str = ""
    """What was changed there and what is changed here, such as "weight dropout 0.5 there, 0.1 here"."""


@dataclass(frozen=True, kw_only=True)
class ExtraMetric:
    """A further number of the runs, which the report shows beside the measure and does not test."""

    metric: str
    """Column of the runs, such as final/padding."""
    label: str
    scale: float = 1.0
    """What it is multiplied by where it is shown."""


@dataclass(frozen=True)
class ManipulationCheck:
    """What a variant's runs must have measured for its manipulation to have happened in them."""

    metric: str
    """Column of the runs, such as final/pretraining_averaging_began."""
    statement: str
    """What happened in a run that passes, in a few words: averaging began."""
    at_least: float | None = None
    at_most: float | None = None

    def passes(self, value: float) -> bool:
        """Whether it happened in a run that measured this; not where it was not measured (nan)."""
        low, high = (value if bound is None else bound for bound in (self.at_least, self.at_most))
        return low <= value <= high


@dataclass(frozen=True)
class Margin:
    """A difference between two variants that does not matter, declared before the first run."""

    variant: str
    against: str
    value: float
    """In the unit of the report, above 0: a contrast is then also tested for equivalence and non-inferiority."""
    reason: str
    """Why a smaller difference does not matter."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A number of a model that may tell what the model is worth downstream."""

    metric: str
    """Column of the runs, such as final/lm_perplexity."""
    name: str
    """What it is called in a sentence."""
    label: str
    """What it is called on an axis."""
    unit: str
    """Of its spread, after scale and logarithm: points, nats."""
    scale: float = 1.0
    """What it is multiplied by where it is shown."""
    lower_is_better: bool = False
    log: bool = False
    """Whether it is compared and drawn on the log scale, as perplexity is, whose logarithm is the loss."""
    epoch_sd: str = ""
    """Column with the sd over the last epochs of a run, of the logarithm where `log`; not scaled."""


@dataclass(frozen=True, kw_only=True)
class Associations:
    """Two numbers of the same models, and the outcome that they may tell: which is steadier, which tells more.

    Each variant is a model, each of its seeds a run of it. Nothing may be crossed with the variants.
    """

    x: tuple[Predictor, Predictor]
    """The second is the one that a claim is made for; it is compared with the first."""
    y: str = "final/error"
    """Column of the outcome."""
    y_label: str = "Test error (%)"
    y_scale: float = 100.0
    y_lower_is_better: bool = True
    variants: tuple[str, ...] = ()
    """Variants that take part (none given: all). Of two that share their training leave one out."""


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """An experiment's declaration, as the report sees it.

    Every variant has a run at every level with every seed; contrasts are pairs (variant, against) compared at each
    level.
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
    metric: str
    """Column of the runs that is compared, such as final/error."""
    metric_label: str
    metric_scale: float
    lower_is_better: bool
    reference: str | None
    contrasts: tuple[tuple[str, str], ...]
    """Pairs that are tested; none given: each variant against the baseline."""
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
    associations: Associations | None = None
    extra_metrics: tuple[ExtraMetric, ...] = ()
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which comparisons are looked at, those decided getting no more; none: once, at the end."""
    checks: tuple[tuple[str, ManipulationCheck], ...] = ()
    """Variants, each with what must have happened in its runs; where it did in none, nothing is claimed of them."""
    primary: tuple[tuple[str, str, str], ...] = ()
    """Contrasts (variant, against, level) of the primary family; none: all contrasts are one family."""
    margins: tuple[Margin, ...] = ()
    """Contrasts that are also tested for equivalence and non-inferiority."""
    smallest_difference: float | None = None
    """The smallest difference of interest, from which further seeds are planned."""
    efficiency: tuple[tuple[str, str], ...] = ()
    """Pairs (variant, against): at which level does against reach what variant reaches?"""

    @property
    def models(self) -> tuple[str, ...]:
        """The variants that take part in the associations."""
        return (self.associations.variants or self.variants) if self.associations else ()

    @property
    def chosen_pairs(self) -> tuple[tuple[str, str], ...]:
        """The declared contrasts; none declared: each variant against the baseline."""
        default = tuple((variant, self.baseline) for variant in self.variants if variant != self.baseline)
        return tuple(dict.fromkeys(self.contrasts or default))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every pair (variant, against) that is tested: the contrasts, and the published pairs that they lack."""
        chosen = self.chosen_pairs
        asked = dict.fromkeys((row.variant, row.against) for row in self.published)
        return chosen + tuple(pair for pair in asked if pair not in chosen and pair[::-1] not in chosen)

    def margin_of(self, variant: str, against: str) -> Margin | None:
        """The margin of a contrast, whichever way round it is declared."""
        return next((m for m in self.margins if {m.variant, m.against} == {variant, against}), None)

    @property
    def decimals(self) -> int:
        """Decimals shown: 2 of a percentage, 3 of anything else."""
        return 2 if self.metric_scale == 100 else 3

    @property
    def difference_label(self) -> str:
        """Heading of a difference, with its unit where the measure is a percentage."""
        return "difference (points)" if "%" in self.metric_label else "difference"


def level_words(level: str) -> str:
    """A level as people read it: thousands are set apart."""
    return f"{int(level):,}" if level.isdecimal() else level
