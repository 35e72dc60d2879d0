"""In what each variant really differs from the baseline: the resolved configs are compared, field by field.

A difference is declared (it is what the experiment asks about), tuned (it comes from a recipe that was searched on
validation data; recipes differ by design), or a confound: something else that could explain a result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ulmfit_lab.config.paths import differences
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.declaration import Changes, Experiment, run_specs
from ulmfit_lab.utils.errors import ConfigError

Pair = tuple[Any, Any]
"""Value of the baseline, value of the variant."""


@dataclass(frozen=True)
class Differences:
    """Dotted path -> values of every field in which a variant's config differs from the baseline's."""

    declared: Mapping[str, Pair]
    """Fields that the variant or the baseline names in `variants`."""
    tuned: Mapping[str, Pair]
    """Fields that a recipe of the variant or the baseline sets; a recipe has the last word on a declared field."""
    other: Mapping[str, Pair]
    """Confounds. The user's overrides are the same for all variants, so there must be none."""

    def words(self) -> str:
        """The differences as people read them, in a line."""
        parts = [f"{path} {old!r} -> {new!r}" for path, (old, new) in self.declared.items()]
        parts += [f"{path} {old!r} -> {new!r} (tuned)" for path, (old, new) in self.tuned.items()]
        parts += [f"{path} {old!r} -> {new!r} (NOT DECLARED)" for path, (old, new) in self.other.items()]
        return ", ".join(parts) or "the same config as the baseline"


def sort_differences(
    config: RunConfig, baseline: RunConfig, declared: Collection[str], tuned: Collection[str]
) -> Differences:
    """The differences between two configs, sorted by where they come from."""
    found = {path: (old, new) for path, (new, old) in differences(config, baseline).items()}
    return Differences(
        declared={path: pair for path, pair in found.items() if path in declared and path not in tuned},
        tuned={path: pair for path, pair in found.items() if path in tuned},
        other={path: pair for path, pair in found.items() if path not in declared and path not in tuned},
    )


def variant_differences(experiment: Experiment, scale: str, overrides: Changes | None = None) -> dict[str, Differences]:
    """Variant -> in what its cells differ from the baseline's cells of the same level and seed; not the baseline."""
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
    """Raise ConfigError where a variant differs from the baseline in a field that nobody declared."""
    for variant, found in variant_differences(experiment, scale, overrides).items():
        if found.other:
            raise ConfigError(
                f"{experiment.name}: {variant!r} differs from the baseline {experiment.baseline!r} in "
                f"{', '.join(found.other)}, which neither `variants` nor `recipes` names."
            )


def difference_lines(experiment: Experiment, scale: str, overrides: Changes | None = None) -> list[str]:
    """A line for the baseline and one for each variant: the fields that differ, old -> new."""
    found = variant_differences(experiment, scale, overrides)
    lines = [f"{variant}: {differing.words()}" for variant, differing in found.items()]
    return [f"{experiment.baseline}: the baseline", *lines]
