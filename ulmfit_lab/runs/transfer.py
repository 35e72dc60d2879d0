"""Export of finished runs as a JSON-lines file, and import into another tracking store.

The first line holds format, version and number of runs; each further line is a run. The whole file is validated before
anything is imported. A report's runs.csv can be imported too, without curves and times.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ulmfit_lab.analysis.run_table import METRICS, read_runs
from ulmfit_lab.config.paths import fingerprint, rename_fields
from ulmfit_lab.experiment.declaration import Changes, Experiment, declaration
from ulmfit_lab.experiment.plan import plan_runs
from ulmfit_lab.experiment.precision import resolve_precision
from ulmfit_lab.experiment.registration import read_registration
from ulmfit_lab.experiment.run_names import name_runs
from ulmfit_lab.sweep.runner import mark_killed_on_interrupt
from ulmfit_lab.tracking.predictions import FILE, Predictions, find_predictions, parse_predictions
from ulmfit_lab.tracking.records import DIVERGED, IMPORTED, REGISTERED, LoggedMetric, TrackedRun
from ulmfit_lab.utils.errors import DataError, MismatchError, sweep_command
from ulmfit_lab.utils.files import file_digest, json_text, unpacked_limit, write_output
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.provenance import provenance

if TYPE_CHECKING:
    from ulmfit_lab.tracking.tracker import Tracker

FORMAT, VERSION = "ulmfit-lab runs", 1
GZIP = b"\x1f\x8b"
FIELDS: Mapping[str, type] = {
    "run_id": str, "status": str, "name": str, "experiment": str, "scale": str, "variant": str, "level": str,
    "seed": int, "cell": str, "declaration": str, "params": dict, "metrics": dict, "tags": dict, "inputs": list,
    "start": int, "end": int, "histories": dict,
}  # fmt: skip
"""Fields of a run, and their types."""
LARGEST = 2**63
"""Upper bound of integers in a database."""
NAME = re.compile(r"\w+")
"""Valid ids and fingerprints; they are used in queries of the store."""


@dataclass(frozen=True)
class ExportedRun:
    """A finished run with its curves and the declaration of its sweep."""

    run: TrackedRun
    declaration: str
    histories: Mapping[str, Sequence[LoggedMetric]] = field(default_factory=dict)
    predictions: Predictions | None = None


@dataclass(frozen=True)
class ImportResult:
    """Numbers of runs of an imported file."""

    added: int
    known: int
    """Already in the store."""
    repeated: int
    """Not added, since another finished run has the same fingerprint."""
    declared: int
    """Of all runs in the file, those of the current declaration."""
    undeclared: int
    """The others: with another config, code or data."""


def export_runs(experiment: str, scale: str, tracker: Tracker, path: Path, home: Home) -> int:
    """Write the finished runs of an experiment at a scale to a file, gzipped if its name ends in .gz.

    Returns the number of runs. The output is deterministic. Raises DataError without runs, or if the file cannot be
    written.
    """
    runs = sorted(tracker.runs(experiment, scale, "FINISHED"), key=lambda run: (run.start, run.origin))
    if not runs:
        hint = f"make them: {sweep_command(experiment, scale)}"
        raise DataError(f"{experiment} has no finished runs at scale {scale} to export; {hint}.")
    parents = {run.parent: tracker.declaration_of(run.parent) for run in runs}
    lines = [{"format": FORMAT, "version": VERSION, "experiment": experiment, "scale": scale, "runs": len(runs)}]
    lines += [
        to_fields(ExportedRun(run, parents[run.parent], tracker.histories(run), find_predictions(run, home)))
        for run in runs
    ]
    content = "".join(f"{json.dumps(line, sort_keys=True, allow_nan=False)}\n" for line in lines).encode()
    with write_output(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return len(runs)


def to_fields(traveller: ExportedRun) -> dict[str, Any]:
    """A run as JSON fields; floats that are not finite become text."""
    run = traveller.run
    plain = {name: getattr(run, name) for name in FIELDS if hasattr(run, name)} | {"cell": run.fingerprint}
    tags = {name: value for name, value in run.tags.items() if name not in (IMPORTED, "mlflow.parentRunId")}
    curves = {
        name: [[step, parse_number(value), when] for step, value, when in points]
        for name, points in traveller.histories.items()
    }
    return plain | {
        "run_id": run.origin,
        "end": run.end or run.start,
        "tags": tags,
        "metrics": {name: parse_number(value) for name, value in run.metrics.items()},
        "declaration": traveller.declaration,
        "histories": curves,
        **({"predictions": traveller.predictions.to_fields()} if traveller.predictions else {}),
    }


def parse_number(value: float) -> float | str:
    """Convert a float that is not finite to text, for JSON."""
    return value if math.isfinite(value) else str(value)


def read_export(path: Path) -> list[ExportedRun]:
    """Read the runs of a file that `export_runs` wrote; raises DataError if it is invalid or incomplete."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; name an export of runs.")
    try:
        text = decompress(path)
        header, *lines = (json.loads(line) for line in io.StringIO(text.decode("utf-8")))
        if (header["format"], header["version"]) != (FORMAT, VERSION):
            raise ValueError(f"its format is {header['format']!r}, version {header['version']!r}")
        if header["runs"] != len(lines):
            raise ValueError(f"it should hold {header['runs']} runs and holds {len(lines)}")
        return [from_fields(line) for line in lines]
    except (OSError, EOFError, ValueError, KeyError, TypeError, OverflowError, RecursionError, zlib.error) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        hint = "make one: ulmfit-lab runs EXPERIMENT --export FILE"
        raise DataError(f"{path} is not an export of runs ({why}); {hint}") from error


