"""An experiment: a question, variants to compare, seeds to compare them over.

A module in `experiments/` (or any file) declares one as ``EXPERIMENT``, with no logic in it. The base config
comes from the scale (`config/scales.py`); a variant is the few fields in which it differs, by dotted path:

    variants={
        "random": {"classifier.init": "random"},
        "fine-tuned LM": {"classifier.init": "fine-tuned"},
    }
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ulmfit_lab.analysis.spec import FEWEST_SEEDS, Associations, ExtraMetric, ManipulationCheck, Margin, Published
from ulmfit_lab.config.bounds import field_bounds
from ulmfit_lab.config.paths import fingerprint, flatten, override
from ulmfit_lab.config.scales import SCALES
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.splits import splits_of
from ulmfit_lab.experiment.search_space import Space, check_space, count_points, is_number
from ulmfit_lab.experiment.stored_modules import check_name_unique, declared_in
from ulmfit_lab.training.metrics import VALIDATION, find_metric
from ulmfit_lab.utils.errors import ConfigError, LabError, suggest

Changes = Mapping[str, Any]

COSTS = ("computed_seconds", "reused_seconds")
"""Columns of runs that are no metrics and can be shown beside the measure."""
MOST_SEEDS = 1000
"""Seeds of an experiment: a mean's interval shrinks with their root, and every cell is planned before any is run."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What `tune` searches on validation data, the same number of trials for every variant."""

    space: Space = field(default_factory=dict)
    """Field -> Range, or list of choices."""
    for_variants: Mapping[str, Space] = field(default_factory=dict)
    """Variant -> searched fields for which it needs values of its own, as SGD's learning rates are not Adam's."""
    variants: Sequence[str] = ()
    """Variants that are searched (default: all). Those without an LSTM are never searched."""
    budget: int = 12
    """Trials of each variant."""
    metric: str = "final/valid_error"
    """Validation metric whose mean over the search seeds is optimized."""
    levels: Mapping[str, Any] = field(default_factory=dict)
    """Scale -> level of the factor at which `tune` searches."""
    seeds: Sequence[int] = (1001, 1002, 1003)
    """Seeds of the search; none of them is a seed of the comparison. With fewer than three no trial is pruned."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Which comparisons are made, and when."""

    looks: Sequence[int] = ()
    """Numbers of seeds, up to all, at which an interim analysis is made; a sweep adds seeds only to comparisons that
    are still undecided. Default: all seeds are run, and compared once. Choose them before the first run."""
    contrasts: Sequence[tuple[str, str]] = ()
    """Pairs (variant, against) that are tested (default: each variant against the baseline)."""
    primary: Sequence[tuple[str, str, Any]] = ()
    """Contrasts (variant, against, level) that answer the claim: they are tested first and have a row in the ledger; a
    level of None is the last one. The others are secondary. Default: all contrasts are one family, and the ledger shows
    them at the last level."""
    margins: Sequence[Margin] = ()
    """Contrasts that are also tested for equivalence and non-inferiority."""
    smallest_difference: float | None = None
    """The smallest difference of interest, in the unit of the report: power and further seeds are planned from it."""
    efficiency: Sequence[tuple[str, str]] = ()
    """Pairs (variant, against) whose label efficiency is reported: at how many times the level of the factor, a number
    above 0, against reaches what variant reaches."""
    language_models: int | None = None
    """Language models that the seeds share: seed s trains and fine-tunes with seed s modulo this number, so that
    several draws of labels and heads are nested under each. Default: what `pretraining.seed` and `fine_tuning.seed`
    say."""
    checks: Mapping[str, ManipulationCheck] = field(default_factory=dict)
    """Variant -> what its runs must have measured for its manipulation to have happened; where no run did, the report
    marks its comparisons as void."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the report shows beside the comparisons."""

    factor_label: str = ""
    """Axis label of the factor."""
    extra_metrics: Sequence[ExtraMetric] = ()
    """Further numbers of the runs that are shown and not tested."""
    reference: str | None = None
    """Variant that is drawn as a reference line."""
    published: Sequence[Published] = ()
    """Published figures to compare with."""
    notes: Sequence[str] = ()
    """Limitations that a reader must know."""
    associations: Associations | None = None
    """Numbers of the variants' models that are correlated with an outcome; not with a factor."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One question, answered by runs of variants that share seeds and data order.

    Raises ConfigError when made with an unknown field, two equal variants, a baseline that is not a variant, or a
    search that leaves the config's bounds, uses test documents or makes two variants equal.
    """

    name: str
    question: str
    claim: str = ""
    """The statement under test."""
    source: str = ""
    """Who made the claim, and where."""
    baseline: str
    variants: Mapping[str, Changes]
    """Variant -> the fields in which it differs from the base config."""
    factor: str = ""
    """Field crossed with the variants, such as target.n_labels; comparisons are made within each of its levels."""
    levels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Scale -> levels of the factor."""
    scales: Mapping[str, Changes] = field(default_factory=dict)
    """Scale -> fields in which this experiment's base config differs from the scale's."""
    tuned: Mapping[str, Mapping[str, Changes]] = field(default_factory=dict)
    """Scale -> variant -> fields that were tuned for it on validation data (see `search`)."""
    metric: str = "final/error"
    """What is compared: one of the metrics of docs/metrics.md, which says how it is shown and which way is better."""
    seeds: Sequence[int] = tuple(range(6))
    design: Design = field(default_factory=Design)
    search: Search = field(default_factory=Search)
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        _check_names(self)
        _check_measures(self)
        _check_seeds(self)
        for scale in SCALES:
            configs = {variant: variant_config(self, scale, variant) for variant in self.variants}
            _refuse_twins(self.name, configs)
        if self.search.space:
            _check_search(self)

    def search_space(self, variant: str) -> Space:
        """What `tune` searches for a variant."""
        return {**self.search.space, **self.search.for_variants.get(variant, {})}

    def levels_at(self, scale: str) -> tuple[Any, ...]:
        """The crossed field's values at a scale; (None,) where nothing is crossed."""
        return tuple(self.levels[scale]) if self.factor else (None,)


