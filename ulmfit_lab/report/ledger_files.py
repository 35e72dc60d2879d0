"""The ledger of all experiments: README.md and the overview figure of the results folder, with a sidecar.

Made from the committed runs alone; nothing here needs a tracking store or torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ulmfit_lab.analysis.spec import ReportSpec
from ulmfit_lab.analysis.tuning_table import read_tuning
from ulmfit_lab.experiment.declaration import experiment_files, load_experiments
from ulmfit_lab.report.committed import (
    RUNS,
    SCALES,
    Committed,
    Problem,
    check_folder,
    committed_grid,
    committed_results,
    compare_files,
    read_sidecar,
    unexpected_files,
)
from ulmfit_lab.report.figures import save_figure
from ulmfit_lab.report.folders import folder_of
from ulmfit_lab.report.ledger import Contrast, Entry, ledger_text, result_of
from ulmfit_lab.report.ledger_figure import draw_ledger
from ulmfit_lab.report.withdrawn import all_withdrawals, check_withdrawn, withdrawal_of
from ulmfit_lab.report.write import digests, report_files, write_files
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.files import file_digest

LEDGER, SVG, PNG, RECORD = "README.md", "ledger.svg", "ledger.png", "ledger.json"


def headlines(spec: ReportSpec) -> list[Contrast]:
    """The contrasts that answer an experiment's claim: the primary ones, or else all at the last level."""
    default = [(variant, against, spec.levels[-1]) for variant, against in spec.chosen_pairs]
    return list(spec.primary) or default


def entries(root: Path) -> list[Entry]:
    """A row for every experiment, and one more for each further scale that has committed or withdrawn results."""
    found = []
    for experiment in load_experiments(sorted(experiment_files()))[0].values():
        places = [Committed(experiment, scale, folder_of(root, experiment.name, scale)) for scale in SCALES]
        claim = experiment.claim or experiment.question
        rows = [entry_of(each, root, claim) for each in places]
        found += [row for row in rows if row.result or row.withdrawn] or rows[:1]
    return found


def entry_of(committed: Committed, root: Path, claim: str) -> Entry:
    """The row of results, or why there are none. Raises LabError, naming the file, for runs that are not the declared
    ones.
    """
    experiment = committed.experiment
    row = Entry(experiment.name, claim, experiment.source)
    if old := withdrawal_of(committed.folder):
        return replace(row, link=old.folder.relative_to(root).as_posix(), withdrawn=str(old))
    if not (committed.folder / RUNS).is_file():
        return row
    try:
        table, spec = committed_grid(committed)
    except LabError as error:
        raise type(error)(f"{committed.folder / RUNS}: {error}") from error
    result = result_of(table, spec, headlines(spec))
    return replace(row, link=committed.folder.relative_to(root).as_posix(), result=result)


def ledger_files(root: Path, formats: Sequence[str] = ("svg", "png")) -> dict[str, bytes]:
    """File name -> bytes of the ledger and its figure; no figure where nothing was run."""
    found = entries(root)
    pictures = (
        save_figure(lambda: draw_ledger(found), "ledger", formats) if any(entry.result for entry in found) else {}
    )
    return {LEDGER: ledger_text(found, SVG if pictures else "").encode(), **pictures}


def record(root: Path, written: dict[str, str]) -> str:
    """The ledger's sidecar: which runs it was made from, and the sha256 of every file, as JSON."""
    found = committed_results(root)
    runs = {each.folder.relative_to(root).as_posix(): file_digest(each.folder / RUNS) for each in found}
    return json.dumps({"runs_sha256": runs, "files": dict(sorted(written.items()))}, indent=1) + "\n"


def write_all(root: Path) -> list[Path]:
    """Write every committed report again from its runs.csv, and the ledger; all are made before one is written.

    The same runs give the same bytes. Raises LabError where runs are not the declared ones.
    """
    reports = {}
    for each in committed_results(root):
        reports[each.folder] = report_files(*committed_grid(each), *read_tuning(each.folder))
    made = ledger_files(root)
    written = [path for folder, files in reports.items() for path in write_files(files, folder)]
    return written + write_files(made | {RECORD: record(root, digests(made)).encode()}, root)


def check_results(root: Path) -> list[Problem]:
    """What is wrong with the committed results under a folder: stale, edited by hand, or without their sidecar."""
    found, files = committed_results(root), experiment_files()
    _, failed = load_experiments(files)
    problems = [Problem(files[name], reason) for name, reason in failed.items()]
    problems += [problem for each in found for problem in check_folder(each)]
    known = {folder_of(root, name, scale) for name in failed for scale in SCALES}
    problems += unexpected_files(root, known | {each.folder for each in found}) + check_withdrawn(root)
    return problems if problems or not (found or all_withdrawals(root)) else check_ledger(root)


def check_ledger(root: Path) -> list[Problem]:
    """What is wrong with the ledger, whose reports are sound."""
    made, named = ledger_files(root, ("svg",)), read_sidecar(root / RECORD).get("files", {})
    drawn = {PNG: named.get(PNG, "")} if SVG in made else {}
    expected = record(root, digests(made) | drawn).encode()
    return compare_files(root, made, "".join(drawn), RECORD, expected, named, "ulmfit-lab report")
