"""Declaration of an experiment: a question, variants to compare, and seeds.

A module in `experiments/`, or any file, declares it as ``EXPERIMENT``, without logic. The base config comes from the
scale (`config/scales.py`); a variant lists the fields in which it differs, by dotted path:

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

from ulmfit_lab.analysis.spec import (
    FEWEST_SEEDS,
    Associations,
    Expectation,
    ExtraMetric,
    ManipulationCheck,
    Margin,
    Published,
)
from ulmfit_lab.config.bounds import field_bounds
from ulmfit_lab.config.paths import fingerprint, flatten, override
from ulmfit_lab.config.scales import SCALE_NAMES, SCALES, WIDE, widened
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.splits import splits_of
from ulmfit_lab.experiment.search_space import Range, Space, check_space, count_points, is_number
from ulmfit_lab.experiment.stored_modules import check_name_unique, declared_in
from ulmfit_lab.training.metrics import VALIDATION, find_metric
from ulmfit_lab.utils.errors import ConfigError, LabError, suggest

Changes = Mapping[str, Any]

COSTS = ("computed_seconds", "reused_seconds")
"""Columns that are not metrics and can be reported."""
MOST_SEEDS = 1000
"""Maximum number of seeds of an experiment."""
FEWEST_SEARCH_SEEDS = 3
"""Minimum number of seeds of a search: a recipe that is chosen with fewer is chosen by chance."""
TRAINED_MODELS = ("awd-lstm", "transformer")
"""Values of classifier.model that train a network."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Hyperparameter search by `tune`, on validation data, with the same number of trials for each variant."""

    space: Space = field(default_factory=dict)
    """Field -> Range or list of choices."""
    for_variants: Mapping[str, Space] = field(default_factory=dict)
    """Variant -> fields with a space of its own, such as learning rates of SGD and Adam."""
    variants: Sequence[str] = ()
    """Variants to search (default: all with a network that is trained)."""
    widest: Mapping[str, Range] = field(default_factory=dict)
    """Field of `space` -> limits up to which `tune` widens its range as long as the best trial is at an edge."""
    budget: int = 12
    """Number of trials per variant."""
    metric: str = "final/valid_error"
    """Validation metric whose mean over the search seeds is optimized."""
    levels: Mapping[str, Any] = field(default_factory=dict)
    """Scale -> level of the factor at which `tune` searches."""
    seeds: Sequence[int] = (1001, 1002, 1003)
    """Seeds of the search, at least three; disjoint from the experiment's seeds. If the seeds share language models
    (see `Design.language_models`), so do these."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Comparisons and interim analyses."""

    looks: Sequence[int] = ()
    """Numbers of seeds of the interim analyses, up to all seeds (default: one analysis at the end); only undecided
    comparisons get more seeds. Choose them before the first run."""
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
    expected: Expectation | None = None
    """What the small scale is expected to show and to cost; `plan` and the ledger tell its power until there are runs.
    """
    wide: Expectation | None = None
    """The same of the scale `wide`, where the experiment is repeated to learn whether the small scale's decisions hold.
    """
    efficiency: Sequence[tuple[str, str]] = ()
    """Pairs (variant, against) whose label efficiency is reported: at how many times the level of the factor, a number
    above 0, against reaches what variant reaches."""
    language_models: int | None = None
    """Language models that the seeds share: seed s trains and fine-tunes with seed s modulo this number, so that
    several draws of labels and heads are nested under each if there are more seeds. Default: what `pretraining.seed`
    and `fine_tuning.seed` say."""
    checks: Mapping[str, ManipulationCheck] = field(default_factory=dict)
    """Variant -> manipulation check; if no run passes, its comparisons are void."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Further content of the report."""

    factor_label: str = ""
    extra_metrics: Sequence[ExtraMetric] = ()
    """Further metrics, reported but not tested."""
    reference: str | None = None
    """Variant drawn as a reference line."""
    published: Sequence[Published] = ()
    notes: Sequence[str] = ()
    """Limitations."""
    associations: Associations | None = None
    """Predictors to correlate with an outcome; only without a factor."""
    against_compute: bool = False
    """Draw the metric against the training compute of language models, with a fitted line; `general.max_tokens` must
    be above 0 in every run."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question, answered by runs of variants with the same seeds and data order.

    Raises ConfigError for an unknown field, two equal variants, a baseline that is not a variant, or a search that
    exceeds the config's bounds, uses test data or makes two variants equal.
    """

    name: str
    question: str
    claim: str = ""
    """The statement under test."""
    source: str = ""
    baseline: str
    variants: Mapping[str, Changes]
    """Variant -> fields in which it differs from the base config."""
    factor: str = ""
    """Field crossed with the variants, such as target.n_labels; comparisons are made at each of its levels."""
    levels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Scale -> levels of the factor."""
    scales: Mapping[str, Changes] = field(default_factory=dict)
    """Scale -> fields in which the base config differs from the scale's."""
    tuned: Mapping[str, Mapping[str, Changes]] = field(default_factory=dict)
    """Scale -> variant -> tuned fields (see `search`)."""
    metric: str = "final/error"
    """Compared metric (see docs/metrics.md)."""
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
        """Search space of a variant."""
        return {**self.search.space, **self.search.for_variants.get(variant, {})}

    def levels_at(self, scale: str) -> tuple[Any, ...]:
        """Levels of the factor at a scale; (None,) without a factor."""
        return tuple(of_scale(self.levels, scale)) if self.factor else (None,)


