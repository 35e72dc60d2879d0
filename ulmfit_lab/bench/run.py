"""All benchmarks: what there is to measure, on which machine, and the files that are written."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ulmfit_lab.bench import beside_fastai, grid, growth, text_speed, tracking_cost
from ulmfit_lab.bench.rows import Row, tables
from ulmfit_lab.bench.setting import QUICK, Bench, Sizes
from ulmfit_lab.errors import ConfigError, DataError, nearest
from ulmfit_lab.files import replacing
from ulmfit_lab.provenance import CHECKOUT, commit, processor, version_of
from ulmfit_lab.report.figures import saved


@dataclass(frozen=True)
class Found:
    """What a subject came to: rows, and figures by file name."""

    rows: Sequence[Row]
    figures: Mapping[str, bytes] = field(default_factory=dict)


def growing(bench: Bench) -> Found:
    """How a training step's cost grows."""
    rows, series = growth.growth(bench)
    return Found(rows, saved(partial(growth.draw_growth, series), "growth"))


SUBJECTS: Mapping[str, Callable[[Bench], Found | list[Row]]] = {
    "training": beside_fastai.language_models,
    "loss": beside_fastai.losses,
    "classifier": beside_fastai.classifiers,
    "memory": beside_fastai.memory,
    "inference": beside_fastai.inference,
    "text": text_speed.texts,
    "grid": grid.grid,
    "workers": grid.workers,
    "tracking": tracking_cost.tracking,
    "growth": growing,
}
QUICKLY = ("training", "classifier", "text", "grid")
"""What is measured at quick sizes where nothing is named."""


def run(
    wanted: Sequence[str],
    *,
    quick: bool,
    fastai: Path | None,
    data: Path | None,
    home: Path,
    results: Path | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Measure these subjects, or all, and return the JSON object of them.

    With a folder for results each subject is written there as soon as it is measured, beside those that were measured
    before. Raises ConfigError for a subject that there is not.
    """
    for name in wanted:
        if name not in SUBJECTS:
            raise ConfigError(f"There is no benchmark {name!r}. {nearest(name, SUBJECTS)}")
    sizes = QUICK if quick else Sizes()
    known = read(results) if results else {}
    measured: dict[str, Any] = {"quick": quick, "subjects": {}}
    facts = machine_facts(sizes, fastai)
    for name in wanted or (QUICKLY if quick else SUBJECTS):
        tell(f"{name} ...")
        load = round(os.getloadavg()[0], 2)
        with tempfile.TemporaryDirectory() as folder:
            found = SUBJECTS[name](Bench(sizes, fastai, data, Path(folder), home))
        found = found if isinstance(found, Found) else Found(found)
        measured["subjects"][name] = {"facts": facts, "load": load, "rows": [row.as_json() for row in found.rows]}
        if results:
            known["subjects"] |= measured["subjects"]
            write(known, found.figures, results)
    return measured


def machine_facts(sizes: Sizes, fastai: Path | None) -> dict[str, Any]:
    """What the numbers depend on; neither host nor path."""
    code = commit(CHECKOUT)
    facts = {"CPU": processor() or platform.machine(), "cores": os.cpu_count(), "threads": sizes.threads}
    facts |= {"Python": platform.python_version(), "torch": version_of("torch"), "spaCy": version_of("spacy")}
    if fastai:
        facts["fastai"] = fastai_version(fastai)
    dirty = " with changes" if code["lab.dirty"] == "true" else ""
    return {**facts, "commit": (code["lab.commit"][:12] or "unknown") + dirty}


def fastai_version(python: Path) -> str:
    """Version of fastai in the environment of a Python; its packages' folder tells, nothing is started."""
    found = sorted(python.parent.parent.glob("lib*/python*/site-packages/fastai-*.dist-info"))
    return found[0].name.removeprefix("fastai-").removesuffix(".dist-info") if found else "unknown"


def read(results: Path) -> dict[str, Any]:
    """What was measured before; raises DataError for a file that is no such JSON."""
    path = results / "benchmarks.json"
    if not path.exists():
        return {"quick": False, "subjects": {}}
    try:
        known: dict[str, Any] = json.loads(path.read_text())
        known["subjects"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no file of benchmarks ({error}); delete it and measure again.") from error
    return known


def write(known: Mapping[str, Any], figures: Mapping[str, bytes], results: Path) -> None:
    """Write JSON, table and figures."""
    results.mkdir(parents=True, exist_ok=True)
    ordered = {name: known["subjects"][name] for name in SUBJECTS if name in known["subjects"]}
    known = {**known, "subjects": ordered}
    files = {"benchmarks.json": json.dumps(known, indent=1) + "\n", "table.md": tables(known)}
    for name, content in [*figures.items(), *((name, text.encode()) for name, text in files.items())]:
        with replacing(results / name) as temporary:
            temporary.write_bytes(content)
