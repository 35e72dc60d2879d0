"""Whether runs that a table tells of were made with the configs that their cells have today: field by field.

Where there is data, a fingerprint says so; a table of committed runs is held against the declaration by its params.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ulmfit_lab.config.paths import field_types, flatten, parse_value
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.declaration import Changes, Experiment, run_specs
from ulmfit_lab.utils.errors import MismatchError

PARAM = "param/"
"""How the names of columns begin that hold a config's field."""
KINDS = field_types(RunConfig)
SHOWN = 3
"""Contradictions that a message names before it only counts them."""
LANGUAGE_MODEL = ("general.", "imported", "pretraining.", "fine_tuning.")
NETWORK = (*LANGUAGE_MODEL, "unlabelled.", "vocabulary.", "word_vectors.", "lm.", "classifier.")
UNREAD: Mapping[str, tuple[str, ...]] = {
    "pretrained": ("target.", "unlabelled.", "word_vectors.", "fine_tuning.", "classifier."),
    "fine-tuned": ("word_vectors.", "classifier."),
    "tf-idf": (*NETWORK, "compute."),
    "sentence-encoder": NETWORK,
    "init random": (*LANGUAGE_MODEL, "word_vectors."),
    "init word2vec": ("imported", "pretraining.", "fine_tuning."),
    "init glove": (*LANGUAGE_MODEL, "word_vectors."),
    "init pretrained": ("word_vectors.", "fine_tuning."),
    "init fine-tuned": ("word_vectors.",),
}
"""What a run ends at, its classifier's model, or that model's start -> fields that none of its stages reads."""
READ = ("classifier.model", "classifier.both_directions", "classifier.init", "word_vectors.path", "pretraining.seed")
"""Fields among those that count as read all the same: some runs read them."""


def unread_fields(config: RunConfig) -> frozenset[str]:
    """Fields that can change nothing of a run: no stage of it reads them. There may be others."""
    fit = config.classifier
    model = fit.model if fit.model != "awd-lstm" else f"init {fit.init}"
    prefixes = UNREAD[config.last_stage if config.last_stage != "classifier" else model]
    return frozenset(path for path in KINDS if path.startswith(prefixes) and path not in READ)


def check_consistency(runs: pd.DataFrame, experiment: Experiment, scale: str, overrides: Changes | None = None) -> None:
    """Raise MismatchError where a run of a tidy table has another value of a field than its cell has today."""
    found: dict[tuple[str, str], str] = {}
    for row, config in declared_rows(runs, experiment, scale, overrides):
        for path, value in flatten(config).items():
            text = row.get(PARAM + path)
            if path not in unread_fields(config) and text is not None and not matches_declaration(path, text, value):
                told = f"{row['variant']!r} has {path} = {text or 'nothing'} there and {value!r} in the declaration"
                found.setdefault((row["variant"], path), told)
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise MismatchError(
            f"the runs contradict the declaration of {experiment.name} at scale {scale}: "
            f"{'; '.join(list(found.values())[:SHOWN])}{more}. Take the declaration back, or make the runs again."
        )


def unknown_fields(
    runs: pd.DataFrame, experiment: Experiment, scale: str, overrides: Changes | None = None
) -> list[str]:
    """Fields that an older table does not hold, and whose value today is not the default in a cell that reads it."""
    usual, known = flatten(RunConfig()), set(runs.columns)
    found: dict[str, None] = {}
    for _, config in declared_rows(runs, experiment, scale, overrides):
        lacking = (path for path in KINDS if PARAM + path not in known and path not in unread_fields(config))
        found |= dict.fromkeys(path for path in lacking if flatten(config)[path] != usual[path])
    return list(found)


def declared_rows(
    runs: pd.DataFrame, experiment: Experiment, scale: str, overrides: Changes | None
) -> Iterator[tuple[dict[str, Any], RunConfig]]:
    """Each row of a tidy table that is a declared cell's, with the cell's config."""
    configs = {(c.variant, c.level_name, c.seed): c.config for c in run_specs(experiment, scale, overrides)}
    for row in runs.to_dict("records"):
        name = row["variant"], row["level"], int(row["seed"])
        if name in configs:
            yield {str(column): value for column, value in row.items()}, configs[name]


def matches_declaration(path: str, text: str, value: Any) -> bool:
    """Whether a param is how a field's value is written; of files only the names count, since folders differ."""
    if not text and KINDS[path] is not str:  # of a run that is older than the field
        return True
    if path.endswith("path"):
        return Path(text).name == Path(str(value)).name
    try:
        return bool(parse_value(text, KINDS[path]) == value)
    except (ValueError, KeyError):
        return False
