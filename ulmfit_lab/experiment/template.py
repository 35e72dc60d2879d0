"""A module for an experiment of the user's own, to start from."""

from __future__ import annotations

import keyword
from pathlib import Path

from ulmfit_lab.experiment.declaration import experiment_files
from ulmfit_lab.utils.errors import ConfigError, DataError

TEMPLATE = '''"""Does weight dropout help a small classifier?"""

from ulmfit_lab.experiment import Experiment

EXPERIMENT = Experiment(
    name="{name}",
    # One sentence; `ulmfit-lab list` and the report show it.
    question="Does weight dropout help a classifier with few labels?",
    # The variant that the others are compared with.
    baseline="none",
    # A variant is the fields in which it differs from the scale's config; `ulmfit-lab plan {name} --config-help`
    # lists all fields, and `ulmfit-lab plan {name}` shows the differences.
    variants={{
        "none": {{"classifier.weight_dropout": 0.0}},
        "a little": {{"classifier.weight_dropout": 0.05}},
        "much": {{"classifier.weight_dropout": 0.5}},
    }},
    # A field that is crossed with the variants, and its values at each scale; leave these two out to cross nothing.
    factor="target.n_labels",
    levels={{"tiny": (60,), "demo": (100, 1000), "small": (100, 500), "paper": (100, 1000)}},
    # With fewer than six seeds a report describes the runs and gives no verdict.
    seeds=(0, 1, 2, 3, 4, 5),
    # What all variants have in common, where it is not the scale's:
    # scales={{"small": {{"target.name": "trec", "target.n_valid": 500}}}},
    # What `ulmfit-lab tune {name}` searches for each variant, on validation data:
    # search=Search(space={{"classifier.lr": [1e-3, 3e-3, 1e-2]}}, levels={{"small": 500}}),
)
'''


def new_experiment(name: str, folder: Path) -> Path:
    """Write the module of a new experiment, which runs as it is.

    Raises ConfigError for a name that is no Python identifier or is taken, DataError for a folder that cannot be used.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ConfigError(f"{name!r} is no name for a module; use letters, digits and underscores, a letter first.")
    if name in experiment_files():
        raise ConfigError(f"There is an experiment {name} in {experiment_files()[name]}; choose another name.")
    path = folder / f"{name}.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name))
    except FileExistsError:
        raise ConfigError(f"{path} is there already; choose another name.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; go to a folder of your own.") from error
    return path
