"""Declaration of experiments: variants, search space, confound checks, plan."""

from ulmfit_lab.analysis.spec import (
    Associations,
    Expectation,
    ExtraMetric,
    ManipulationCheck,
    Margin,
    Predictor,
    Published,
)
from ulmfit_lab.experiment.declaration import Design, Experiment, Report, Search
from ulmfit_lab.experiment.search_space import Range

__all__ = [
    "Associations",
    "Design",
    "Expectation",
    "Experiment",
    "ExtraMetric",
    "ManipulationCheck",
    "Margin",
    "Predictor",
    "Published",
    "Range",
    "Report",
    "Search",
]
