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

from benchmarks.machine import machine_facts, this_kind
from benchmarks.rows import IF_NAMED, Found, Row, heading_of, table, tables, with_targets
from benchmarks.setting import QUICK, Bench, Sizes
from ulmfit_lab.utils.errors import ConfigError, DataError, LabError, suggest
from ulmfit_lab.utils.files import atomic_write


@dataclass(frozen=True)
class Subject:
    """What is measured together: the module and function that do, and about how many seconds they take.

    The seconds are those on two cores of an AMD EPYC with bfloat16, or on an H100; recorded ones take their place.
    """

    module: str
    function: str
    seconds: float = 0.0

    def measure(self, bench: Bench) -> Found:
        """Measure it; the module is imported now, since each needs packages that the others do without."""
        found: Found | list[Row] = getattr(import_module(f"benchmarks.{self.module}"), self.function)(bench)
        return found if isinstance(found, Found) else Found(found)


SUBJECTS: Mapping[str, Subject] = {
    "training_small": Subject("beside_fastai", "small_models", 140),
    "training_full": Subject("beside_fastai", "full_models", 170),
    "loss": Subject("beside_fastai", "losses", 480),
    "classifier": Subject("beside_fastai", "classifiers", 75),
    "memory": Subject("beside_fastai", "memory", 50),
    "classifying": Subject("beside_fastai", "classifying", 40),
    "evaluating": Subject("beside_fastai", "evaluating", 50),
    "text": Subject("text_speed", "texts", 40),
    "grid": Subject("grid", "grid", 30),
    "workers": Subject("grid", "workers", 1500),
    "tracking": Subject("tracking_cost", "tracking", 400),
    "growth": Subject("growth", "growing", 80),
    "commands": Subject("commands", "commands", 70),
}
QUICKLY = ("training_small", "training_full", "classifier", "text")
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
    """Measure these subjects, or all but `IF_NAMED`, and return the JSON object of them.

    device   measure what there is for a device, on this one; None: what there is for a CPU
    budget   seconds in all: a subject that would take longer than what is left is left out
    minutes  how long a language model is trained at the paper's size
    again    on a device, also measure what the folder for results already holds

    With a folder for results each subject is written there as soon as it is measured, beside those that were measured
    before. On a device a subject that fails is told and left out, and the next one begins. Raises ConfigError for a
    subject that there is not, and for a folder with measurements of another processor.
    """
    subjects = SUBJECTS if device is None else ON_DEVICE
    for name in wanted:
        if name not in subjects:
            raise ConfigError(f"There is no benchmark {name!r}. {suggest(name, subjects)}")
    sizes = QUICK if quick else Sizes()
    ends = time.monotonic() + (budget or float("inf"))
    known = read(results) if results else {"subjects": {}}
    about: dict[str, Any] = {"quick": quick} | ({} if device else {"kind": this_kind()})
    measured: dict[str, Any] = {**about, "subjects": {}}
    facts = machine_facts(sizes.threads, fastai, device or "cpu")
    if device is None:
        check_same_processor(known, about["kind"], facts["CPU"], results)
    names = list(dict.fromkeys(wanted)) or default_names(quick, device)
    expected = {} if quick else expected_seconds(names, subjects, known)
    for number, name in enumerate(names, 1):
        if device is not None and name in known["subjects"] and not again:
            tell(f"{name}: measured before; --again measures it again")
            measured["subjects"][name] = known["subjects"][name]
            continue
        seconds, left = expected.get(name, 0.0), ends - time.monotonic()
        if left < (10 if quick else max(seconds, 60)):
            tell(f"{name}: left out, {left:.0f} s are left")
            continue
        remaining = sum(expected.get(each, 0.0) for each in names[number - 1 :])
        told = f" about {seconds:.0f} s; time left about {remaining / 60:.0f} min" if seconds else ""
        tell(f"{number}/{len(names)} {name} ...{told}" + (f", of the budget {left:.0f} s" if budget else ""))
        began, load = time.monotonic(), round(os.getloadavg()[0], 2)
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(sizes, fastai, data, Path(folder), home, device or "cpu", results, minutes, ends)
            try:
                found = subjects[name].measure(bench)
            except LabError as error:
                if device is None:
                    raise
                tell(f"{name} failed: {error}")
                continue
        taken, rows = round(time.monotonic() - began, 1), [row.as_json() for row in found.rows]
        measured["subjects"][name] = {"facts": facts, "load": load, "seconds": taken, "rows": rows}
        tell(table(rows, heading_of(measured)))
        if results:
            known = {**known, **about, "subjects": known["subjects"] | {name: measured["subjects"][name]}}
            write(known, found.figures, results)
    return measured


def default_names(quick: bool, device: str | None) -> list[str]:
    """The subjects that are measured where none is named."""
    if device is not None:
        return list(ON_DEVICE)
    return list(QUICKLY) if quick else [name for name in SUBJECTS if name not in IF_NAMED]


def expected_seconds(
    names: Sequence[str], subjects: Mapping[str, Subject], known: Mapping[str, Any]
) -> dict[str, float]:
    """Seconds that each subject took when it was measured before, or is declared to take."""
    recorded = {name: subject.get("seconds") for name, subject in known["subjects"].items()}
    return {name: recorded.get(name) or subjects[name].seconds for name in names}


def check_same_processor(known: Mapping[str, Any], kind: str, cpu: str, results: Path | None) -> None:
    """Raise ConfigError where a folder holds measurements of another processor or another kind of it."""
    others = {subject["facts"]["CPU"] for subject in known["subjects"].values()} - {cpu}
    if others or known.get("kind", kind) != kind:
        was = heading_of(known).removeprefix("measured on ")
        raise ConfigError(
            f"{results} holds measurements of {was}, and this is {cpu} ({kind}). Give another --results, or delete the "
            "folder to replace them."
        )


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
    """Write JSON, table and figures; rows that were measured before are held against today's targets."""
    results.mkdir(parents=True, exist_ok=True)
    order = SUBJECTS if "kind" in known else ON_DEVICE
    ordered = {name: known["subjects"][name] for name in order if name in known["subjects"]}
    held = {name: {**each, "rows": [*map(with_targets, each["rows"])]} for name, each in ordered.items()}
    known = {**known, "subjects": held}
    files = {"benchmarks.json": json.dumps(known, indent=1) + "\n", "table.md": tables(known)}
    for name, content in [*figures.items(), *((name, text.encode()) for name, text in files.items())]:
        with atomic_write(results / name) as temporary:
            temporary.write_bytes(content)
