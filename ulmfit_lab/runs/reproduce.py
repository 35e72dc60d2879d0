"""Reproduce a tracked run and compare its metrics bit for bit, or within a tolerance.

The config is rebuilt from the run's params. Stages are computed in a temporary store, so none is reused by default. The
result is a tracked run. Another kind of processor adds in another order, and training amplifies the last bits: how far
the metrics are apart is told in standard deviations over the seeds of the run's variant.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ulmfit_lab.analysis.statistics import summarize
from ulmfit_lab.config.paths import field_types, flatten, override, parse_value
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.consistency import version_difference
from ulmfit_lab.experiment.plan import Throughput
from ulmfit_lab.experiment.registration import NEWER, SHARED_SEEDS
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import Stage, StageStore
from ulmfit_lab.runs.transfer import read_table
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.runner import CellObserver, compute_locally, data_inputs, final_values, log_stages
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.tracking.sqlite_reader import RunReader
from ulmfit_lab.utils.errors import ConfigError, LabError, MismatchError
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.provenance import provenance

if TYPE_CHECKING:
    from ulmfit_lab.tracking.tracker import Tracker

COMPARED = ("final/", "best/")
PREFIX = re.compile(r"[0-9a-f]{3,32}")
FEWEST_FOR_SPREAD = 3
"""Minimum number of seeds for a standard deviation over seeds."""


@dataclass(frozen=True)
class MetricComparison:
    """Tracked and reproduced value of a metric; nan if not measured."""

    name: str
    tracked: float
    again: float
    sd: float = math.nan
    """Standard deviation of the metric over the seeds of the run's variant and level; nan if unknown."""

    @property
    def is_equal(self) -> bool:
        """Whether both are the same float, or both nan."""
        return self.tracked == self.again or (math.isnan(self.tracked) and math.isnan(self.again))

    @property
    def deviation(self) -> float:
        """Absolute difference divided by the sd: 0 if equal, infinite if one is missing, nan if the sd is unknown."""
        if self.is_equal:
            return 0.0
        difference = abs(self.tracked - self.again)
        if math.isnan(difference) or self.sd == 0:
            return math.inf
        return difference / self.sd


@dataclass(frozen=True)
class Reproduction:
    """Outcome of a reproduction."""

    run: TrackedRun
    compared: tuple[MetricComparison, ...]
    run_id: str
    """Id of the run that tracks the reproduction."""
    other_code: str = ""
    """Differences of the code that explain different metrics (see `other_code`)."""
    tolerance: float = 0.0
    """Largest accepted deviation of a metric, in standard deviations over the seeds."""

    @property
    def reproduced(self) -> bool:
        """Whether all metrics are equal."""
        return all(each.is_equal for each in self.compared)

    @property
    def accepted(self) -> bool:
        """Whether all metrics are equal, or deviate by at most the tolerance."""
        return all(each.is_equal or each.deviation <= self.tolerance for each in self.compared)

    @property
    def verdict(self) -> str:
        """The outcome in a sentence."""
        differing = [each for each in self.compared if not each.is_equal]
        metrics = f"{len(self.compared)} metrics of run {self.run.origin}"
        if not differing:
            return f"Reproduced: all {metrics} are the same, bit for bit."
        known = [each for each in differing if not math.isnan(each.deviation)]
        worst = max(known, key=lambda each: each.deviation, default=None)
        most = f", by at most {worst.deviation:.2g} sd of the seeds ({worst.name})" if worst else ""
        if self.accepted:
            return f"Reproduced within {self.tolerance:g} sd: {len(differing)} of {metrics} differ{most}."
        why = f", as expected: {self.other_code}" if self.other_code else ""
        return f"NOT reproduced: {len(differing)} of {metrics} differ{most}{why}."


def find_run(prefix: str, reader: RunReader, results: Path) -> TrackedRun:
    """Find a finished run by a prefix of its id, in the tracking store or else in a committed runs.csv.

    Raises LabError if there is no match, more than one, or if the run is not finished.
    """
    if not PREFIX.fullmatch(prefix):
        raise LabError(f"{prefix!r} is not a run id; give 3 to 32 hex digits of one, or EXPERIMENT/VARIANT/LEVEL/SEED.")
    found = reader.find_runs(prefix) or committed_runs(prefix, results)
    if not found:
        where = f"in the tracking store or a runs.csv under {results}"
        raise LabError(f"There is no run {prefix} {where}; ulmfit-lab runs EXPERIMENT lists runs.")
    if len(found) > 1:
        ids = format_briefly([run.origin for run in found])
        raise LabError(f"{len(found)} runs begin with {prefix} ({ids}); give more digits.")
    if found[0].status != "FINISHED":
        raise LabError(f"Run {found[0].run_id} is {found[0].status}, not FINISHED; name a finished run.")
    return found[0]


