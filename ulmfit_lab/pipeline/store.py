"""Store of stages, which are computed once and reused by all runs that need them.

A stage's fingerprint identifies everything that determines its result: kind, key (config, seed, data digest) and the
fingerprints of its inputs. A stage is a folder with its files, curves (`points.jsonl`) and manifest (`stage.json`). It
is computed in a temporary folder and moved into place, so it is either complete or absent.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from ulmfit_lab.config.paths import fingerprint
from ulmfit_lab.training.progress import Point, Progress
from ulmfit_lab.utils.errors import DataError
from ulmfit_lab.utils.files import atomic_write, file_digest, json_text, parse_number
from ulmfit_lab.utils.locks import is_locked
from ulmfit_lab.utils.provenance import provenance

VERSIONS: Mapping[str, int] = {
    "tokens": 1,
    "vocabulary": 1,
    "vectors": 2,
    "encoded": 1,
    "features": 1,
    "pretrained": 3,
    "fine-tuned": 3,
    "classifier": 2,
    "ensemble": 2,
}
"""Kind -> version of the code that computes it; raise it when a change to that code, or to a default, can change a
number."""

MANIFEST_NAME = "stage.json"
MANIFEST: Mapping[str, type | tuple[type, ...]] = {
    "kind": str, "fingerprint": str, "key": dict, "inputs": dict, "summary": dict, "seconds": (int, float),
}  # fmt: skip
"""Fields of a manifest that are read, besides `files`, with their types."""


@dataclass(frozen=True)
class StageContext:
    """Arguments of a stage's computation: an empty (or interrupted) folder, finished inputs and callbacks."""

    folder: Path
    inputs: Mapping[str, StageResult]
    record: Callable[[Point], None]
    progress: Callable[[Progress], None]


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage that may not have been computed yet.

    compute(work) writes files to work.folder and returns a summary (JSON-like). After an interruption it gets the same
    folder again, so that it can resume.
    """

    kind: str
    key: Mapping[str, Any]
    inputs: Mapping[str, Stage]
    compute: Callable[[StageContext], dict[str, Any]]
    estimate: Callable[[], float] = float
    """Estimates `tokens`, for which texts may have to be read; a function without arguments."""

    @cached_property
    def tokens(self) -> float:
        """Roughly how many tokens it reads, all epochs together: what its cost is predicted from."""
        return self.estimate()

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that identify everything that determines the result."""
        upstream = {name: stage.fingerprint for name, stage in self.inputs.items()}
        return stage_fingerprint(self.kind, VERSIONS[self.kind], self.key, upstream)

    def ancestry(self) -> list[Stage]:
        """Return this stage and all stages that it needs, each once, inputs first."""
        found: dict[str, Stage] = {}
        for stage in self.inputs.values():
            found.update({s.fingerprint: s for s in stage.ancestry()})
        found[self.fingerprint] = self
        return list(found.values())


@dataclass(frozen=True)
class StageResult:
    """A finished stage: folder, manifest, and whether it existed before."""

    folder: Path
    manifest: Mapping[str, Any]
    reused: bool

    @property
    def kind(self) -> str:
        """Kind of the stage."""
        return str(self.manifest["kind"])

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the stage."""
        return str(self.manifest["fingerprint"])

    @property
    def summary(self) -> Mapping[str, Any]:
        """Return value of the stage's computation."""
        summary: Mapping[str, Any] = self.manifest["summary"]
        return summary

    @property
    def seconds(self) -> float:
        """Duration of the computation."""
        return float(self.manifest["seconds"])

    def points(self) -> list[Point]:
        """Read the curves recorded during the computation; raises DataError for a damaged file."""
        path, found = self.folder / "points.jsonl", list[Point]()
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                point = json.loads(line)
                values = {str(name): parse_number(value) for name, value in point["values"].items()}
                found.append(Point(int(point["step"]), float(point["epoch"]), values))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            where = f"{path}, line {len(found) + 1}"
            raise DataError(f"{where}: not a point of a curve ({error}); remove {self.folder}.") from error
        return found


