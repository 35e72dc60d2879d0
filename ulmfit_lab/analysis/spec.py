"""Specification of a report: everything it needs besides the runs."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_SEEDS = 6
"""Minimum number of pairs for a claim; with fewer, a signed-rank test cannot reach p < 0.05."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published result to compare a contrast with."""

    variant: str
    against: str
    what: str
    """Metric and data set."""
    value: float
    """Published difference, variant minus against, in the unit of the report."""
    source: str
    against_value: float | None = None
    """Published value of against: with it, perplexities are compared by their ratio, and not by their difference."""
    dose: str = ""
    """What was changed there and what is changed here, such as "weight dropout 0.5 there, 0.1 here"."""


@dataclass(frozen=True, kw_only=True)
class ExtraMetric:
    """A further metric that is reported but not tested."""

    metric: str
    """Column of the runs, such as final/padding."""
    label: str
    scale: float = 1.0
    """Factor for display."""


@dataclass(frozen=True)
class ManipulationCheck:
    """Condition on a metric that shows that a variant's manipulation took effect."""

    metric: str
    """Column of the runs, such as final/pretraining_averaging_began."""
    statement: str
    """Description of a run that passes, such as "averaging began"."""
    at_least: float | None = None
    at_most: float | None = None

    def passes(self, value: float) -> bool:
        """Whether a value is within the bounds; False for nan."""
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
class Expectation:
    """What an experiment is expected to show and to cost at a scale, declared before its first run."""

    sd: float
    """Standard deviation of a contrast's paired differences between replicates, in the unit of the report, above 0."""
    source: str
    """What the sd was estimated from, such as withdrawn results."""
    core_hours: float
    """Compute time, without stages that other experiments share."""
    changes_mind: str
    """Result that would change our mind about the claim."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A metric of a model that may predict an outcome."""

    metric: str
    """Column of the runs, such as final/lm_perplexity."""
    name: str
    label: str
    """Axis label."""
    unit: str
    """Unit of its standard deviation, after scale and logarithm, such as points or nats."""
    scale: float = 1.0
    """Factor for display."""
    lower_is_better: bool = False
    log: bool = False
    """Whether its logarithm is compared, as for perplexity."""
    epoch_sd: str = ""
    """Column with the standard deviation over the last epochs, of the logarithm if `log`; not scaled."""


@dataclass(frozen=True, kw_only=True)
class Associations:
    """Two predictors and an outcome of the same models: which predictor varies less, which correlates more.

    Each variant is a model, each seed a run of it. The experiment must not have a factor.
    """

    x: tuple[Predictor, Predictor]
    """The second is compared with the first."""
    y: str = "final/error"
    """Column of the outcome."""
    y_label: str = "Test error (%)"
    y_scale: float = 100.0
    y_lower_is_better: bool = True
    variants: tuple[str, ...] = ()
    """Variants to include (default: all). Of two that share their training include one."""


@dataclass(frozen=True)
class CrossedResult:
    """Mean difference over seeds and test documents (see `crossed`)."""

    difference: float
    low: float
    high: float
    """95% t interval."""
    seeds_share: float
    documents_share: float
    """Shares of the variance of the mean; the rest is of their interaction."""
    n_seeds: int
    n_documents: int


@dataclass(frozen=True, kw_only=True)
class DocumentInterval(CrossedResult):
    """The same of a contrast, in the unit of the report."""

    variant: str
    against: str
    level: str


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """An experiment's declaration for the report.

    Every variant has a run at every level with every seed; contrasts are compared at each level.
    """

    name: str
    scale: str
    question: str
    claim: str
    source: str
    baseline: str
    variants: tuple[str, ...]
    levels: tuple[str, ...]
    """Levels of the factor as text; ("",) without a factor."""
    level_name: str
    level_label: str
    seeds: tuple[int, ...]
    metric: str
    """Compared column, such as final/error."""
    metric_label: str
    metric_scale: float
    lower_is_better: bool
    reference: str | None
    contrasts: tuple[tuple[str, str], ...]
    """Tested pairs (variant, against); default: each variant against the baseline."""
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
    associations: Associations | None = None
    against_compute: bool = False
    extra_metrics: tuple[ExtraMetric, ...] = ()
    looks: tuple[int, ...] = ()
    """Numbers of seeds of the interim analyses; empty: one analysis at the end."""
    checks: tuple[tuple[str, ManipulationCheck], ...] = ()
    """Manipulation checks (variant, check); a comparison is void if no run of a variant passes."""
    primary: tuple[tuple[str, str, str], ...] = ()
    """Contrasts (variant, against, level) of the primary family; none: all contrasts are one family."""
    margins: tuple[Margin, ...] = ()
    """Contrasts that are also tested for equivalence and non-inferiority."""
    smallest_difference: float | None = None
    """The smallest difference of interest, from which further seeds are planned."""
    language_models: int | None = None
    """Number of language models that the seeds share; None where the seeds decide."""
    expected: Expectation | None = None
    """None at other scales than small."""
    registered: str = ""
    """When the experiment was declared, in a sentence; empty where that is not recorded."""
    changed: tuple[str, ...] = ()
    """What was changed in the declaration since then."""
    exploratory: tuple[tuple[str, str, str], ...] = ()
    """Contrasts (variant, against, level) that were not declared as they are before the first run."""
    documents: tuple[DocumentInterval, ...] = ()
    """Intervals over seeds and test documents together, where the predictions are known."""
    tested_seeds: int = 0
    """Number of seeds of a fixed test that was made before the looks were planned; 0 if they were declared first."""
    efficiency: tuple[tuple[str, str], ...] = ()
    """Pairs (variant, against): at which level does against reach what variant reaches?"""

    @property
    def tests(self) -> int:
        """Number of tests of the family over which a primary contrast is corrected."""
        return len(self.primary) or len(self.pairs) * len(self.levels)

    @property
    def replicates(self) -> int:
        """Number of independent replicates of a contrast of language models: their number, or that of the seeds."""
        return min(self.language_models or len(self.seeds), len(self.seeds))

    @property
    def models(self) -> tuple[str, ...]:
        """Variants included in the associations."""
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
        """Number of decimals: 2 for percentages, else 3."""
        return 2 if self.metric_scale == 100 else 3

    @property
    def difference_label(self) -> str:
        """Column heading of differences, with the unit of percentages."""
        return "difference (points)" if "%" in self.metric_label else "difference"


def level_words(level: str) -> str:
    """Format a level, with thousands separators."""
    return f"{int(level):,}" if level.isdecimal() else level