def committed_runs(prefix: str, results: Path) -> list[TrackedRun]:
    """Runs with this prefix from all runs.csv, including withdrawn ones."""
    return [run for run in runs_in(sorted(results.rglob("runs.csv"))) if run.origin.startswith(prefix)]


def runs_in(tables: Iterable[Path]) -> list[TrackedRun]:
    """Each run of these runs.csv once."""
    return list({each.run.origin: each.run for path in tables for each in read_table(path)}.values())


def config_of(run: TrackedRun) -> RunConfig:
    """Rebuild a run's config from its params; fields added since have their default.

    Raises MismatchError for an unknown field or an invalid value.
    """
    kinds = field_types(RunConfig)
    given = {path: text for path, text in run.params.items() if path != "seed"}
    try:
        unknown = [path for path in given if path not in kinds]
        if unknown:
            raise ConfigError(f"{unknown[0]!r} is not a config field")
        typed = {path: parse_value(text, kinds[path]) for path, text in given.items() if text or kinds[path] is str}
        return override(RunConfig(), typed)
    except (ConfigError, ValueError, KeyError) as error:
        commit = run.tags.get("lab.commit", "")
        hint = f"check out its commit {commit[:10]}" if commit else "use the code that made it"
        raise MismatchError(f"Run {run.origin} cannot be reproduced by this code ({error}); {hint}.") from error


def other_code(run: TrackedRun) -> str:
    """Stage versions and config fields that differ between a run's code and this code; empty if none."""
    stages = [name.removeprefix("stage.") for name in run.tags if name.startswith("stage.") and name.count(".") == 1]
    differences = (version_difference(name, run.tags.get(f"stage.{name}.version", "")) for name in stages)
    moved = [text for text in differences if text]
    fresh = [path for path in flatten(RunConfig()) if path not in run.params and path not in NEWER]
    found = [f"with other versions of its stages ({'; '.join(moved)})"] if moved else []
    found += [f"without fields of today's config ({format_briefly(fresh)})"] if fresh else []
    commit = run.tags.get("lab.commit", "")[:10]
    by = f"commit {commit}" if commit else "other code"
    return f"made by {by}, {' and '.join(found)}" if found else ""


def format_briefly(names: Sequence[str], most: int = 3) -> str:
    """The first names, and the number of others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def cautions(run: TrackedRun, stage: Stage) -> list[str]:
    """Reasons why metrics may differ: other code, data or device."""
    here, made = provenance(), run.tags.get("lab.commit", "")
    found = []
    if other := other_code(run):
        found.append(f"the run was {other}; its numbers are expected to differ")
    if made != here["lab.commit"] or not made:
        known = [f"commit {text[:10]}" if text else "an unknown commit" for text in (made, here["lab.commit"])]
        found.append(f"the run was made by {known[0]}, and this is {known[1]}")
    if run.tags.get("lab.dirty") == "true":
        found.append("the run's code had uncommitted changes")
    if here["lab.dirty"] == "true":
        found.append("this code has uncommitted changes")
    if run.fingerprint != stage.fingerprint:
        both = f"{run.fingerprint}, and here it is {stage.fingerprint}"
        found.append(f"the run's fingerprint is {both}: code, data or device differ")
    if (machine := run.tags.get("machine", "")) and machine != here["machine"]:
        found.append(f"the run was computed on {machine}; another kind of processor may give other last bits")
    if not str(dict(run.params).get("compute.device", "cpu")).startswith(("cpu", "auto")):
        found.append("it was computed on a GPU, where equal runs may differ in their last bits")
    return found


def plan_again(run: TrackedRun, data: Path | None, imported: Path | None = None) -> tuple[RunConfig, Stage]:
    """The run's config and last stage; device `auto` becomes the CPU, which is deterministic."""
    config = config_of(run)
    if config.compute.device == "auto":
        config = override(config, {"compute.device": "cpu"})
    return config, final_stage(config, run.seed, data, imported)