@dataclass(frozen=True)
class RunSpec:
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
    def group(self) -> str:
        """What it shares with the other seeds: variant and level, as people read them."""
        return f"{self.variant} @ {self.level_name}" if self.level_name else self.variant

    @property
    def label(self) -> str:
        """Name of the run, as people read it."""
        return f"{self.group}, seed {self.seed}"

    @property
    def tags(self) -> dict[str, str]:
        """What its run is found by."""
        own = {"experiment": self.experiment, "scale": self.scale, "variant": self.variant}
        return own | {"level": self.level_name, "seed": str(self.seed)}


def variant_config(experiment: Experiment, scale: str, variant: str, overrides: Changes | None = None) -> RunConfig:
    """A variant's config at a scale: scale, experiment, variant, tuned recipe, then the user's overrides."""
    check_scale(scale)
    changes: dict[str, Any] = {}
    for layer in (
        experiment.scales.get(scale, {}),
        experiment.variants[variant],
        experiment.tuned.get(scale, {}).get(variant, {}),
        overrides or {},
    ):
        changes.update(with_own_texts(SCALES[scale], changes, layer))
    return override(SCALES[scale], changes)


def with_own_texts(base: RunConfig, before: Changes, layer: Changes) -> dict[str, Any]:
    """A layer of changes, with those that follow where it names other texts and does not say them itself.

    Other texts have a split of theirs, and another labelled set has no unlabelled corpus but one that is named with
    it, or one of the same name.
    """
    follow: dict[str, Any] = {}
    for role in ("target", "general", "unlabelled"):
        name, path = layer.get(f"{role}.name"), layer.get(f"{role}.path")
        if not name and not path:
            continue
        config = override(base, before)
        source = getattr(config, role)
        if name and not path:
            follow[f"{role}.path"] = ""
        if path or source.split not in splits_of(str(name)):
            follow[f"{role}.split"] = "train"
        if role == "target" and (path or config.unlabelled.path or config.unlabelled.name not in ("", name)):
            kept = {"unlabelled.name", "unlabelled.path"} & layer.keys()
            follow |= {} if kept else {"unlabelled.name": "", "unlabelled.path": ""}
    return follow | dict(layer)


def at_level(config: RunConfig, factor: str, level: Any) -> RunConfig:
    """The config with the field that levels cross at one of them."""
    return override(config, with_own_texts(config, {}, {factor: level}))


def base_config(experiment: Experiment, scale: str) -> RunConfig:
    """The config that all variants of an experiment start from at a scale."""
    check_scale(scale)
    return override(SCALES[scale], with_own_texts(SCALES[scale], {}, experiment.scales.get(scale, {})))


