"""An experiment: a question, variants to compare, seeds to compare them over.

A module in `experiments/` (or any file) declares one as ``EXPERIMENT``, with no logic in it. The base config
comes from the scale (`lab/scales.py`); a variant is the few fields in which it differs, by dotted path:

    variants={
        "random": {"classifier.start": "random"},
        "fine-tuned LM": {"classifier.start": "fine-tuned"},
    }
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ulmfit_lab.config import RunConfig, fingerprint, flatten, override
from ulmfit_lab.errors import ConfigError, LabError, nearest
from ulmfit_lab.lab.scales import SCALES
from ulmfit_lab.report.spec import Published

Changes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One question, answered by runs of variants that share seeds and data order.

    Raises ConfigError when made with an unknown field, two equal variants, or a baseline that is no variant.
    """

    name: str
    question: str
    claim: str = ""
    """The statement under test."""
    source: str = ""
    """Who said it, and where."""
    baseline: str
    variants: Mapping[str, Changes]
    across: str = ""
    """Field crossed with the variants, such as target.labels; comparisons stay within one of its levels."""
    across_label: str = ""
    """What the crossed field is called on an axis."""
    levels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Scale -> values of the crossed field."""
    scales: Mapping[str, Changes] = field(default_factory=dict)
    """Scale -> fields in which this experiment's base differs from the scale's."""
    recipes: Mapping[str, Mapping[str, Changes]] = field(default_factory=dict)
    """Scale -> variant -> fields that were tuned for it on validation data (see search)."""
    search: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Field -> values that `tune` tries for each variant: the same budget for all."""
    search_level: Mapping[str, Any] = field(default_factory=dict)
    """Scale -> level of the crossed field at which `tune` searches."""
    seeds: Sequence[int] = tuple(range(6))
    search_seeds: Sequence[int] = (1001, 1002)
    """Seeds of `tune`; none of them is a seed of the comparison."""
    measure: str = "final/error"
    measure_label: str = "Test error (%)"
    measure_scale: float = 100.0
    """What the measure is multiplied by where it is shown."""
    lower_is_better: bool = True
    reference: str | None = None
    """Variant drawn as a line to compare with."""
    contrasts: Sequence[tuple[str, str]] = ()
    """Pairs (variant, against) that are tested; none given: each variant against the baseline."""
    headline: Sequence[tuple[str, str, Any]] = ()
    """Contrasts (variant, against, level) that answer the claim, for the ledger; a level of None is the last one.
    None given: all contrasts at the last level."""
    published: Sequence[Published] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_names(self)
        for scale in SCALES:
            configs = {variant: variant_config(self, scale, variant) for variant in self.variants}
            _refuse_twins(self.name, configs)

    def levels_at(self, scale: str) -> tuple[Any, ...]:
        """The crossed field's values at a scale; (None,) where nothing is crossed."""
        return tuple(self.levels[scale]) if self.across else (None,)


@dataclass(frozen=True)
class Cell:
    """One run to make: a variant at a level with a seed."""

    experiment: str
    scale: str
    variant: str
    level: Any
    seed: int
    config: RunConfig

    @property
    def level_name(self) -> str:
        """The level as text, as runs and reports hold it; empty where nothing is crossed."""
        return "" if self.level is None else str(self.level)

    @property
    def label(self) -> str:
        """Name of the run, as people read it."""
        level = f" @ {self.level_name}" if self.level_name else ""
        return f"{self.variant}{level}, seed {self.seed}"


def variant_config(experiment: Experiment, scale: str, variant: str, overrides: Changes | None = None) -> RunConfig:
    """A variant's config at a scale: scale, experiment, variant, tuned recipe, then the user's overrides."""
    known_scale(scale)
    changes: dict[str, Any] = {}
    for layer in (
        experiment.scales.get(scale, {}),
        experiment.variants[variant],
        experiment.recipes.get(scale, {}).get(variant, {}),
        overrides or {},
    ):
        changes.update(layer)
    return override(SCALES[scale], changes)


def base_config(experiment: Experiment, scale: str) -> RunConfig:
    """The config that all variants of an experiment start from at a scale."""
    known_scale(scale)
    return override(SCALES[scale], experiment.scales.get(scale, {}))


def known_scale(scale: str) -> None:
    """Refuse a scale that does not exist."""
    if scale not in SCALES:
        raise ConfigError(f"{scale!r} is not a scale. {nearest(scale, SCALES)}")


def cells(experiment: Experiment, scale: str, overrides: Changes | None = None) -> list[Cell]:
    """Every run that an experiment declares at a scale, seed by seed, so that pairs complete early."""
    found = []
    for seed, level, variant in itertools.product(experiment.seeds, experiment.levels_at(scale), experiment.variants):
        config = variant_config(experiment, scale, variant, overrides)
        if experiment.across:
            config = override(config, {experiment.across: level})
        found.append(Cell(experiment.name, scale, variant, level, seed, config))
    return found