def predict_cost(stage: Stage, config: RunConfig, home: Home, *, reuse_stages: bool) -> tuple[int, float]:
    """Number of stages that a reproduction computes, and their predicted seconds on this machine."""
    store = StageStore(home.stages)
    *inputs, last = stage.ancestry()
    stages = [each for each in inputs if not (reuse_stages and store.find(each))] + [last]
    rates = Throughput(store)
    return len(stages), sum(rates.seconds(each, config) for each in stages)


def reproduce(
    run: TrackedRun,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    display: ProgressDisplay,
    *,
    reuse_stages: bool = False,
    keep_stages: bool = False,
    spread: Mapping[str, float] | None = None,
    tolerance: float = 0.0,
) -> Reproduction:
    """Compute a run's stages again and compare its metrics; tracked in the experiment `reproductions`.

    reuse_stages: reuse finished stages of the home, except the last; keep_stages: compute missing stages in the home;
    spread: see `spread_over_seeds`; tolerance: largest accepted deviation, in those standard deviations
    """
    config, stage = plan_again(run, data, home.imported)
    tags = {name: run.tags.get(name, "") for name in ("experiment", "scale", "variant", "level")}
    tags |= {"seed": str(run.seed), "lab.reproduces": run.origin, **provenance()}
    with tempfile.TemporaryDirectory(prefix="ulmfit-lab-") as folder:
        store = StageStore(home.stages if keep_stages else Path(folder) / "stages")
        if reuse_stages:
            link_inputs(stage, StageStore(home.stages), store)
        log = tracker.start_reproduction(f"{run.name} again", flatten(config) | {"seed": run.seed}, tags)
        observer = CellObserver(log, display, stage)
        with log:
            log.log_inputs(data_inputs(stage))
            last = compute_locally(stage, store, observer)
            values = final_values(last, log_stages(log, stage, store, observer))
            compared = compare(run.metrics, values, spread or {})
            found = Reproduction(run, compared, log.run_id, other_code(run), tolerance)
            log.log_final(values | {"reproduced": float(found.reproduced)})
            log.set_tags({"lab.verdict": found.verdict})
    return found


def link_inputs(stage: Stage, source: StageStore, store: StageStore) -> None:
    """Link the finished inputs of a stage from another store."""
    for upstream in stage.ancestry()[:-1]:
        if source.find(upstream):
            place = store.folder(upstream)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source.folder(upstream), target_is_directory=True)


def spread_over_seeds(run: TrackedRun, reader: RunReader, results: Path) -> dict[str, float]:
    """Standard deviation of each metric over the finished seeds of a run's variant and level; empty if they are few.

    The seeds are those of the tracking store or else of a committed table of the experiment. Metrics that are not
    finite with every seed are left out.
    """
    tables = (runs_in([path]) for path in sorted(results.rglob(f"{run.experiment}*/runs.csv")))
    for known in chain([reader.runs(run.experiment, run.scale, "FINISHED")], tables):
        cells = {each.seed: each for one in known for each in one.declared_runs() if differ_in_seed(each, run)}
        if len(cells) >= FEWEST_FOR_SPREAD:
            values = {name: [each.metrics.get(name, math.nan) for each in cells.values()] for name in run.metrics}
            return {name: summarize(found).sd for name, found in values.items() if all(map(math.isfinite, found))}
    return {}


def differ_in_seed(run: TrackedRun, other: TrackedRun) -> bool:
    """Whether two runs have the same experiment, scale, variant, level and config, but for seeds."""
    place = attrgetter("experiment", "scale", "variant", "level")
    fixed = (run.params.keys() | other.params.keys()) - {"seed", *SHARED_SEEDS}
    return bool(place(run) == place(other)) and all(run.params.get(path) == other.params.get(path) for path in fixed)


def compare(
    tracked: Mapping[str, float], again: Mapping[str, float], spread: Mapping[str, float]
) -> tuple[MetricComparison, ...]:
    """Compare the final metrics; raises LabError if none were tracked."""
    names: Iterable[str] = sorted(name for name in tracked if name.startswith(COMPARED))
    found = tuple(
        MetricComparison(name, tracked[name], again.get(name, math.nan), spread.get(name, math.nan)) for name in names
    )
    if not found:
        raise LabError("The run has no final/ or best/ metrics to compare.")
    return found
