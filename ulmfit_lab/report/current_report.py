"""Show a report that is up to date without regenerating it.

For each report the home keeps a record: a digest of the inputs (`report_key`), digests of the written files, and the
terminal output. Reading a record imports no packages for statistics or plots.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from ulmfit_lab.config.paths import fingerprint
from ulmfit_lab.experiment.declaration import Changes, Experiment, declaration
from ulmfit_lab.report.terminal_tables import FittedTable
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.utils.files import atomic_write, file_digest, json_text, parse_number
from ulmfit_lab.utils.home import Home

PACKAGE = Path(__file__).resolve().parents[1]


def report_key(
    experiment: Experiment, scale: str, overrides: Changes | None, runs: Sequence[TrackedRun], uri: str, folder: Path
) -> str:
    """Return a digest of the inputs of a report: runs, declaration, code of the package, and the table of a search."""
    code = [(str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in sorted(PACKAGE.rglob("*.py"))]
    search = {path.name: file_digest(path) for path in sorted(folder.glob("tuning.*"))}
    parts = repr(runs), repr(experiment), declaration(experiment, scale, overrides), uri, repr(code), repr(search)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def save_report(home: Home, folder: Path, key: str, written: Sequence[Path], shown: Sequence[RenderableType]) -> None:
    """Write the record of a report: key, digests of the files, terminal output."""
    facts = {
        "key": key,
        "files": {path.name: file_digest(path) for path in written},
        "shown": [to_json(part) for part in shown],
    }
    path = record_of(home, folder)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json_text(facts), encoding="utf-8")


def current_report(home: Home, folder: Path, key: str) -> list[RenderableType] | None:
    """Return the terminal output of a report; None if its inputs or files have changed."""
    try:
        facts = json.loads(record_of(home, folder).read_text(encoding="utf-8"))
        if facts["key"] != key or any(file_digest(folder / name) != old for name, old in facts["files"].items()):
            return None
        return [from_json(part) for part in facts["shown"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_of(home: Home, folder: Path) -> Path:
    """Return the path of a report's record."""
    return home.root / "reports" / f"{fingerprint(str(folder.resolve()))}.json"


def to_json(part: Any) -> dict[str, Any]:
    """Convert a text or table to a JSON object."""
    if isinstance(part, FittedTable):
        rows, intervals = [list(row) for row in part.rows], [list(ends) for ends in part.intervals]
        return {"header": list(part.header), "rows": rows, "intervals": intervals}
    return {"text": part.plain, "style": str(part.style)}


def from_json(part: dict[str, Any]) -> RenderableType:
    """Convert a JSON object of `to_json` back to a text or table."""
    if "text" in part:
        return Text(part["text"], style=part["style"])
    intervals = [(parse_number(low), parse_number(mid), parse_number(high)) for low, mid, high in part["intervals"]]
    return FittedTable(part["header"], part["rows"], intervals)
