"""Write and check the ledger of all experiments: README.md and the figure in the results folder, with a sidecar.

Uses only the committed runs; needs neither a tracking store nor torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ulmfit_lab.analysis.tuning_table import read_tuning
from ulmfit_lab.config.scales import WIDE
from ulmfit_lab.experiment.declaration import Experiment, experiment_files, load_experiments
from ulmfit_lab.experiment.report_inputs import make_report_spec
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
from ulmfit_lab.report.ledger import Entry, headlines, ledger_text, result_of
from ulmfit_lab.report.ledger_figure import draw_ledger
from ulmfit_lab.report.repetitions import repetition_part
from ulmfit_lab.report.withdrawn import all_withdrawals, check_withdrawn
from ulmfit_lab.report.write import digests, report_files, write_files
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.files import file_digest

LEDGER, SVG, PNG, RECORD = "README.md", "ledger.svg", "ledger.png", "ledger.json"


def entries(root: Path) -> list[Entry]:
    """Return one row per experiment and scale with committed results or, without them, for the declaration of a claim.

    The scale `wide` has a row for its declaration where one is made (`Design.wide`).
    """
    found = []
    for experiment in load_experiments(sorted(experiment_files()))[0].values():
        places = [Committed(experiment, scale, folder_of(root, experiment.name, scale)) for scale in SCALES]
        rows = [row for each in places if (row := entry_of(each, root))]
        run = {row.scale for row in rows}
        unrun = ["small"] if experiment.claim and not run - {WIDE} else []
        unrun += [WIDE] if experiment.design.wide and WIDE not in run else []
        declared = [
            replace(new_entry(experiment, scale), declared=make_report_spec(experiment, scale)) for scale in unrun
        ]
        found += rows + declared
    return found


def new_entry(experiment: Experiment, scale: str) -> Entry:
    """Return the row of an experiment at a scale, with neither declaration nor result."""
    return Entry(experiment.name, experiment.claim, experiment.source, experiment.question, scale=scale)


def withdrawn_rows(root: Path) -> list[tuple[str, str, str, str]]:
    """Return experiment, folder, date and reason of all withdrawn results."""
    return [
        (each.folder.name, each.folder.relative_to(root).as_posix(), str(each.date), each.reason)
        for each in all_withdrawals(root)
    ]


def entry_of(committed: Committed, root: Path) -> Entry | None:
    """Return the ledger row of committed results, None without any; raise LabError for runs that are not declared."""
    experiment = committed.experiment
    if not (committed.folder / RUNS).is_file():
        return None
    try:
        table, spec = committed_grid(committed)
    except LabError as error:
        raise type(error)(f"{committed.folder / RUNS}: {error}") from error
    result = result_of(table, spec, headlines(spec))
    link = committed.folder.relative_to(root).as_posix()
    return replace(new_entry(experiment, committed.scale), link=link, result=result)


def ledger_files(root: Path, formats: Sequence[str] = ("svg", "png")) -> dict[str, bytes]:
    """Return file name -> bytes of the ledger and its figure; without a figure if there are no results."""
    found = entries(root)
    pictures = (
        save_figure(lambda: draw_ledger(found), "ledger", formats) if any(entry.result for entry in found) else {}
    )
    text = ledger_text(found, SVG if pictures else "", withdrawn_rows(root), repetition_part(found))
    return {LEDGER: text.encode(), **pictures}


def record(root: Path, written: dict[str, str]) -> str:
    """Return the ledger's sidecar as JSON: sha256 of the runs and of every written file."""
    found = committed_results(root)
    runs = {each.folder.relative_to(root).as_posix(): file_digest(each.folder / RUNS) for each in found}
    return json.dumps({"runs_sha256": runs, "files": dict(sorted(written.items()))}, indent=1) + "\n"


def write_all(root: Path) -> list[Path]:
    """Regenerate every committed report from its runs.csv, and the ledger; nothing is written if one of them fails.

    The same runs give the same bytes. Raises LabError for runs that are not declared.
    """
    reports = {}
    for each in committed_results(root):
        reports[each.folder] = report_files(*committed_grid(each), *read_tuning(each.folder))
    made = ledger_files(root)
    written = [path for folder, files in reports.items() for path in write_files(files, folder)]
    return written + write_files(made | {RECORD: record(root, digests(made)).encode()}, root)


def check_results(root: Path) -> list[Problem]:
    """Return the problems of the committed results: stale, edited, missing or unexpected files."""
    found, files = committed_results(root), experiment_files()
    _, failed = load_experiments(files)
    problems = [Problem(files[name], reason) for name, reason in failed.items()]
    problems += [problem for each in found for problem in check_folder(each)]
    known = {folder_of(root, name, scale) for name in failed for scale in SCALES}
    problems += unexpected_files(root, known | {each.folder for each in found}) + check_withdrawn(root)
    return problems if problems or not (found or all_withdrawals(root)) else check_ledger(root)


def check_ledger(root: Path) -> list[Problem]:
    """Return the problems of the ledger itself."""
    made, recorded = ledger_files(root, ("svg",)), read_sidecar(root / RECORD).get("files", {})
    png = {PNG: recorded.get(PNG, "")} if SVG in made else {}
    expected = record(root, digests(made) | png).encode()
    return compare_files(root, made, "".join(png), RECORD, expected, recorded, "ulmfit-lab report")
