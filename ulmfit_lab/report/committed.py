"""Committed results: where they lie, and whether they still are what their runs say.

Nothing here needs a tracking store or torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ulmfit_lab.analysis.run_table import check_grid, read_runs
from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.analysis.tuning_table import read_tuning
from ulmfit_lab.experiment.consistency import check_consistency
from ulmfit_lab.experiment.declaration import Changes, Experiment, experiment_files, load_experiments
from ulmfit_lab.experiment.registration import FILE, read_registration, with_registration
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.report.document_intervals import read_document_intervals
from ulmfit_lab.report.folders import folder_of
from ulmfit_lab.report.write import digests, picture_files, sidecar, text_files
from ulmfit_lab.utils.errors import LabError

SCALES = ("small", "paper")
"""The scales whose results are committed; those of the others are a look, not a result."""
SIDECAR, PICTURE, RUNS = "figure.json", "figure.png", "runs.csv"


@dataclass(frozen=True)
class Committed:
    """The committed results of an experiment at a scale."""

    experiment: Experiment
    scale: str
    folder: Path

    @property
    def hint(self) -> str:
        """The command that writes them again."""
        scale = "" if self.scale == "small" else f" --scale {self.scale}"
        return f"ulmfit-lab report {self.experiment.name}{scale}"


@dataclass(frozen=True)
class Problem:
    """A file that is not what it should be."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def committed_results(root: Path) -> list[Committed]:
    """All that are under a folder, by the names of their experiments, as far as these can be loaded."""
    places = [(name, scale, folder_of(root, name, scale)) for name in sorted(experiment_files()) for scale in SCALES]
    given = [(name, scale, at) for name, scale, at in places if (at / RUNS).is_file()]
    found, _ = load_experiments(dict.fromkeys(name for name, _, _ in given))
    return [Committed(found[name], scale, at) for name, scale, at in given if name in found]


def unexpected_files(root: Path, known: set[Path]) -> list[Problem]:
    """Results of experiments that there are not, or that have lost their runs."""
    folders = {path.parent for base in {folder_of(root, "", s) for s in SCALES} for path in base.glob(f"*/{SIDECAR}")}
    folders |= {path.parent for base in {folder_of(root, "", s) for s in SCALES} for path in base.glob(f"*/{RUNS}")}
    reason = f"no experiment of that name has a {RUNS} here; remove the folder, or bring back what is missing"
    return [Problem(folder, reason) for folder in sorted(folders - known)]


def committed_grid(committed: Committed, overrides: Changes | None = None) -> tuple[pd.DataFrame, ReportSpec]:
    """The runs of a folder's runs.csv, a complete grid of what is declared, and what their report compares.

    Raises LabError where they are not the declared runs: a cell is missing, or was made with another config.
    """
    spec = make_report_spec(committed.experiment, committed.scale, overrides)
    text, where = read_registration(committed.folder), str(committed.folder / FILE)
    spec = with_registration(spec, text, committed.experiment, overrides, where)
    table = check_grid(read_runs(committed.folder / RUNS), spec)
    spec = replace(spec, documents=read_document_intervals(committed.folder, table))
    check_consistency(table, committed.experiment, committed.scale, overrides)
    return table, spec


def check_folder(committed: Committed, overrides: Changes | None = None) -> list[Problem]:
    """What is wrong with one report, made again in memory from its runs.csv.

    A picture's bytes may differ between builds of matplotlib: figure.png is held against its sha256 in the sidecar.
    """
    folder, path = committed.folder, committed.folder / RUNS
    try:
        table, spec = committed_grid(committed, overrides)
    except LabError as error:
        return [Problem(path, str(error))]
    made = text_files(table, spec, *read_tuning(folder)) | picture_files(table, spec, ("svg",))
    told = read_sidecar(folder / SIDECAR)
    named = told.get("files", {}) | ({RUNS: told["runs_sha256"]} if "runs_sha256" in told else {})
    expected = sidecar(table, spec, digests(made) | {PICTURE: named.get(PICTURE, "")}).encode()
    return compare_files(folder, made, PICTURE, SIDECAR, expected, named, committed.hint)


def compare_files(
    folder: Path,
    made: Mapping[str, bytes],
    picture: str,
    record: str,
    expected: bytes,
    named: Mapping[str, str],
    hint: str,
) -> list[Problem]:
    """What is wrong with files that were made again, with the picture beside them, and with their sidecar.

    picture: its name, empty where there should be none
    record, expected: the sidecar's name, and what it should hold
    named: file -> sha256 that the sidecar says
    """
    faults = {name: find_fault(folder / name, made.get(name), named.get(name)) for name in (*made, picture) if name}
    if not read_sidecar(folder / record):
        faults[record] = "is missing, or no sidecar"
    elif (folder / record).read_bytes() != expected:
        faults[record] = "stale or edited by hand: it does not say what the runs and the declaration give"
    return [Problem(folder / name, f"{why}; make it again: {hint}") for name, why in faults.items() if why]


def find_fault(path: Path, made: bytes | None, named: str | None) -> str:
    """What is wrong with a file; empty where nothing is.

    made: what it should hold, where that can be made again
    named: its sha256 in the sidecar, where that says one
    """
    if not path.is_file():
        return "is missing"
    content = path.read_bytes()
    if made is not None and content != made:
        by_hand = named == hashlib.sha256(made).hexdigest()
        return "edited by hand" if by_hand else "stale: the runs and the declaration give something else"
    if named is not None and named != hashlib.sha256(content).hexdigest():
        return "not the file that its sidecar names"
    return ""


def read_sidecar(path: Path) -> dict[str, Any]:
    """What a sidecar says; nothing where there is none, or where it cannot be read."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) and isinstance(told.get("files", {}), dict) else {}
