"""Stages: pieces of work that are done once, kept under a fingerprint, and reused by whoever needs them.

A stage's fingerprint stands for all that determines its result: kind, key (config, seed, data digest) and the
fingerprints of the stages it is made from. On disk a stage is a folder with its files, its curves
(`points.jsonl`) and a manifest (`stage.json`); it is made in a folder of its own beside the finished ones and
moved into place at the end, so a stage is either whole or absent.
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
"""Kind -> version of the code that computes it; raised when a change to that code, or of a default that keys leave
out, can move a number."""

MANIFEST_NAME = "stage.json"
MANIFEST: Mapping[str, type | tuple[type, ...]] = {
    "kind": str, "fingerprint": str, "key": dict, "inputs": dict, "summary": dict, "seconds": (int, float),
}  # fmt: skip
"""What a manifest holds that others ask for, beside `files`."""


@dataclass(frozen=True)
class StageContext:
    """What a stage computes with: an empty (or interrupted) folder, its finished inputs, and whom to tell."""

    folder: Path
    inputs: Mapping[str, StageResult]
    record: Callable[[Point], None]
    progress: Callable[[Progress], None]


@dataclass(frozen=True, eq=False)
class Stage:
    """A piece of work that has not necessarily been done.

    compute(work) writes files into work.folder and returns a summary (JSON-like). A folder that an
    interruption left behind is handed to it again, so that it may go on.
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
        """16 hex digits for all that determines the result."""
        upstream = {name: stage.fingerprint for name, stage in self.inputs.items()}
        return stage_fingerprint(self.kind, VERSIONS[self.kind], self.key, upstream)

    def ancestry(self) -> list[Stage]:
        """This stage and all it is made from, each once, inputs before what is made from them."""
        found: dict[str, Stage] = {}
        for stage in self.inputs.values():
            found.update({s.fingerprint: s for s in stage.ancestry()})
        found[self.fingerprint] = self
        return list(found.values())


@dataclass(frozen=True)
class StageResult:
    """A finished stage: its folder and manifest, and whether it was there already."""

    folder: Path
    manifest: Mapping[str, Any]
    reused: bool

    @property
    def kind(self) -> str:
        """Kind of stage."""
        return str(self.manifest["kind"])

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the stage."""
        return str(self.manifest["fingerprint"])

    @property
    def summary(self) -> Mapping[str, Any]:
        """What the stage's computation returned."""
        summary: Mapping[str, Any] = self.manifest["summary"]
        return summary

    @property
    def seconds(self) -> float:
        """Time that computing it took."""
        return float(self.manifest["seconds"])

    def points(self) -> list[Point]:
        """The curves recorded while it was computed."""
        path, found = self.folder / "points.jsonl", list[Point]()
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                found.append(point_of(json.loads(line)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            where = f"{path}, line {len(found) + 1}"
            raise DataError(f"{where}: this is no point of a curve ({error}); remove {self.folder}.") from error
        return found


@dataclass(frozen=True)
class StageStore:
    """Finished stages in a folder."""

    root: Path

    def folder(self, stage: Stage) -> Path:
        """Where the stage is, once finished."""
        return self.root / stage.kind / stage.fingerprint

    def find(self, stage: Stage) -> StageResult | None:
        """The finished stage, or None."""
        return read_stage(self.folder(stage), reused=True)

    def finished(self, kind: str | None = None) -> Iterator[StageResult]:
        """The finished stages of a kind, or of all, by kind and fingerprint."""
        for each in VERSIONS if kind is None else [kind]:
            for folder in sorted((self.root / each).glob("*")):
                if stage := read_stage(folder, reused=True):
                    yield stage

    def missing(self, stage: Stage) -> list[Stage]:
        """What has to be computed before `stage` is finished, in order; nothing below a finished stage counts."""
        if self.find(stage):
            return []
        found: dict[str, Stage] = {}
        for upstream in stage.inputs.values():
            found.update({s.fingerprint: s for s in self.missing(upstream)})
        found[stage.fingerprint] = stage
        return list(found.values())

    def busy(self, stage: Stage) -> bool:
        """Whether another process is computing something that `stage` waits for."""
        return any(is_locked(self._lock(upstream)) for upstream in self.missing(stage))

    def _lock(self, stage: Stage) -> Path:
        return self.root / f"{stage.kind}-{stage.fingerprint}.lock"

    def get_or_compute(self, stage: Stage, observe: Observer) -> StageResult:
        """The finished stage, computed now if it must be; only one process at a time computes a stage.

        Inputs are obtained first, and only where they are needed.
        """
        found = self.find(stage)
        if found:
            observe.reused(stage, found)
            return found
        inputs = {name: self.get_or_compute(upstream, observe) for name, upstream in stage.inputs.items()}
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock(stage)):
            found = self.find(stage)  # another process may have finished it meanwhile
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
        if final.exists():  # a stage whose manifest is gone or torn: what is there cannot be trusted
            shutil.rmtree(final)
        os.replace(partial, final)
        stored = read_stage(final, reused=False)
        if stored is None:
            raise DataError(f"{final} vanished while it was written; is another program cleaning the folder?")
        observe.finished(stage, stored)
        return stored


class Observer:
    """Hears what happens to stages; each method may be overridden."""

    def started(self, stage: Stage) -> None:
        """A stage begins to be computed."""

    def point(self, stage: Stage, point: Point) -> None:
        """A point of a curve of the stage being computed."""

    def progress(self, stage: Stage, progress: Progress) -> None:
        """How far the stage being computed is."""

    def finished(self, stage: Stage, stored: StageResult) -> None:
        """A stage was computed."""

    def reused(self, stage: Stage, stored: StageResult) -> None:
        """A stage was there already."""


def stage_fingerprint(kind: str, version: int, key: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """16 hex digits for all that determines a stage's result; inputs: name -> fingerprint."""
    return fingerprint({"kind": kind, "version": version, "key": key, "inputs": inputs})


def point_of(found: Any) -> Point:
    """A line of `points.jsonl`; raises KeyError, TypeError and others where it is none."""
    values = {str(name): parse_number(value) for name, value in found["values"].items()}
    return Point(int(found["step"]), float(found["epoch"]), values)


def write_manifest(folder: Path, stage: Stage, summary: Mapping[str, Any], seconds: float) -> None:
    """Describe the finished files of a stage; written last, so that it vouches for them."""
    # what a process left that was killed as it wrote or moved them is no part of the stage
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
    """The finished stage in a folder, or None where it is absent, torn, or a file has another size."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == facts["bytes"] for name, facts in manifest["files"].items())
        whole &= all(isinstance(manifest[name], kind) for name, kind in MANIFEST.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return StageResult(folder, manifest, reused) if whole else None
