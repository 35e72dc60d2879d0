"""Make a tracked run again from what it says of itself, and compare every number bit for bit.

The config is rebuilt from the run's params, the seed from its tag. The stages are computed in a temporary home, so
that nothing is taken from a cache unless the user asks for it. The outcome is a tracked run of its own.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ulmfit_lab.analysis.replicates import BACKWARDS
from ulmfit_lab.config.paths import field_types, flatten, override, parse_value
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import VERSIONS, Stage, StageStore
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


@dataclass(frozen=True)
class StageComparison:
    """A metric as it was tracked and as it came out again; nan: not measured."""

    name: str
    tracked: float
    again: float

    @property
    def is_equal(self) -> bool:
        """Whether the two are the same number, to the last bit."""
        return self.tracked == self.again or (math.isnan(self.tracked) and math.isnan(self.again))


@dataclass(frozen=True)
class Reproduction:
    """What making a run again came to."""

    run: TrackedRun
    compared: tuple[StageComparison, ...]
    run_id: str
    """The run that holds the outcome."""
    other_code: str = ""
    """How the code that made the run differed from this, where its numbers are expected to differ."""

    @property
    def reproduced(self) -> bool:
        """Whether every number is the same."""
        return all(each.is_equal for each in self.compared)

    @property
    def verdict(self) -> str:
        """The outcome in a sentence."""
        count, differ = len(self.compared), sum(not each.is_equal for each in self.compared)
        if differ:
            why = f", as expected: {self.other_code}" if self.other_code else ""
            return f"NOT reproduced: {differ} of {count} metrics of run {self.run.origin} differ{why}."
        return f"Reproduced: all {count} metrics of run {self.run.origin} are the same, bit for bit."


def find_run(prefix: str, reader: RunReader, results: Path) -> TrackedRun:
    """The one finished run whose id begins so, from the tracking store, or else from a runs.csv among the results.

    Raises LabError where there is none, more than one, or one that did not finish.
    """
    if not PREFIX.fullmatch(prefix):
        raise LabError(f"{prefix!r} is no run id; give its 32 hex digits, or the first few of them.")
    found = reader.find_runs(prefix) or committed_runs(prefix, results)
    if not found:
        raise LabError(
            f"No run {prefix} is tracked, nor in a runs.csv under {results}; ulmfit-lab runs EXPERIMENT lists them."
        )
    if len(found) > 1:
        ids = ", ".join(run.origin for run in found[:3])
        raise LabError(f"{len(found)} runs begin with {prefix} ({ids}{', ...' if len(found) > 3 else ''}); say more.")
    if found[0].status != "FINISHED":
        raise LabError(f"Run {found[0].run_id} is {found[0].status}: only a finished run has numbers to compare.")
    return found[0]


def committed_runs(prefix: str, results: Path) -> list[TrackedRun]:
    """The runs of all reports' tables, withdrawn ones among them, whose id begins so."""
    tables = sorted(results.rglob("runs.csv"))
    runs = [each.run for path in tables for each in read_table(path) if each.run.origin.startswith(prefix)]
    return list({run.origin: run for run in runs}.values())


def config_of(run: TrackedRun) -> RunConfig:
    """A run's config, from its params; a field that the code of its time did not know has its default.

    Raises MismatchError for a field that today's config does not have, or a value that it does not take.
    """
    kinds = field_types(RunConfig)
    given = {path: text for path, text in run.params.items() if path != "seed"}
    try:
        unknown = [path for path in given if path not in kinds]
        if unknown:
            raise ConfigError(f"{unknown[0]!r} is no field of today's config")
        typed = {path: parse_value(text, kinds[path]) for path, text in given.items() if text or kinds[path] is str}
        return override(RunConfig(), typed)
    except (ConfigError, ValueError, KeyError) as error:
        commit = run.tags.get("lab.commit", "")
        hint = f"check out its commit {commit[:10]}" if commit else "use the code that made it"
        raise MismatchError(f"Run {run.origin} cannot be made again by this code ({error}); {hint}.") from error


def other_code(run: TrackedRun) -> str:
    """How the code that made a run differed in what stages compute or a config holds; empty where in nothing.

    A run that was made before versions were recorded has stages of earlier ones.
    """
    kinds = [name.removeprefix("stage.") for name in run.tags if name.startswith("stage.") and name.count(".") == 1]
    then = {kind: run.tags.get(f"stage.{kind}.version", "older") for kind in kinds}
    now = {kind: str(VERSIONS[kind.removesuffix(BACKWARDS)]) for kind in kinds}
    moved = [f"{kind} was {then[kind]}, today {now[kind]}" for kind in kinds if then[kind] != now[kind]]
    fresh = [path for path in flatten(RunConfig()) if path not in run.params]
    found = [f"with other versions of its stages ({'; '.join(moved)})"] if moved else []
    found += [f"without fields of today's config ({format_briefly(fresh)})"] if fresh else []
    commit = run.tags.get("lab.commit", "")[:10]
    by = f"commit {commit}" if commit else "other code"
    return f"made by {by}, {' and '.join(found)}" if found else ""


def format_briefly(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def cautions(run: TrackedRun, stage: Stage) -> list[str]:
    """What could make the numbers differ that is no fault of the run: other code, other data, another device."""
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
        found.append(
            f"the run's cell is {run.fingerprint}, and here it is {stage.fingerprint}: code, data or device differ"
        )
    if not str(dict(run.params).get("compute.device", "cpu")).startswith(("cpu", "auto")):
        found.append("it was computed on a GPU, where equal runs may differ in their last bits")
    return found


def plan_again(run: TrackedRun, data: Path | None, imported: Path | None = None) -> tuple[RunConfig, Stage]:
    """The run's config and its last stage; a device that was left open is the CPU, whose numbers can be repeated."""
    config = config_of(run)
    if config.compute.device == "auto":
        config = override(config, {"compute.device": "cpu"})
    return config, final_stage(config, run.seed, data, imported)


def reproduce(
    run: TrackedRun,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    display: ProgressDisplay,
    *,
    reuse_stages: bool = False,
    keep_stages: bool = False,
) -> Reproduction:
    """Compute a run's stages again and compare its metrics; tracked under `reproductions`.

    Every stage is computed anew; with reuse_stages the home's finished ones are taken, all but the last. With
    keep_stages those that the home lacks are computed there, for a run whose stages have gone.
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
            found = Reproduction(run, compare(run.metrics, values), log.run_id, other_code(run))
            log.log_final(values | {"reproduced": float(found.reproduced)})
            log.set_tags({"lab.verdict": found.verdict})
    return found


def link_inputs(stage: Stage, lender: StageStore, store: StageStore) -> None:
    """Let a store use the finished stages of another, all but the last, where they are."""
    for upstream in stage.ancestry()[:-1]:
        if lender.find(upstream):
            place = store.folder(upstream)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(lender.folder(upstream), target_is_directory=True)


def compare(tracked: Mapping[str, float], again: Mapping[str, float]) -> tuple[StageComparison, ...]:
    """Every tracked metric of the run's end beside the same one now. Raises LabError where none was tracked."""
    names: Iterable[str] = sorted(name for name in tracked if name.startswith(COMPARED))
    found = tuple(StageComparison(name, tracked[name], again.get(name, math.nan)) for name in names)
    if not found:
        raise LabError("The run has no final/ or best/ metrics to compare.")
    return found