@dataclass(frozen=True)
class StageStore:
    """Folder of finished stages."""

    root: Path

    def folder(self, stage: Stage) -> Path:
        """Return the folder of the stage."""
        return self.root / stage.kind / stage.fingerprint

    def find(self, stage: Stage) -> StageResult | None:
        """Return the finished stage, or None."""
        return read_stage(self.folder(stage), reused=True)

    def finished(self, kind: str | None = None) -> Iterator[StageResult]:
        """Yield the finished stages of a kind, or of all kinds."""
        for each in VERSIONS if kind is None else [kind]:
            for folder in sorted((self.root / each).glob("*")):
                if stage := read_stage(folder, reused=True):
                    yield stage

    def missing(self, stage: Stage) -> list[Stage]:
        """Return the stages to compute for `stage`, in order; inputs of finished stages are not needed."""
        if self.find(stage):
            return []
        found: dict[str, Stage] = {}
        for upstream in stage.inputs.values():
            found.update({s.fingerprint: s for s in self.missing(upstream)})
        found[stage.fingerprint] = stage
        return list(found.values())

    def busy(self, stage: Stage) -> bool:
        """Return whether another process is computing a stage that `stage` needs."""
        return any(is_locked(self._lock(upstream)) for upstream in self.missing(stage))

    def _lock(self, stage: Stage) -> Path:
        return self.root / f"{stage.kind}-{stage.fingerprint}.lock"

    def get_or_compute(self, stage: Stage, observe: Observer) -> StageResult:
        """Return the finished stage, computing it and its inputs if needed; a lock prevents concurrent computation."""
        found = self.find(stage)
        if found:
            observe.reused(stage, found)
            return found
        inputs = {name: self.get_or_compute(upstream, observe) for name, upstream in stage.inputs.items()}
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock(stage)):
            found = self.find(stage)  # another process may have finished it
            if found:
                observe.reused(stage, found)
                return found
            return self._compute(stage, inputs, observe)

    def _compute(self, stage: Stage, inputs: Mapping[str, StageResult], observe: Observer) -> StageResult:
        partial = self.root / "partial" / f"{stage.kind}-{stage.fingerprint}"
        partial.mkdir(parents=True, exist_ok=True)
        points: list[Point] = []

        def record(point: Point) -> None:
            points.append(point)
            observe.point(stage, point)

        observe.started(stage)
        began = time.perf_counter()
        summary = stage.compute(StageContext(partial, inputs, record, lambda p: observe.progress(stage, p)))
        seconds = summary.pop("seconds", None) or time.perf_counter() - began
        (partial / "points.jsonl").write_text("".join(f"{json_text(vars(p))}\n" for p in points), encoding="utf-8")
        write_manifest(partial, stage, summary, seconds)
        final = self.folder(stage)
        final.parent.mkdir(exist_ok=True)
        if final.exists():  # a damaged stage
            shutil.rmtree(final)
        os.replace(partial, final)
        stored = read_stage(final, reused=False)
        if stored is None:
            raise DataError(f"{final} disappeared while it was written; check whether another program deletes it.")
        observe.finished(stage, stored)
        return stored


class Observer:
    """Callbacks for events of stages; subclasses override some."""

    def started(self, stage: Stage) -> None:
        """The computation of a stage starts."""

    def point(self, stage: Stage, point: Point) -> None:
        """A point of a curve was recorded."""

    def progress(self, stage: Stage, progress: Progress) -> None:
        """The progress of the computation changed."""

    def finished(self, stage: Stage, stored: StageResult) -> None:
        """A stage was computed."""

    def reused(self, stage: Stage, stored: StageResult) -> None:
        """A finished stage was found."""


def stage_fingerprint(kind: str, version: int, key: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return 16 hex digits that identify everything that determines a stage's result; inputs: name -> fingerprint."""
    return fingerprint({"kind": kind, "version": version, "key": key, "inputs": inputs})


def write_manifest(folder: Path, stage: Stage, summary: Mapping[str, Any], seconds: float) -> None:
    """Write the manifest of a stage's files."""
    # remove temporary files of a killed process
    for left in [*folder.glob("*.tmp"), *folder.glob(MANIFEST_NAME)]:
        left.unlink()
    files = {p.name: {"bytes": p.stat().st_size, "sha256": file_digest(p)} for p in sorted(folder.iterdir())}
    manifest = {
        "kind": stage.kind,
        "fingerprint": stage.fingerprint,
        "version": VERSIONS[stage.kind],
        "key": stage.key,
        "inputs": {name: upstream.fingerprint for name, upstream in stage.inputs.items()},
        "summary": dict(summary),
        "seconds": seconds,
        "tokens": stage.tokens,
        "commit": provenance().get("lab.commit", ""),
        "files": files,
    }
    with atomic_write(folder / MANIFEST_NAME) as temporary:
        temporary.write_text(json_text(manifest, indent=1, ensure_ascii=False), encoding="utf-8")


def read_stage(folder: Path, *, reused: bool) -> StageResult | None:
    """Return the finished stage in a folder, or None if it is missing, damaged, or a file has another size."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == facts["bytes"] for name, facts in manifest["files"].items())
        whole &= all(isinstance(manifest[name], kind) for name, kind in MANIFEST.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return StageResult(folder, manifest, reused) if whole else None
