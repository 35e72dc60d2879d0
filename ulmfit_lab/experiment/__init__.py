"""Declaration of experiments: variants, search space, confound checks, plan."""

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
