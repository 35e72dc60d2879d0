"""Archives of finished stages, to copy trained models from one home to another.

An archive is a ZIP file with members `KIND/FINGERPRINT/FILE`. The manifest of each stage, `stage.json`, lists the other
files with size and SHA-256. Nothing is unpickled. Before a stage is moved to the store, its fingerprint and files are
compared with its manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ulmfit_lab.pipeline.store import (
    MANIFEST,
    MANIFEST_NAME,
    VERSIONS,
    StageResult,
    StageStore,
    read_stage,
    stage_fingerprint,
)
from ulmfit_lab.utils.errors import DataError, MismatchError
from ulmfit_lab.utils.files import unpacked_limit, write_output

MEMBER = re.compile(r"(?P<stage>(?P<kind>[a-z-]+)/[0-9a-f]{16})/(?P<file>[A-Za-z0-9][A-Za-z0-9_.-]*)")
"""Name of a member."""
SUFFIXES = frozenset({".safetensors", ".json", ".jsonl", ".npy", ".png", ".svg", ".txt"})
"""Extensions of a stage's files."""
LARGEST_MANIFEST = 2**24
"""Maximum size of a manifest in bytes."""
MOST_MEMBERS = 100_000


@dataclass(frozen=True)
class ImportedStages:
    """Result of an import."""

    added: tuple[StageResult, ...]
    known: int
    """Stages that were already in the store."""


def with_inputs(stages: Iterable[StageResult], store: StageStore) -> list[StageResult]:
    """Return these stages and the finished ones that they were made from, each once.

    Tokens are left out unless chosen: they can be made again from the texts, whose licence may forbid a copy.
    """
    known = {stage.fingerprint: stage for stage in store.finished() if stage.kind != "tokens"}
    found: dict[str, StageResult] = {}
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        found[stage.fingerprint] = stage
        waiting += [known[each] for each in stage.manifest["inputs"].values() if each in known.keys() - found.keys()]
    return list(found.values())


def export_stages(stages: Iterable[StageResult], path: Path) -> int:
    """Write stages to an archive, deterministically; returns their number.

    Raises DataError for no stages, for unknown file types, and if the file cannot be written.
    """
    chosen = list({stage.fingerprint: stage for stage in stages}.values())
    if not chosen:
        raise DataError("No finished stage was selected; see ulmfit-lab stages --list.")
    with write_output(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for stage in chosen:
            for name in [MANIFEST_NAME, *sorted(stage.manifest["files"])]:
                _check_suffix(name, str(stage.folder))
                member = zipfile.ZipInfo(f"{stage.kind}/{stage.fingerprint}/{name}")  # with the date 1980
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, (stage.folder / name).read_bytes())
    return len(chosen)


def import_stages(path: Path, store: StageStore) -> ImportedStages:
    """Add the stages of an archive to a store; existing stages are kept.

    Raises DataError for a damaged or invalid archive, and MismatchError for a stage of another version; then nothing is
    added.
    """
    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.root, prefix="import-") as place:
        root = Path(place)
        with _reading_archive(path) as archive:
            members = _members(archive, path)
            _check_size(archive, path)
            for stage, names in members.items():
                _extract_stage(archive, stage, names, root / stage)
        added, known = [], 0
        for stage in members:
            final = store.root / stage
            if read_stage(final, reused=True):
                known += 1
                continue
            final.parent.mkdir(exist_ok=True)
            shutil.rmtree(final, ignore_errors=True)  # a damaged stage
            os.replace(root / stage, final)
            if found := read_stage(final, reused=True):
                added.append(found)
    return ImportedStages(tuple(added), known)


@contextmanager
def _reading_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; convert the errors of a damaged one to DataError."""
    damage = (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except damage as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged or not an archive of stages ({reason}); export it again.") from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, list[str]]:
    """Return `KIND/FINGERPRINT` -> files; raises DataError for an invalid member."""
    found: dict[str, list[str]] = {}
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise DataError(f"{path} has {len(infos)} members, more than {MOST_MEMBERS}; use an archive of stages.")
    for info in infos:
        parts = MEMBER.fullmatch(info.filename)
        if not parts or parts["kind"] not in VERSIONS:
            raise DataError(f"{path}: {info.filename!r} is not a valid member; export the stages again.")
        _check_suffix(parts["file"], str(path))
        names = found.setdefault(parts["stage"], [])
        if parts["file"] in names:
            raise DataError(f"{path}: {info.filename!r} occurs twice; export the stages again.")
        names.append(parts["file"])
    return found


def _check_suffix(name: str, where: str) -> None:
    if Path(name).suffix not in SUFFIXES:
        raise DataError(f"{where}: {name!r} has an unknown extension; allowed are {', '.join(sorted(SUFFIXES))}.")


def _check_size(archive: zipfile.ZipFile, path: Path) -> None:
    size, limit = sum(info.file_size for info in archive.infolist()), unpacked_limit(path)
    if size > limit:
        raise DataError(f"{path} unpacks to {size // 2**20} MB, over {limit // 2**20} MB; use an archive of stages.")


def _extract_stage(archive: zipfile.ZipFile, stage: str, names: list[str], folder: Path) -> None:
    """Write the files of a stage `KIND/FINGERPRINT` to a folder; raises DataError if one differs from the manifest."""
    where = f"{archive.filename}: {stage}"
    if MANIFEST_NAME not in names:
        raise DataError(f"{where} has no {MANIFEST_NAME}; export the stages again.")
    member = archive.getinfo(f"{stage}/{MANIFEST_NAME}")
    if member.file_size > LARGEST_MANIFEST:
        raise DataError(f"{where}: {MANIFEST_NAME} has {member.file_size} bytes, more than {LARGEST_MANIFEST}.")
    text = archive.read(member)
    files = _read_manifest(text, stage, where)["files"]
    if files.keys() != set(names) - {MANIFEST_NAME}:
        raise DataError(f"{where}: its files differ from those in {MANIFEST_NAME}; export the stages again.")
    folder.mkdir(parents=True)
    for name in sorted(files):
        data = archive.read(f"{stage}/{name}")
        if (len(data), hashlib.sha256(data).hexdigest()) != (files[name]["bytes"], files[name]["sha256"]):
            raise DataError(
                f"{where}/{name} is damaged: its content differs from {MANIFEST_NAME}; export the stages again."
            )
        (folder / name).write_bytes(data)
    (folder / MANIFEST_NAME).write_bytes(text)


def _read_manifest(text: bytes, stage: str, where: str) -> Mapping[str, Any]:
    """Return the manifest of a stage after checking its types, fingerprint and version."""
    kind, _, digits = stage.partition("/")
    try:
        manifest: Mapping[str, Any] = json.loads(text.decode("utf-8"))
        sound = all(isinstance(manifest[name], types) for name, types in MANIFEST.items())
        sound &= all(isinstance(f["bytes"], int) and isinstance(f["sha256"], str) for f in manifest["files"].values())
        version = manifest["version"]
        sound &= (manifest["kind"], manifest["fingerprint"]) == (kind, digits)
        sound &= stage_fingerprint(kind, version, manifest["key"], manifest["inputs"]) == digits
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: its {MANIFEST_NAME} is damaged; export the stages again.") from error
    if not sound:
        raise DataError(f"{where}: its {MANIFEST_NAME} belongs to another stage; export the stages again.")
    if version != VERSIONS[kind]:
        raise MismatchError(
            f"{where} has version {version} of {kind} stages, but this code uses version {VERSIONS[kind]}; "
            "export it with this version of the code."
        )
    return manifest