@dataclass(frozen=True)
class RunSpec:
    """A declared run: a variant at a level with a seed."""

    experiment: str
    scale: str
    variant: str
    level: Any
    seed: int
    config: RunConfig

    @property
    def level_name(self) -> str:
        """The level as text; empty without a factor."""
        return "" if self.level is None else str(self.level)

    @property
    def group(self) -> str:
        """Display name of variant and level."""
        return f"{self.variant} @ {self.level_name}" if self.level_name else self.variant

    @property
    def label(self) -> str:
        """Display name of the run."""
        return f"{self.group}, seed {self.seed}"

    @property
    def tags(self) -> dict[str, str]:
        """MLflow tags that identify the run."""
        own = {"experiment": self.experiment, "scale": self.scale, "variant": self.variant}
        return own | {"level": self.level_name, "seed": str(self.seed)}


def variant_config(experiment: Experiment, scale: str, variant: str, overrides: Changes | None = None) -> RunConfig:
    """Config of a variant: scale, experiment, variant, tuned fields, then the user's overrides.

    At the scale `wide` it is that of the small scale, widened, then the fields of `wide` and the overrides.
    """
    check_scale(scale)
    own, tuned = experiment.scales.get(scale, {}), experiment.tuned.get(scale, {}).get(variant, {})
    if scale == WIDE:
        return changed(widened(variant_config(experiment, "small", variant)), own, tuned, overrides or {})
    return changed(SCALES[scale], own, experiment.variants[variant], tuned, overrides or {})


def changed(base: RunConfig, *layers: Changes) -> RunConfig:
    """The config with layers of changes, the later ones over the earlier ones."""
    changes: dict[str, Any] = {}
    for layer in layers:
        changes.update(with_own_texts(base, changes, layer))
    return override(base, changes)


def of_scale(values: Mapping[str, Any], scale: str) -> Any:
    """A scale's value; at the scale `wide` that of the small one, unless it has its own. Raises KeyError if none is."""
    return values[scale] if scale in values or scale != WIDE else values["small"]


def with_own_texts(base: RunConfig, before: Changes, layer: Changes) -> dict[str, Any]:
    """Add changes that are implied if a layer selects another data source.

    The split is reset if the new source does not have it, and the unlabelled corpus is removed if it belongs to another
    labelled set.
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
    """The config with the factor at a level."""
    return override(config, with_own_texts(config, {}, {factor: level}))


def base_config(experiment: Experiment, scale: str) -> RunConfig:
    """Base config of an experiment at a scale."""
    check_scale(scale)
    base = widened(base_config(experiment, "small")) if scale == WIDE else SCALES[scale]
    return changed(base, experiment.scales.get(scale, {}))


def check_scale(scale: str) -> None:
    """Raise ConfigError for an unknown scale."""
    if scale not in SCALE_NAMES:
        raise ConfigError(f"{scale!r} is not a scale. {suggest(scale, SCALE_NAMES)}")


def until_decided(experiment: Experiment, most: int, batch: int) -> Experiment:
    """The experiment with interim analyses after its own seeds and after each further batch, up to `most` seeds.

    Further seeds are consecutive, except those of the search. Raises ConfigError if `most` or `batch` is too small.
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
    """All declared runs at a scale, ordered by seed, so that pairs complete early."""
    levels, models = experiment.levels_at(scale), experiment.design.language_models or 1
    configs = {}  # one of each: checking a config takes longer than all else here
    for variant in experiment.variants:
        plain = variant_config(experiment, scale, variant, overrides)
        for level in levels:
            config = at_level(plain, experiment.factor, level) if experiment.factor else plain
            for model in {seed % models for seed in experiment.seeds}:
                configs[variant, level, model] = with_language_model(experiment, config, model)
    return [
        RunSpec(experiment.name, scale, variant, level, seed, configs[variant, level, seed % models])
        for seed, level, variant in itertools.product(experiment.seeds, levels, experiment.variants)
    ]


