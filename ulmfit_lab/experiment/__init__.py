"""Declaring an experiment: variants, search space, confound checks, plan.

A module in `experiments/` needs nothing but what is exported here, and the named scales of `ulmfit_lab.config.scales`.
"""

from ulmfit_lab.analysis.spec import Associations, ExtraMetric, ManipulationCheck, Predictor, Published
from ulmfit_lab.experiment.declaration import Design, Experiment, Report, Search
from ulmfit_lab.experiment.search_space import Range

__all__ = [
    "Associations",
    "Design",
    "Experiment",
    "ExtraMetric",
    "ManipulationCheck",
    "Predictor",
    "Published",
    "Range",
    "Report",
    "Search",
]