def declaration(experiment: Experiment, scale: str, overrides: Changes | None = None) -> str:
    """Fingerprint of what is compared: the variants' configs, levels and seeds."""
    return fingerprint([[c.variant, c.level, c.seed, flatten(c.config)] for c in cells(experiment, scale, overrides)])


def tuning_of(experiment: Experiment, scale: str) -> Experiment:
    """The search for each variant's recipe, as an experiment of its own: the same runner, tracker and store.

    Every variant tries every combination of `search` with the search seeds, at one level; what is measured is
    the validation error, so that no test document has a say.
    """
    if not experiment.search:
        raise ConfigError(f"{experiment.name} declares no search; give its EXPERIMENT a search={{field: values}}.")
    known_scale(scale)
    names, values = list(experiment.search), list(experiment.search.values())
    variants = {
        f"{variant} | {describe(dict(zip(names, point, strict=True)))}": {
            **changes,
            **dict(zip(names, point, strict=True)),
        }
        for variant, changes in experiment.variants.items()
        for point in itertools.product(*values)
        if changes.get("classifier.model") != "tf-idf"
    }
    level = {experiment.across: experiment.search_level[scale]} if experiment.across else {}
    return replace(
        experiment,
        name=f"{experiment.name}-tuning",
        variants=variants,
        baseline=next(iter(variants)),
        across="",
        levels={},
        scales={scale: {**experiment.scales.get(scale, {}), **level}},
        recipes={},
        seeds=experiment.search_seeds,
        search={},
        search_level={},
        measure="final/valid_error",
        reference=None,
        contrasts=(),
        headline=(),
        published=(),
    )


def describe(changes: Changes) -> str:
    """Changes in a few words, as in a variant's name."""
    return ", ".join(f"{path.rsplit('.', 1)[-1]}={value}" for path, value in changes.items())


def _check_names(experiment: Experiment) -> None:
    variants = experiment.variants
    named = [experiment.baseline, *([experiment.reference] if experiment.reference else [])]
    named += [name for pair in experiment.contrasts for name in pair]
    named += [variant for by_variant in experiment.recipes.values() for variant in by_variant]
    named += [name for row in experiment.published for name in (row.variant, row.against)]
    for name in named:
        if name not in variants:
            raise ConfigError(f"{experiment.name}: {name!r} is not one of its variants. {nearest(name, variants)}")
    _check_headline(experiment)
    overlap = set(experiment.seeds) & set(experiment.search_seeds)
    if experiment.search and overlap:
        raise ConfigError(f"{experiment.name}: seeds {sorted(overlap)} both tune and compare; keep them apart.")


def _check_headline(experiment: Experiment) -> None:
    """A headline answers the claim, so it must be among what is tested."""
    tested = experiment.contrasts or [(v, experiment.baseline) for v in experiment.variants]
    known = {str(level) for levels in experiment.levels.values() for level in levels}
    for variant, against, level in experiment.headline:
        if (variant, against) not in [*tested, *((row.variant, row.against) for row in experiment.published)]:
            raise ConfigError(f"{experiment.name}: headline {variant!r} - {against!r} is not among its contrasts.")
        if level is not None and str(level) not in known:
            raise ConfigError(f"{experiment.name}: headline level {level!r} is not a level of any scale.")


def _refuse_twins(name: str, configs: Mapping[str, RunConfig]) -> None:
    for (one, a), (other, b) in itertools.combinations(configs.items(), 2):
        if a == b:
            raise ConfigError(f"{name}: variants {one!r} and {other!r} are the same config.")


def experiment_folders() -> Iterator[Path]:
    """Where experiments are looked up by name: ./experiments, then the one beside the package."""
    beside = Path(__file__).resolve().parents[2] / "experiments"
    yield from dict.fromkeys(p for p in (Path.cwd() / "experiments", beside) if p.is_dir())


def experiment_files() -> dict[str, Path]:
    """Name -> file of every experiment that can be found by name."""
    found: dict[str, Path] = {}
    for folder in experiment_folders():
        for path in sorted(folder.glob("[!_]*.py")):
            found.setdefault(path.stem, path)
    return found


def load_experiment(name: str) -> Experiment:
    """The experiment of this name, or in this file.

    Raises ConfigError where there is none (with the nearest name) or the file declares no EXPERIMENT.
    """
    path = Path(name) if name.endswith(".py") else experiment_files().get(name)
    if path is None:
        raise ConfigError(f"There is no experiment {name!r}. {nearest(name, experiment_files())}")
    if not path.is_file():
        raise ConfigError(f"There is no file {path}; name an experiment or a .py file that declares EXPERIMENT.")
    found = getattr(_import_file(path), "EXPERIMENT", None)
    if not isinstance(found, Experiment):
        raise ConfigError(f"{path} declares no EXPERIMENT; end it with EXPERIMENT = Experiment(...).")
    return found


def _import_file(path: Path) -> Any:
    module_name = f"ulmfit_lab_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except LabError:
        raise
    except Exception as error:
        raise ConfigError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