def check_scale(scale: str) -> None:
    """Refuse a scale that does not exist."""
    if scale not in SCALES:
        raise ConfigError(f"{scale!r} is not a scale. {suggest(scale, SCALES)}")


def until_decided(experiment: Experiment, most: int, batch: int) -> Experiment:
    """The experiment with looks after its own seeds and after every batch more, up to so many.

    Further seeds are those that follow, but for seeds that a search has used. Raises ConfigError for numbers that make
    no such sweep.
    """
    fewest = len(experiment.seeds)
    if most <= fewest or batch < 1:
        raise ConfigError(
            f"{experiment.name} has {fewest} seeds: --max-seeds {most} must be more than that, and "
            f"--batch-seeds {batch} at least 1."
        )
    further = (seed for seed in itertools.count(max(experiment.seeds) + 1) if seed not in experiment.search.seeds)
    seeds = (*experiment.seeds, *itertools.islice(further, most - fewest))
    design = replace(experiment.design, looks=(*range(fewest, most, batch), most))
    return replace(experiment, seeds=seeds, design=design)


def run_specs(experiment: Experiment, scale: str, overrides: Changes | None = None) -> list[RunSpec]:
    """Every run that an experiment declares at a scale, seed by seed, so that pairs complete early."""
    found = []
    for seed, level, variant in itertools.product(experiment.seeds, experiment.levels_at(scale), experiment.variants):
        config = variant_config(experiment, scale, variant, overrides)
        if experiment.factor:
            config = at_level(config, experiment.factor, level)
        if models := experiment.design.language_models:
            config = override(config, {"pretraining.seed": seed % models, "fine_tuning.seed": seed % models})
        found.append(RunSpec(experiment.name, scale, variant, level, seed, config))
    return found


def declaration(experiment: Experiment, scale: str, overrides: Changes | None = None) -> str:
    """Fingerprint of what is compared: the variants' configs, levels and seeds, and the looks where there are any."""
    found = [[c.variant, c.level, c.seed, flatten(c.config)] for c in run_specs(experiment, scale, overrides)]
    return fingerprint([found, list(experiment.design.looks)] if experiment.design.looks else found)


def searched_variants(experiment: Experiment, scale: str) -> list[str]:
    """The variants that `tune` searches: all, or those named, but for classifiers without an LSTM."""
    named = experiment.search.variants or experiment.variants
    configs = {v: variant_config(experiment, scale, v) for v in experiment.variants if v in named}
    return [v for v, c in configs.items() if c.last_stage != "classifier" or c.classifier.model == "awd-lstm"]


def search_config(
    experiment: Experiment, scale: str, variant: str, overrides: Changes | None = None
) -> tuple[Any, RunConfig]:
    """The level at which a variant is searched (None where nothing is crossed), and its config there as it is now.

    Raises ConfigError where no level to search at is declared.
    """
    config = variant_config(experiment, scale, variant, overrides)
    if not experiment.factor:
        return None, config
    if scale not in experiment.search.levels:
        raise ConfigError(f"{experiment.name} has no search.levels for scale {scale}; say which {experiment.factor}.")
    level = experiment.search.levels[scale]
    return level, at_level(config, experiment.factor, level)


def _check_names(experiment: Experiment) -> None:
    variants = experiment.variants
    named = [experiment.baseline, *([experiment.report.reference] if experiment.report.reference else [])]
    named += [name for pair in experiment.design.contrasts for name in pair]
    named += [variant for by_variant in experiment.tuned.values() for variant in by_variant]
    named += [name for row in experiment.report.published for name in (row.variant, row.against)]
    named += [*experiment.search.variants, *experiment.search.for_variants, *experiment.design.checks]
    looks = list(experiment.design.looks)
    if looks and (looks != sorted(set(looks)) or looks[0] < FEWEST_SEEDS or looks[-1] != len(experiment.seeds)):
        raise ConfigError(
            f"{experiment.name}: looks {looks} must rise, from {FEWEST_SEEDS} seeds or more to all of them, "
            f"{len(experiment.seeds)}."
        )
    if experiment.report.associations:
        if looks:
            raise ConfigError(f"{experiment.name}: associations are looked at once; take the looks out.")
        named += experiment.report.associations.variants
        if experiment.factor:
            raise ConfigError(f"{experiment.name}: associations need one level; cross nothing with the variants.")
    for name in named:
        if name not in variants:
            raise ConfigError(f"{experiment.name}: {name!r} is not one of its variants. {suggest(name, variants)}")
    _check_primary(experiment)


