"""Locate committed results and check that they match their runs.

Needs neither a tracking store nor torch.
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
from ulmfit_lab.experiment.consistency import check_consistency, older_stages
from ulmfit_lab.experiment.declaration import Changes, Experiment, experiment_files, load_experiments
from ulmfit_lab.experiment.registration import FILE, read_registration, with_registration
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.report.document_intervals import read_document_intervals
from ulmfit_lab.report.folders import folder_of
from ulmfit_lab.report.write import digests, picture_files, sidecar, text_files
from ulmfit_lab.utils.errors import LabError, sweep_command

SCALES = ("small", "wide", "paper")
"""Scales whose results are committed."""
SIDECAR, PICTURE, RUNS = "figure.json", "figure.png", "runs.csv"


@dataclass(frozen=True)
class Committed:
    """Committed results of an experiment at a scale."""

    experiment: Experiment
    scale: str
    folder: Path

    @property
    def hint(self) -> str:
        """The command that regenerates the results."""
        scale = "" if self.scale == "small" else f" --scale {self.scale}"
        return f"ulmfit-lab report {self.experiment.name}{scale}"


@dataclass(frozen=True)
class Problem:
    """A missing or unexpected file, and what is wrong with it."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def committed_results(root: Path) -> list[Committed]:
    """Return all committed results under a folder, sorted by name, of experiments that can be loaded."""
    places = [(name, scale, folder_of(root, name, scale)) for name in sorted(experiment_files()) for scale in SCALES]
    existing = [(name, scale, folder) for name, scale, folder in places if (folder / RUNS).is_file()]
    found, _ = load_experiments(dict.fromkeys(name for name, _, _ in existing))
    return [Committed(found[name], scale, folder) for name, scale, folder in existing if name in found]


def unexpected_files(root: Path, known: set[Path]) -> list[Problem]:
    """Return a problem for each results folder without an experiment of that name or without runs."""
    bases = [folder_of(root, "", scale) for scale in SCALES]
    folders = {path.parent for base in bases for name in (SIDECAR, RUNS) for path in base.glob(f"*/{name}")}
    reason = f"no experiment of this name, or no {RUNS}; remove the folder or restore the missing file"
    return [Problem(folder, reason) for folder in sorted(folders - known)]


def committed_grid(committed: Committed, overrides: Changes | None = None) -> tuple[pd.DataFrame, ReportSpec]:
    """Return the runs in a folder's runs.csv and the spec of their report.

    Raises LabError if they are not the declared runs: a run is missing, or was made with another config.
    """
    spec = make_report_spec(committed.experiment, committed.scale, overrides)
    registration = read_registration(committed.folder)
    spec = with_registration(spec, registration, committed.experiment, overrides, str(committed.folder / FILE))
    table = check_grid(read_runs(committed.folder / RUNS), spec)
    spec = replace(spec, documents=read_document_intervals(committed.folder, table, spec))
    check_consistency(table, committed.experiment, committed.scale, overrides)
    return table, spec


def check_folder(committed: Committed, overrides: Changes | None = None) -> list[Problem]:
    """Regenerate one report in memory from its runs.csv and return the files that differ.

    PNG bytes may differ between builds of matplotlib, so figure.png is compared with its sha256 in the sidecar.
    """
    folder, path = committed.folder, committed.folder / RUNS
    try:
        table, spec = committed_grid(committed, overrides)
    except LabError as error:
        return [Problem(path, str(error))]
    if older := "; ".join(older_stages(table)):
        again = sweep_command(committed.experiment.name, committed.scale)
        return [Problem(path, f"made by other versions of the code ({older}); {again}, or withdraw the results")]
    made = text_files(table, spec, *read_tuning(folder)) | picture_files(table, spec, ("svg",))
    facts = read_sidecar(folder / SIDECAR)
    recorded = facts.get("files", {}) | ({RUNS: facts["runs_sha256"]} if "runs_sha256" in facts else {})
    expected = sidecar(table, spec, digests(made) | {PICTURE: recorded.get(PICTURE, "")}).encode()
    return compare_files(folder, made, PICTURE, SIDECAR, expected, recorded, committed.hint)


def compare_files(
    folder: Path,
    made: Mapping[str, bytes],
    picture: str,
    record: str,
    expected: bytes,
    recorded: Mapping[str, str],
    hint: str,
) -> list[Problem]:
    """Compare the files of a folder with regenerated ones and return the differences.

    made               file name -> expected bytes
    picture            name of the PNG; empty if there should be none
    record, expected   name and expected bytes of the sidecar
    recorded           file name -> sha256 in the sidecar
    hint               command that regenerates the files
    """
    faults = {name: find_fault(folder / name, made.get(name), recorded.get(name)) for name in (*made, picture) if name}
    if not read_sidecar(folder / record):
        faults[record] = "missing or invalid"
    elif (folder / record).read_bytes() != expected:
        faults[record] = "stale or edited by hand: differs from what the runs and the declaration give"
    return [Problem(folder / name, f"{fault}; regenerate it: {hint}") for name, fault in faults.items() if fault]


def find_fault(path: Path, made: bytes | None, recorded: str | None) -> str:
    """Return what is wrong with a file; empty if nothing.

    made       expected bytes, if they can be regenerated
    recorded   sha256 in the sidecar, if any
    """
    if not path.is_file():
        return "missing"
    content = path.read_bytes()
    if made is not None and content != made:
        by_hand = recorded == hashlib.sha256(made).hexdigest()
        return "edited by hand" if by_hand else "stale: differs from what the runs and the declaration give"
    if recorded is not None and recorded != hashlib.sha256(content).hexdigest():
        return "does not match its sha256 in the sidecar"
    return ""


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return the content of a sidecar; empty if it is missing or invalid."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get("files", {}), dict) else {}
