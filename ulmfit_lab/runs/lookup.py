"""Lookup of runs by name, and of their stages in the store."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from ulmfit_lab.analysis.replicates import SUFFIXES, kind_of
from ulmfit_lab.config.scales import SCALE_NAMES
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.pipeline.graph import StageGraph
from ulmfit_lab.pipeline.store import StageResult, read_stage
from ulmfit_lab.report.folders import folder_of
from ulmfit_lab.runs.reproduce import config_of, find_run, runs_in
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.tracking.sqlite_reader import RunReader
from ulmfit_lab.utils.errors import LabError, MismatchError, sweep_command
from ulmfit_lab.utils.home import Home

SHOWN = 4
"""Maximum number of runs, and of fields of each, in a message."""


def find_named_run(name: str, reader: RunReader, results: Path) -> TrackedRun:
    """Find a finished run by a prefix of its id, `experiment/variant/seed` or `experiment/variant/level/seed`.

    It is looked for in the tracking store and, where that has none, in the committed runs that are not withdrawn. Of
    several runs with the same fingerprint, the newest is returned. Raises LabError if there is none, or if runs with
    different fingerprints match.
    """
    if "/" not in name:
        return find_run(name, reader, results)
    experiment, *middle, seed = name.split("/")
    if not middle or not seed.isdecimal():
        raise LabError(f"{name!r} does not name a run; give its id, or EXPERIMENT/VARIANT/SEED.")
    wanted = experiment, "/".join(middle), int(seed)
    tracked = [run for scale in SCALE_NAMES for run in reader.runs(experiment, scale, "FINISHED")]
    tables = [folder_of(results, experiment, scale) / "runs.csv" for scale in SCALE_NAMES]
    found = named_cells(tracked, *wanted) or named_cells(runs_in(filter(Path.is_file, tables)), *wanted)
    if not found:
        raise LabError(f"No finished run {name} is tracked or committed; ulmfit-lab runs {experiment} lists runs.")
    different = list({run.fingerprint: run for run in found}.values())
    if len(different) > 1:
        listed = "; ".join(describe_differences(different)[:SHOWN])
        raise LabError(f"{len(different)} different runs match {name}: {listed}; give the id of one.")
    return found[-1]


def named_cells(runs: Sequence[TrackedRun], experiment: str, place: str, seed: int) -> list[TrackedRun]:
    """The cells of runs with this seed whose variant, or variant/level, is the place."""
    return [
        cell
        for run in runs
        for cell in run.declared_runs()
        if (cell.experiment, cell.seed) == (experiment, seed)
        and place in (cell.variant, f"{cell.variant}/{cell.level}")
    ]


def describe_differences(runs: Sequence[TrackedRun]) -> list[str]:
    """The id of each run, and in parentheses the fields in which the runs differ."""
    own = ("scale", "variant", "level", "data")
    facts = [{name: getattr(run, name) for name in own} | dict(sorted(run.params.items())) for run in runs]
    names = [name for name in dict.fromkeys(itertools.chain(*facts)) if len({each.get(name) for each in facts}) > 1]
    if not names:  # they were made by different versions of the code
        facts, names = [{"commit": run.tags.get("lab.commit", "")[:10]} for run in runs], ["commit"]
    shown = [", ".join(f"{name} {each.get(name) or 'none'}" for name in names[:SHOWN]) for each in facts]
    return [f"{run.run_id[:12]} ({words})" for run, words in zip(runs, shown, strict=True)]


def find_stage(run: TrackedRun, kind: str, home: Home) -> StageResult | None:
    """Read a stage of a run from the store; None if the run has no such stage.

    Raises MismatchError if the stage was deleted from the home.
    """
    fingerprint = run.tags.get(f"stage.{kind}", "")
    if not fingerprint:
        return None
    found = read_stage(home.stages / kind_of(kind) / fingerprint, reused=True)
    if found is None:
        raise MismatchError(
            f"Stage {kind} {fingerprint} of run {run.origin} is not in {home.stages}; compute it again: "
            f"ulmfit-lab reproduce {run.origin} --keep-stages, or in another home "
            f"{sweep_command(run.experiment, run.scale)}"
        )
    return found


def find_language_model(run: TrackedRun, home: Home) -> StageResult:
    """The last language model of a run; raises LabError if it has none."""
    for kind in ("fine-tuned", "pretrained"):
        if found := find_stage(run, kind, home):
            return found
    raise LabError(f"Run {run.origin} ({run.name}) has no language model; name one that is pretrained or fine-tuned.")


def find_classifiers(run: TrackedRun, home: Home) -> list[tuple[StageResult, RunConfig]]:
    """The stored classifiers of a run with their configs: one, or the two of an ensemble.

    Raises LabError if the run stores none.
    """
    config = config_of(run)
    if config.last_stage != "classifier" or config.classifier.model != "awd-lstm":
        raise LabError(f"Run {run.origin} ({run.name}) stores no classifier; name one whose classifier is an AWD-LSTM.")
    members = StageGraph(config, run.seed, None).members() or {"": config}
    found = [(find_stage(run, f"classifier{SUFFIXES.get(name, '')}", home), one) for name, one in members.items()]
    return [(stored, one) for stored, one in found if stored]