def _check_measures(experiment: Experiment) -> None:
    """Refuse what no run has, and an association that says of a metric which way is better, and is wrong."""
    for row in experiment.report.published:
        if not is_number(row.value):
            raise ConfigError(
                f"{experiment.name}: the published value {row.value} of {row.what} must be a finite number."
            )
    try:
        for name in (experiment.metric, experiment.search.metric):
            find_metric(name)
        for each in experiment.report.extra_metrics:
            if each.metric not in COSTS:
                find_metric(each.metric)
        if experiment.report.associations:
            axes = [(each.metric, each.lower_is_better) for each in experiment.report.associations.x]
            for name, lower in [
                *axes,
                (experiment.report.associations.y, experiment.report.associations.y_lower_is_better),
            ]:
                if find_metric(name).lower_is_better != lower:
                    raise ConfigError(f"{name}: lower_is_better is {not lower} of this measure, not {lower}.")
    except ConfigError as error:
        raise ConfigError(f"{experiment.name}: {error}") from None


def _check_seeds(experiment: Experiment) -> None:
    low, high = field_bounds(RunConfig)["pretraining.seed"]
    seeds = tuple(experiment.seeds)
    if not 1 <= len(seeds) <= MOST_SEEDS or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{experiment.name}: seeds must be 1 to {MOST_SEEDS}, each once; there are {len(seeds)}.")
    for seed in seeds:
        if type(seed) is not int or not low <= seed <= high:
            raise ConfigError(f"{experiment.name}: seed {seed!r} must be a whole number from {low} to {high}.")


def _check_search(experiment: Experiment) -> None:
    """Refuse a search that is impossible, unfair, or looks at what it must not see."""
    name, seeds, measure = experiment.name, experiment.search.seeds, experiment.search.metric
    overlap = set(experiment.seeds) & set(seeds)
    if overlap:
        raise ConfigError(f"{name}: seeds {sorted(overlap)} both tune and compare; keep them apart.")
    low, high = field_bounds(RunConfig)["pretraining.seed"]
    if not seeds or len(set(seeds)) < len(seeds) or not low <= min(seeds) <= max(seeds) <= high:
        raise ConfigError(
            f"{name}: search.seeds {tuple(seeds)} must be one seed or more, each once and from {low} to {high}."
        )
    if experiment.search.budget < 1:
        raise ConfigError(f"{name}: search.budget = {experiment.search.budget} must be at least 1.")
    if not measure.startswith(VALIDATION):
        raise ConfigError(
            f"{name}: search.metric {measure!r} must be a measure on validation data, "
            f"so begin with {' or '.join(VALIDATION)}."
        )
    data = [path for path in experiment.search.space if path.startswith("target.")]
    if data:
        raise ConfigError(f"{name}: {data[0]} decides the labelled documents, which a search must leave as they are.")
    for variant, space in experiment.search.for_variants.items():
        if not set(space) <= set(experiment.search.space) or count_points(
            experiment.search_space(variant)
        ) != count_points(experiment.search.space):
            raise ConfigError(
                f"{name}: search.for_variants {variant!r} must give fields of search.space as many values as search "
                "does."
            )
    try:
        for scale in SCALES:
            _check_searched(experiment, scale)
    except ConfigError as error:
        raise ConfigError(f"{name}, search: {error}") from None


def _check_searched(experiment: Experiment, scale: str) -> None:
    searched = searched_variants(experiment, scale)
    lacking = [variant for variant in experiment.search.variants if variant not in searched]
    if lacking or not searched:
        raise ConfigError(f"{lacking[0]!r} has no LSTM to tune." if lacking else "no variant has an LSTM to tune.")
    configs = {variant: variant_config(experiment, scale, variant) for variant in searched}
    for variant, config in configs.items():
        check_space(experiment.search_space(variant), config)
    kept = {v: {p: x for p, x in flatten(c).items() if p not in experiment.search.space} for v, c in configs.items()}
    _refuse_twins("without what is searched", kept)