def decompress(path: Path) -> bytes:
    """Content of a file, decompressed if gzipped; raises ValueError if it exceeds `unpacked_limit`."""
    with path.open("rb") as file:
        packed = file.peek(2).startswith(GZIP)
        if not packed:
            return file.read()
        limit = unpacked_limit(path)
        with gzip.open(file) as unpacking:
            content = unpacking.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it unpacks to more than {limit} bytes")
    return content


def from_fields(line: Mapping[str, Any]) -> ExportedRun:
    """Parse a run; raises KeyError, TypeError or ValueError if it is invalid."""
    found = {name: line[name] for name in FIELDS}
    for name, kind in FIELDS.items():
        if type(found[name]) is not kind:
            raise ValueError(f"{name} of a run is not of type {kind.__name__}")
        if kind is int and not 0 <= found[name] < LARGEST:
            raise ValueError(f"{name} of a run is out of bounds")
    for name in ("run_id", "cell", "declaration"):
        if not NAME.fullmatch(found[name]):
            raise ValueError(f"{name} of a run is {found[name]!r}")
    if found["status"] != "FINISHED":
        raise ValueError(f"run {found['run_id']} is {found['status']}, not FINISHED")
    declared, curves = found.pop("declaration"), found.pop("histories")
    params, tags = ({str(k): str(v) for k, v in found[name].items()} for name in ("params", "tags"))
    typed = {
        "parent": "",
        "params": rename_fields(params),
        "metrics": {str(name): float(value) for name, value in found["metrics"].items()},
        "tags": tags | identity_tags(found),
        "inputs": tuple(_data_set(each) for each in found["inputs"]),
    }
    measured = {name: [(int(s), float(v), int(t)) for s, v, t in points] for name, points in curves.items()}
    if any(
        not 0 <= whole < LARGEST for points in measured.values() for step, _, when in points for whole in (step, when)
    ):
        raise ValueError("a step or a time of a curve is out of bounds")
    run = TrackedRun(fingerprint=found.pop("cell"), **{**found, **typed})
    predictions = parse_predictions(line["predictions"]) if "predictions" in line else None
    return ExportedRun(run, declared, measured, predictions)


def identity_tags(found: Mapping[str, Any]) -> dict[str, str]:
    """Tags that identify an imported run."""
    named = {name: str(found[name]) for name in ("experiment", "scale", "variant", "level", "seed")}
    return named | {"lab.cell": str(found["cell"]), IMPORTED: str(found["run_id"])}


def _data_set(found: Sequence[str]) -> tuple[str, str, str, str]:
    name, digest, source, context = map(str, found)
    return name, digest, source, context


def read_table(path: Path) -> list[ExportedRun]:
    """Read the runs of a report's runs.csv; their times are now, and they share one parent run.

    Of several rows with the same run id, the first is used.
    """
    rows = read_runs(path).drop_duplicates("run_id").to_dict("records")
    declared, now = fingerprint(["runs.csv", file_digest(path)]), round(time.time() * 1000)
    registered = read_registration(path.parent).strip()
    kept = {REGISTERED: registered} if registered else {}
    runs = [_from_row({str(name): value for name, value in row.items()}, now) for row in rows]
    return [ExportedRun(replace(run, tags=run.tags | kept), declared) for run in runs]


