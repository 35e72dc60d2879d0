"""All benchmarks: what there is to measure, on which machine, and the files that are written."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_facts
from benchmarks.rows import Found, Row, table, tables
from benchmarks.setting import QUICK, Bench, Sizes
from ulmfit_lab.utils.errors import ConfigError, DataError, LabError, suggest
from ulmfit_lab.utils.files import atomic_write


@dataclass(frozen=True)
class Subject:
    """What is measured together: the module and function that do, and about how many seconds they take on an H100."""

    module: str
    function: str
    seconds: float = 0.0

    def measure(self, bench: Bench) -> Found:
        """Measure it; the module is imported now, since each needs packages that the others do without."""
        found: Found | list[Row] = getattr(import_module(f"benchmarks.{self.module}"), self.function)(bench)
        return found if isinstance(found, Found) else Found(found)


SUBJECTS: Mapping[str, Subject] = {
    "training": Subject("beside_fastai", "language_models"),
    "loss": Subject("beside_fastai", "losses"),
    "classifier": Subject("beside_fastai", "classifiers"),
    "memory": Subject("beside_fastai", "memory"),
    "inference": Subject("beside_fastai", "inference"),
    "text": Subject("text_speed", "texts"),
    "grid": Subject("grid", "grid"),
    "workers": Subject("grid", "workers"),
    "tracking": Subject("tracking_cost", "tracking"),
    "growth": Subject("growth", "growing"),
    "commands": Subject("commands", "commands"),
}
QUICKLY = ("training", "classifier", "text", "grid")
"""What is measured at quick sizes where nothing is named."""
ON_DEVICE: Mapping[str, Subject] = {
    "lstm_layer": Subject("on_device", "lstm_layer", 30),
    "training_paper": Subject("on_device", "training_paper", 100),
    "output_layer": Subject("on_device", "output_layer", 30),
    "awd_lstm_wikitext2": Subject("on_device", "awd_lstm_wikitext2"),
    "classifier_paper": Subject("on_device", "classifier_paper", 100),
    "side_by_side": Subject("on_device", "side_by_side", 80),
    "training_small": Subject("on_device", "training_small", 80),
    "inference_paper": Subject("on_device", "inference_paper", 90),
    "training_full": Subject("on_device", "training_full", 110),
}
"""What `--device` measures, the most important first; one of them takes the minutes that it is given."""


def run(
    wanted: Sequence[str],
    *,
    quick: bool,
    fastai: Path | None,
    data: Path | None,
    home: Path,
    results: Path | None,
    tell: Callable[[str], None],
    device: str | None = None,
    budget: float | None = None,
    minutes: float = 5.0,
    again: bool = False,
) -> dict[str, Any]:
    """Measure these subjects, or all, and return the JSON object of them.

    device   measure what there is for a device, on this one; None: what there is for a CPU
    budget   seconds in all: a subject that would take longer than what is left is left out
    minutes  how long a language model is trained at the paper's size
    again    on a device, also measure what the folder for results already holds

    With a folder for results each subject is written there as soon as it is measured, beside those that were measured
    before. On a device a subject that fails is told and left out, and the next one begins. Raises ConfigError for a
    subject that there is not.
    """
    subjects = SUBJECTS if device is None else ON_DEVICE
    for name in wanted:
        if name not in subjects:
            raise ConfigError(f"There is no benchmark {name!r}. {suggest(name, subjects)}")
    sizes = QUICK if quick else Sizes()
    ends = time.monotonic() + (budget or float("inf"))
    known = read(results) if results else {"subjects": {}}
    measured: dict[str, Any] = {"quick": quick, "subjects": {}}
    facts = machine_facts(sizes.threads, fastai, device or "cpu")
    for name in wanted or (QUICKLY if quick and device is None else subjects):
        if device is not None and name in known["subjects"] and not again:
            tell(f"{name}: measured before; --again measures it again")
            measured["subjects"][name] = known["subjects"][name]
            continue
        seconds, left = subjects[name].seconds, ends - time.monotonic()
        if left < (10 if quick else max(seconds, 60)):
            tell(f"{name}: left out, {left:.0f} s are left")
            continue
        tell(
            f"{name} ..." + (f" about {seconds:.0f} s" if seconds else "") + (f", {left:.0f} s left" if budget else "")
        )
        load = round(os.getloadavg()[0], 2)
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(sizes, fastai, data, Path(folder), home, device or "cpu", results, minutes, ends)
            try:
                found = subjects[name].measure(bench)
            except LabError as error:
                if device is None:
                    raise
                tell(f"{name} failed: {error}")
                continue
        measured["subjects"][name] = {"facts": facts, "load": load, "rows": [row.as_json() for row in found.rows]}
        tell(table(measured["subjects"][name]["rows"]))
        if results:
            known["subjects"] |= {name: measured["subjects"][name]}
            write(known, found.figures, results)
    return measured


def read(results: Path) -> dict[str, Any]:
    """What was measured before; raises DataError for a file that is no such JSON."""
    path = results / "benchmarks.json"
    if not path.exists():
        return {"quick": False, "subjects": {}}
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known["subjects"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no file of benchmarks ({error}); delete it and measure again.") from error
    return known


def write(known: Mapping[str, Any], figures: Mapping[str, bytes], results: Path) -> None:
    """Write JSON, table and figures."""
    results.mkdir(parents=True, exist_ok=True)
    ordered = {name: known["subjects"][name] for name in (*SUBJECTS, *ON_DEVICE) if name in known["subjects"]}
    known = {**known, "subjects": ordered}
    files = {"benchmarks.json": json.dumps(known, indent=1) + "\n", "table.md": tables(known)}
    for name, content in [*figures.items(), *((name, text.encode()) for name, text in files.items())]:
        with atomic_write(results / name) as temporary:
            temporary.write_bytes(content)
