"""Differences between the resolved configs of each variant and the baseline.

A difference is declared in `variants`, tuned on validation data, or else a confound.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ulmfit_lab.config.paths import differences
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.consistency import unread_fields
from ulmfit_lab.experiment.declaration import Changes, Experiment, run_specs
from ulmfit_lab.utils.errors import ConfigError

Pair = tuple[Any, Any]
"""Values of baseline and variant."""


@dataclass(frozen=True)
class Differences:
    """Dotted path -> values of the fields in which a variant differs from the baseline."""

    declared: Mapping[str, Pair]
    """Fields declared by the variant or the baseline."""
    tuned: Mapping[str, Pair]
    """Fields tuned for the variant or the baseline, even if also declared."""
    other: Mapping[str, Pair]
    """Confounds."""

    def words(self) -> str:
        """The differences as one line."""
        parts = [f"{path} {old!r} -> {new!r}" for path, (old, new) in self.declared.items()]
        parts += [f"{path} {old!r} -> {new!r} (tuned)" for path, (old, new) in self.tuned.items()]
        parts += [f"{path} {old!r} -> {new!r} (NOT DECLARED)" for path, (old, new) in self.other.items()]
        return ", ".join(parts) or "the same config as the baseline"


def sort_differences(
    config: RunConfig, baseline: RunConfig, declared: Collection[str], tuned: Collection[str]
) -> Differences:
    """Classify the differences between two configs.

    Those in fields that no stage of the first reads, as a learning rate of TF-IDF, are left out unless all are.
    """
    found = {path: (old, new) for path, (new, old) in differences(config, baseline).items()}
    unread = unread_fields(config)
    intended = {path: pair for path, pair in found.items() if path in declared or path in tuned}
    read = {path: pair for path, pair in intended.items() if path not in unread} or intended
    return Differences(
        declared={path: pair for path, pair in read.items() if path not in tuned},
        tuned={path: pair for path, pair in read.items() if path in tuned},
        other={path: pair for path, pair in found.items() if path not in intended},
    )


def variant_differences(experiment: Experiment, scale: str, overrides: Changes | None = None) -> dict[str, Differences]:
    """Variant -> differences of its runs from the baseline's runs of the same level and seed."""
    configs = {(c.variant, c.level, c.seed): c.config for c in run_specs(experiment, scale, overrides)}
    recipes, reference = experiment.tuned.get(scale, {}), experiment.baseline
    found: dict[str, Differences] = {}
    for (variant, level, seed), config in configs.items():
        if variant == reference:
            continue
        declared = {*experiment.variants[variant], *experiment.variants[reference]}
        tuned = {*recipes.get(variant, {}), *recipes.get(reference, {})}
        here = sort_differences(config, configs[reference, level, seed], declared, tuned)
        before = found.setdefault(variant, here)
        found[variant] = Differences(
            {**here.declared, **before.declared}, {**here.tuned, **before.tuned}, {**here.other, **before.other}
        )
    return found


def check_confounds(experiment: Experiment, scale: str, overrides: Changes | None = None) -> None:
    """Raise ConfigError if a variant differs from the baseline in an undeclared field."""
    for variant, found in variant_differences(experiment, scale, overrides).items():
        if found.other:
            fields = f"{', '.join(found.other)}; declare them in `variants` or `tuned`"
            where = f"{experiment.name}: {variant!r} differs from the baseline {experiment.baseline!r}"
            raise ConfigError(f"{where} in undeclared fields {fields}.")


def difference_lines(experiment: Experiment, scale: str, overrides: Changes | None = None) -> list[str]:
    """A line for each variant: differing fields, old -> new."""
    found = variant_differences(experiment, scale, overrides)
    lines = [f"{variant}: {differing.words()}" for variant, differing in found.items()]
    return [f"{experiment.baseline}: the baseline", *lines]