def _from_row(row: Mapping[str, Any], now: int) -> TrackedRun:
    cost = {f"cost/{name}": row[name] for name in ("computed_seconds", "reused_seconds")}
    values = {name: value for name, value in row.items() if name.startswith(METRICS)}
    params = {name.removeprefix("param/"): value for name, value in row.items() if name.startswith("param/")}
    params = rename_fields(params)
    tags = {
        "lab.commit": row["commit"],
        "lab.dirty": str(row["dirty"]).lower(),
        "vocabulary": params.pop("vocabulary", ""),
        DIVERGED: row.get("diverged", ""),
        **{f"stage.{name.removeprefix('stage/')}": row[name] for name in row if name.startswith("stage/")},
    }
    level = f" @ {row['level']}" if row["level"] else ""
    return TrackedRun(
        run_id=row["run_id"],
        status=row["status"],
        name=f"{row['variant']}{level}, seed {row['seed']}",
        **{name: row[name] for name in ("experiment", "scale", "variant", "level", "seed")},
        fingerprint=row["cell"],
        parent="",
        params=params,
        metrics={name: value for name, value in {**values, **cost}.items() if not math.isnan(value)},
        tags={name: value for name, value in tags.items() if value} | identity_tags(row),
        inputs=tuple(
            (name.removeprefix("data/"), row[name], "", "") for name in row if name.startswith("data/") and row[name]
        ),
        start=now,
        end=now,
    )


def import_runs(
    experiment: Experiment,
    scale: str,
    overrides: Changes | None,
    home: Home,
    data: Path | None,
    tracker: Tracker,
    path: Path,
) -> ImportResult:
    """Import the runs of a file, each once, under the parent run of their declaration.

    Runs whose fingerprint belongs to the current declaration are added to the current sweep, which then skips them.

    Raises DataError for an invalid file, MismatchError for runs of another experiment or scale.
    """
    travellers = read_table(path) if path.suffix == ".csv" else read_export(path)
    _refuse_strangers(travellers, experiment.name, scale, path)
    experiment, overrides = resolve_precision(
        experiment,
        scale,
        overrides,
        lambda: tracker.runs(experiment.name, scale) or [each.run for each in travellers],
        home,
    )
    planned = plan_runs(experiment, scale, overrides, data, (), home.imported)
    wanted = {each.stage.fingerprint for each in planned}
    today = declaration(experiment, scale, overrides)
    with FileLock(home.root / "import.lock"):
        here = tracker.runs(experiment.name, scale, "FINISHED")
        origins, finished = {run.origin for run in here}, {run.fingerprint for run in here}
        fresh = [each for each in travellers if each.run.origin not in origins]
        added = [each for each in _newest_of_cells(fresh) if each.run.fingerprint not in finished]
        missing = len(wanted - finished - {each.run.fingerprint for each in added})
        for declared, members in _by_declaration(added, wanted, today).items():
            reason = f"{missing} of its runs are missing" if missing and declared == today else ""
            parent = tracker.open_sweep(experiment.name, scale, declared, experiment.question, provenance())
            with mark_killed_on_interrupt(tracker, parent):
                for each in members:
                    texts = {FILE: json_text(each.predictions.to_fields())} if each.predictions else {}
                    tracker.import_run(parent, each.run, each.histories, texts)
            tracker.finish_sweep(parent, "KILLED" if reason else "FINISHED", reason)
        if added:
            name_runs(tracker.runs(experiment.name, scale, "FINISHED"), planned, tracker)
    belonging = sum(each.run.fingerprint in wanted for each in travellers)
    return ImportResult(
        added=len(added),
        known=len(travellers) - len(fresh),
        repeated=len(fresh) - len(added),
        declared=belonging,
        undeclared=len(travellers) - belonging,
    )


def _refuse_strangers(travellers: Sequence[ExportedRun], experiment: str, scale: str, path: Path) -> None:
    for run in (each.run for each in travellers):
        if (run.experiment, run.scale) != (experiment, scale):
            raise MismatchError(
                f"{path} holds runs of {run.experiment} at scale {run.scale}, not of {experiment} at scale {scale}; "
                f"import it with: ulmfit-lab runs {run.experiment} --scale {run.scale} --import {path}"
            )


def _newest_of_cells(travellers: Sequence[ExportedRun]) -> list[ExportedRun]:
    """The newest run of each fingerprint."""
    newest = {each.run.fingerprint: each for each in sorted(travellers, key=lambda each: each.run.start)}
    return list(newest.values())


def _by_declaration(travellers: Sequence[ExportedRun], wanted: set[str], today: str) -> dict[str, list[ExportedRun]]:
    """Declaration -> its runs; runs with a fingerprint in `wanted` belong to `today`."""
    found: dict[str, list[ExportedRun]] = {}
    for each in travellers:
        found.setdefault(today if each.run.fingerprint in wanted else each.declaration, []).append(each)
    return found