def with_language_model(experiment: Experiment, config: RunConfig, seed: int) -> RunConfig:
    """The config with the seed of the language model that a seed shares (see `Design.language_models`)."""
    if not (models := experiment.design.language_models):
        return config
    return override(config, {"pretraining.seed": seed % models, "fine_tuning.seed": seed % models})


def declaration(experiment: Experiment, scale: str, overrides: Changes | None = None) -> str:
    """Fingerprint of the variants' configs, levels, seeds and interim analyses."""
    found = [[c.variant, c.level, c.seed, flatten(c.config)] for c in run_specs(experiment, scale, overrides)]
    return fingerprint([found, list(experiment.design.looks)] if experiment.design.looks else found)


def searched_variants(experiment: Experiment, scale: str) -> list[str]:
    """Variants that `tune` searches (see `Search.variants`)."""
    named = experiment.search.variants or experiment.variants
    configs = {v: variant_config(experiment, scale, v) for v in experiment.variants if v in named}
    return [v for v, c in configs.items() if c.last_stage != "classifier" or c.classifier.model in TRAINED_MODELS]


def search_config(
    experiment: Experiment, scale: str, variant: str, overrides: Changes | None = None
) -> tuple[Any, RunConfig]:
    """Level at which a variant is searched (None without a factor), and its current config there.

    Raises ConfigError if no level is declared.
    """
    config = variant_config(experiment, scale, variant, overrides)
    if not experiment.factor:
        return None, config
    try:
        level = of_scale(experiment.search.levels, scale)
    except KeyError:
        missing = f"{experiment.name} has no search.levels for scale {scale}; add a {experiment.factor}."
        raise ConfigError(missing) from None
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
        bounds = f"from at least {FEWEST_SEEDS} to all {len(experiment.seeds)} seeds"
        raise ConfigError(f"{experiment.name}: looks {looks} must increase {bounds}.")
    if looks and experiment.design.margins:
        raise ConfigError(f"{experiment.name}: margins are tested once, with all seeds; remove `margins` or the looks.")
    if experiment.report.associations:
        if looks:
            raise ConfigError(f"{experiment.name}: associations allow no interim analyses; remove `looks`.")
        named += experiment.report.associations.variants
        if experiment.factor:
            raise ConfigError(f"{experiment.name}: associations allow no factor; remove `factor`.")
        if experiment.report.against_compute:
            raise ConfigError(f"{experiment.name}: associations have a figure of their own; remove `against_compute`.")
    for name in named:
        if name not in variants:
            raise ConfigError(f"{experiment.name}: {name!r} is not one of its variants. {suggest(name, variants)}")
    _check_primary(experiment)


