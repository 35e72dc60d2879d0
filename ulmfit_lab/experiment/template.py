"""Template of an experiment module."""

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
    # The variant with which the others are compared.
    baseline="none",
    # The fields in which each variant differs from the scale's config. `ulmfit-lab plan {name} --config-help` lists
    # all fields; `ulmfit-lab plan {name}` shows the differences.
    variants={{
        "none": {{"classifier.weight_dropout": 0.0}},
        "a little": {{"classifier.weight_dropout": 0.05}},
        "much": {{"classifier.weight_dropout": 0.5}},
    }},
    # Optional: a field that is crossed with the variants, and its values at each scale.
    factor="target.n_labels",
    levels={{"tiny": (60,), "demo": (100, 1000), "small": (100, 500), "paper": (100, 1000)}},
    # With fewer than six seeds the report gives no verdict.
    seeds=(0, 1, 2, 3, 4, 5),
    # Fields in which all variants differ from the scale:
    # scales={{"small": {{"target.name": "trec", "target.n_valid": 500}}}},
    # Hyperparameters that `ulmfit-lab tune {name}` searches for each variant, on validation data:
    # search=Search(space={{"classifier.lr": [1e-3, 3e-3, 1e-2]}}, levels={{"small": 500}}),
)
'''


def new_experiment(name: str, folder: Path) -> Path:
    """Write the module of a new experiment; it can be run unchanged.

    Raises ConfigError if the name is not a Python identifier or exists, DataError if the folder is not writable.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ConfigError(f"{name!r} is not a module name; use letters, digits and underscores, a letter first.")
    if name in experiment_files():
        raise ConfigError(f"There is an experiment {name} in {experiment_files()[name]}; choose another name.")
    path = folder / f"{name}.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name))
    except FileExistsError:
        raise ConfigError(f"{path} already exists; choose another name.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; use another folder.") from error
    return path
