"""A report that was written from the runs of today is shown again without being made again.

Beside each report the home keeps a record: what the report was made from (`report_key`), the digests of the files, and
what the terminal showed. Reading it takes none of the packages that compute and draw.
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
    """Digest of all that a report is made from: runs, declaration, the lab's code, and a search's table beside it."""
    code = [(str(path), (at := path.stat()).st_mtime_ns, at.st_size) for path in sorted(PACKAGE.rglob("*.py"))]
    searched = {path.name: file_digest(path) for path in sorted(folder.glob("tuning.*"))}
    parts = repr(runs), repr(experiment), declaration(experiment, scale, overrides), uri, repr(code), repr(searched)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def save_report(home: Home, folder: Path, key: str, written: Sequence[Path], shown: Sequence[RenderableType]) -> None:
    """Record what a report was made from, its files, and what the terminal showed."""
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
    """What the terminal shows of a report; None where it was made from something else, or a file is not as written."""
    try:
        facts = json.loads(record_of(home, folder).read_text(encoding="utf-8"))
        if facts["key"] != key or any(file_digest(folder / name) != was for name, was in facts["files"].items()):
            return None
        return [from_json(part) for part in facts["shown"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_of(home: Home, folder: Path) -> Path:
    """The file of a report's record."""
    return home.root / "reports" / f"{fingerprint(str(folder.resolve()))}.json"


def to_json(part: Any) -> dict[str, Any]:
    """A text or table as JSON holds it."""
    if isinstance(part, FittedTable):
        rows, intervals = [list(row) for row in part.rows], [list(ends) for ends in part.intervals]
        return {"header": list(part.header), "rows": rows, "intervals": intervals}
    return {"text": part.plain, "style": str(part.style)}


def from_json(part: dict[str, Any]) -> RenderableType:
    """What `to_json` was given."""
    if "text" in part:
        return Text(part["text"], style=part["style"])
    intervals = [(parse_number(low), parse_number(mid), parse_number(high)) for low, mid, high in part["intervals"]]
    return FittedTable(part["header"], part["rows"], intervals)