def _check_measures(experiment: Experiment) -> None:
    """Raise ConfigError for unknown metrics, or an association with a wrong direction of a metric."""
    for row in experiment.report.published:
        if not is_number(row.value):
            raise ConfigError(f"{experiment.name}: published value {row.value} of {row.what} must be a finite number.")
    try:
        for name in (experiment.metric, experiment.search.metric):
            find_metric(name)
        for each in experiment.report.extra_metrics:
            if each.metric not in COSTS:
                find_metric(each.metric)
        if experiment.report.associations:
            axes = [(each.metric, each.lower_is_better) for each in experiment.report.associations.x]
            axes.append((experiment.report.associations.y, experiment.report.associations.y_lower_is_better))
            for name, lower in axes:
                if find_metric(name).lower_is_better != lower:
                    raise ConfigError(f"{name}: lower_is_better must be {not lower}, not {lower}.")
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
    """Raise ConfigError for an invalid search, or one that uses seeds or data of the comparison."""
    name, seeds, measure = experiment.name, experiment.search.seeds, experiment.search.metric
    overlap = set(experiment.seeds) & set(seeds)
    if overlap:
        raise ConfigError(f"{name}: seeds {sorted(overlap)} are in both seeds and search.seeds; use different ones.")
    low, high = field_bounds(RunConfig)["pretraining.seed"]
    if len(set(seeds)) < max(len(seeds), FEWEST_SEARCH_SEEDS) or not low <= min(seeds) <= max(seeds) <= high:
        needed = f"must be {FEWEST_SEARCH_SEEDS} different seeds or more, from {low} to {high}"
        raise ConfigError(f"{name}: search.seeds {tuple(seeds)} {needed}.")
    if experiment.search.budget < 1:
        raise ConfigError(f"{name}: search.budget = {experiment.search.budget} must be at least 1.")
    if not measure.startswith(VALIDATION):
        raise ConfigError(f"{name}: search.metric {measure!r} must be a validation metric ({', '.join(VALIDATION)}).")
    for path, widest in experiment.search.widest.items():
        values = experiment.search.space.get(path)
        if not isinstance(values, Range) or not widest.low <= values.low < values.high <= widest.high:
            raise ConfigError(f"{name}: search.widest of {path} is {widest}; it must contain a Range of search.space.")
    data = [path for path in experiment.search.space if path.startswith("target.")]
    if data:
        raise ConfigError(f"{name}: {data[0]} changes the labelled data; a search must not change target fields.")
    for variant, space in experiment.search.for_variants.items():
        counts = [count_points(each) for each in (experiment.search_space(variant), experiment.search.space)]
        if not set(space) <= set(experiment.search.space) or counts[0] != counts[1]:
            what = f"search.for_variants {variant!r} must have fields of search.space"
            raise ConfigError(f"{name}: {what}, with the same number of values.")
    try:
        for scale in SCALES:
            _check_searched(experiment, scale)
    except ConfigError as error:
        raise ConfigError(f"{name}, search: {error}") from None


def _check_searched(experiment: Experiment, scale: str) -> None:
    searched = searched_variants(experiment, scale)
    lacking = [variant for variant in experiment.search.variants if variant not in searched]
    if lacking or not searched:
        raise ConfigError(f"{lacking[0]!r} trains no network." if lacking else "no variant trains a network.")
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
    expected = experiment.design.expected
    if expected and not all(is_number(x) and x > 0 for x in (expected.sd, expected.core_hours)):
        raise ConfigError(f"{experiment.name}: expected sd and core_hours must be above 0; there are {expected}.")
    models = experiment.design.language_models
    if models is not None and not (type(models) is int and 2 <= models <= MOST_SEEDS):
        raise ConfigError(f"{experiment.name}: language_models = {models} must be 2 to {MOST_SEEDS}, or None.")
    if models and models < len(experiment.seeds) and experiment.design.looks:
        raise ConfigError(f"{experiment.name}: looks need independent seeds; take language_models or the looks out.")


def _refuse_twins(name: str, configs: Mapping[str, Any]) -> None:
    for (one, a), (other, b) in itertools.combinations(configs.items(), 2):
        if a == b:
            raise ConfigError(f"{name}: variants {one!r} and {other!r} are the same config.")


def experiment_folders() -> Iterator[Path]:
    """Folders of experiments: ./experiments, the one next to the package, and the installed one."""
    beside = Path(__file__).resolve().parents[2] / "experiments"
    installed = Path(sysconfig.get_path("data")) / "share" / "ulmfit_lab" / "experiments"
    yield from dict.fromkeys(p for p in (Path.cwd() / "experiments", beside, installed) if p.is_dir())


def module_files() -> list[Path]:
    """All Python files in the folders of experiments; some may declare none."""
    return [path for folder in experiment_folders() for path in sorted(folder.glob("[!_]*.py"))]


def experiment_files() -> dict[str, Path]:
    """Name -> file of each experiment, found by parsing the source."""
    found: dict[str, Path] = {}
    for path in module_files():
        if declared_in(path).experiment:
            found.setdefault(path.stem, path)
    return found


def load_experiment(name: str) -> Experiment:
    """Load an experiment by name or file.

    Raises ConfigError if it does not exist, the file declares no EXPERIMENT or cannot be imported, or another file
    declares an experiment of the same name.
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
    """Name -> experiment, and name -> error of those that cannot be loaded."""
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
