"""Check that a table of runs agrees with the declaration, by comparing params with config fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulmfit_lab.analysis.replicates import STAGE, kind_of
from ulmfit_lab.config.paths import field_types, flatten, parse_value
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.declaration import Changes, Experiment, run_specs
from ulmfit_lab.pipeline.store import VERSIONS
from ulmfit_lab.utils.errors import MismatchError

if TYPE_CHECKING:
    import pandas as pd

PARAM = "param/"
"""Prefix of columns with config fields."""
KINDS = field_types(RunConfig)
SHOWN = 3
"""Maximum number of contradictions in a message."""
LANGUAGE_MODEL = ("general.", "imported", "pretraining.", "fine_tuning.")
NETWORK = (*LANGUAGE_MODEL, "unlabelled.", "vocabulary.", "word_vectors.", "lm.", "classifier.")
UNREAD: Mapping[str, tuple[str, ...]] = {
    "pretrained": ("target.", "unlabelled.", "word_vectors.", "fine_tuning.", "classifier."),
    "fine-tuned": ("word_vectors.", "classifier."),
    "tf-idf": (*NETWORK, "compute."),
    "word-vectors": (*LANGUAGE_MODEL[2:], "imported", "vocabulary.", "classifier.", "compute."),
    "sentence-encoder": NETWORK,
    "transformer": tuple(prefix for prefix in NETWORK if prefix != "classifier."),
    "init random": (*LANGUAGE_MODEL, "word_vectors."),
    "init word2vec": ("imported", "pretraining.", "fine_tuning."),
    "init glove": (*LANGUAGE_MODEL, "word_vectors."),
    "init pretrained": ("word_vectors.", "fine_tuning."),
    "init fine-tuned": ("word_vectors.",),
}
"""Last stage, classifier model or its initialization -> prefixes of fields that no stage reads."""
READ = (
    *("classifier.model", "classifier.both_directions", "classifier.second_model", "classifier.init"),
    *("word_vectors.path", "pretraining.seed"),
)
"""Exceptions: fields that some runs read."""


def unread_fields(config: RunConfig) -> frozenset[str]:
    """Fields that no stage of a run reads; not exhaustive."""
    fit = config.classifier
    model = fit.model if fit.model != "awd-lstm" else f"init {fit.init}"
    prefixes = UNREAD[config.last_stage if config.last_stage != "classifier" else model]
    return frozenset(path for path in KINDS if path.startswith(prefixes) and path not in READ)


def check_consistency(runs: pd.DataFrame, experiment: Experiment, scale: str, overrides: Changes | None = None) -> None:
    """Raise MismatchError if a run of a table has another value of a field than its declaration."""
    found: dict[tuple[str, str], str] = {}
    for row, config in declared_rows(runs, experiment, scale, overrides):
        for path, value in flatten(config).items():
            text = row.get(PARAM + path)
            if path not in unread_fields(config) and text is not None and not matches_declaration(path, text, value):
                what = f"{row['variant']!r} has {path} = {text or 'nothing'} and {value!r} is declared"
                found.setdefault((row["variant"], path), what)
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise MismatchError(
            f"the runs contradict the declaration of {experiment.name} at scale {scale}: "
            f"{'; '.join(list(found.values())[:SHOWN])}{more}. Restore the declaration, or run the sweep again."
        )


def older_stages(runs: pd.DataFrame) -> list[str]:
    """Stages that runs of a table made with other versions of the code, such as "pretrained was 2, today 3"."""
    found: dict[str, None] = {}
    for name in (str(column).removeprefix(STAGE) for column in runs.columns if str(column).startswith(STAGE)):
        if "." not in name:
            made = runs[runs[f"{STAGE}{name}"].astype(str) != ""]
            versions = set(made.get(f"{STAGE}{name}.version", [""] * len(made)))
            found |= dict.fromkeys(version_difference(name, then) for then in sorted(map(str, versions)))
    return [text for text in found if text]


def version_difference(stage: str, then: str) -> str:
    """Recorded and today's version of a run's stage in words, "" if they are equal; stages without one are older."""
    now = str(VERSIONS[kind_of(stage)])
    return "" if then == now else f"{stage} was {then or 'older'}, today {now}"


def unknown_fields(
    runs: pd.DataFrame, experiment: Experiment, scale: str, overrides: Changes | None = None
) -> list[str]:
    """Fields that are missing in an older table, and are not at their default in a declared run that reads them."""
    usual, known = flatten(RunConfig()), set(runs.columns)
    found: dict[str, None] = {}
    for _, config in declared_rows(runs, experiment, scale, overrides):
        lacking = (path for path in KINDS if PARAM + path not in known and path not in unread_fields(config))
        found |= dict.fromkeys(path for path in lacking if flatten(config)[path] != usual[path])
    return list(found)


def declared_rows(
    runs: pd.DataFrame, experiment: Experiment, scale: str, overrides: Changes | None
) -> Iterator[tuple[dict[str, Any], RunConfig]]:
    """Rows of declared runs, each with its config."""
    configs = {(c.variant, c.level_name, c.seed): c.config for c in run_specs(experiment, scale, overrides)}
    for row in runs.to_dict("records"):
        name = row["variant"], row["level"], int(row["seed"])
        if name in configs:
            yield {str(column): value for column, value in row.items()}, configs[name]


def matches_declaration(path: str, text: str, value: Any) -> bool:
    """Whether a param equals the value of a field; of paths only the file name is compared."""
    if not text and KINDS[path] is not str:  # the run is older than the field
        return True
    if path.endswith("path"):
        return Path(text).name == Path(str(value)).name
    try:
        return bool(parse_value(text, KINDS[path]) == value)
    except (ValueError, KeyError):
        return False