def _check_primary(experiment: Experiment) -> None:
    """Refuse primary contrasts and margins that are not tested, and numbers that mean nothing."""
    others = [variant for variant in experiment.variants if variant != experiment.baseline]
    tested = experiment.design.contrasts or [(variant, experiment.baseline) for variant in others]
    known = {str(level) for levels in experiment.levels.values() for level in levels}
    for variant, against, level in experiment.design.primary:
        if (variant, against) not in [*tested, *((row.variant, row.against) for row in experiment.report.published)]:
            raise ConfigError(f"{experiment.name}: primary {variant!r} - {against!r} is not among its contrasts.")
        if level is not None and str(level) not in known:
            raise ConfigError(f"{experiment.name}: primary level {level!r} is not a level of any scale.")
    for margin in experiment.design.margins:
        if not {(margin.variant, margin.against), (margin.against, margin.variant)} & set(tested):
            named = f"{margin.variant!r} - {margin.against!r}"
            raise ConfigError(f"{experiment.name}: the margin of {named} is not of one of its contrasts.")
        if not (is_number(margin.value) and margin.value > 0 and margin.reason):
            raise ConfigError(f"{experiment.name}: a margin must be above 0 and have a reason; there is {margin}.")
    for pair in experiment.design.efficiency:
        levels = [level for at in experiment.levels.values() for level in at]
        if not set(pair) <= experiment.variants.keys() or not levels or not all(is_number(x) and x > 0 for x in levels):
            raise ConfigError(
                f"{experiment.name}: efficiency {pair} must be two of its variants, crossed with numbers above 0."
            )
    smallest = experiment.design.smallest_difference
    if smallest is not None and not (is_number(smallest) and smallest > 0):
        raise ConfigError(f"{experiment.name}: smallest_difference = {smallest} must be above 0.")
    models = experiment.design.language_models
    if models is not None and not (type(models) is int and 2 <= models <= len(experiment.seeds)):
        raise ConfigError(
            f"{experiment.name}: language_models = {models} must be 2 to {len(experiment.seeds)}, its seeds."
        )
    if models and experiment.design.looks:
        raise ConfigError(f"{experiment.name}: looks need independent seeds; take language_models or the looks out.")


def _refuse_twins(name: str, configs: Mapping[str, Any]) -> None:
    for (one, a), (other, b) in itertools.combinations(configs.items(), 2):
        if a == b:
            raise ConfigError(f"{name}: variants {one!r} and {other!r} are the same config.")


def experiment_folders() -> Iterator[Path]:
    """Where experiments are looked up by name: ./experiments, those beside the package, those that a wheel brought."""
    beside = Path(__file__).resolve().parents[2] / "experiments"
    installed = Path(sysconfig.get_path("data")) / "share" / "ulmfit_lab" / "experiments"
    yield from dict.fromkeys(p for p in (Path.cwd() / "experiments", beside, installed) if p.is_dir())


def module_files() -> list[Path]:
    """Every file where experiments are looked up; other scripts may lie among them."""
    return [path for folder in experiment_folders() for path in sorted(folder.glob("[!_]*.py"))]


def experiment_files() -> dict[str, Path]:
    """Name -> file of every experiment that can be found by name; told from the source, nothing is run."""
    found: dict[str, Path] = {}
    for path in module_files():
        if declared_in(path).experiment:
            found.setdefault(path.stem, path)
    return found


def load_experiment(name: str) -> Experiment:
    """The experiment of this name, or in this file.

    Raises ConfigError where there is none (with the nearest name), where the file declares no EXPERIMENT or fails, and
    where another file declares one of the same name.
    """
    path = Path(name) if name.endswith(".py") else experiment_files().get(name)
    if path is None:
        raise ConfigError(f"There is no experiment {name!r}. {suggest(name, experiment_files())}")
    if not path.is_file():
        raise ConfigError(f"There is no file {path}; name an experiment or a .py file that declares EXPERIMENT.")
    found = getattr(_import_file(path), "EXPERIMENT", None)
    if not isinstance(found, Experiment):
        raise ConfigError(f"{path} declares no EXPERIMENT; end it with EXPERIMENT = Experiment(...).")
    check_name_unique(found.name, path, [*module_files(), *sorted(path.parent.glob("*.py"))])
    return found


def load_experiments(names: Iterable[str]) -> tuple[dict[str, Experiment], dict[str, str]]:
    """Name -> experiment of those that can be loaded, and name -> reason of those that cannot."""
    found, failed = {}, {}
    for name in names:
        try:
            found[name] = load_experiment(name)
        except LabError as error:
            failed[name] = str(error)
    return found, failed


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
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
