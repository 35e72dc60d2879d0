"""What sharing stages saves, from the measured seconds of finished stages; and what a second worker saves."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, Any, cast

from benchmarks.paired import in_turns
from benchmarks.rows import Row, compared, missing
from benchmarks.setting import Bench
from ulmfit_lab.cli.workers import BEGIN
from ulmfit_lab.experiment.declaration import experiment_files, load_experiment, run_specs
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import StageStore
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import sqlite_uri

SWEPT = "bptt"
"""An experiment whose runs share nothing but their text, so that two workers have work from the start."""
FEW = ("word2vec_vs_lm", "accuracy_vs_perplexity", "bptt", "dropout_multiplier")
"""Experiments that share much, and such that share little."""


def shared_and_alone(planned: Sequence[Sequence[str]], seconds: Mapping[str, float]) -> tuple[float, float]:
    """Seconds of computing each distinct stage of these cells once, and of computing all of every cell's.

    >>> shared_and_alone([["tokens", "a"], ["tokens", "b"]], {"tokens": 5, "a": 1, "b": 2})
    (8, 13)
    """
    once = {stage for cell in planned for stage in cell}
    return sum(seconds[stage] for stage in once), sum(seconds[stage] for cell in planned for stage in cell)


def grid(bench: Bench) -> list[Row]:
    """The grid of a few experiments, and of all, as far as every stage of an experiment's has been measured here."""
    scale, store = bench.sizes.grid_scale, StageStore(bench.home / "stages")
    seconds: dict[str, float] = {}
    planned = {name: measured_cells(name, scale, bench.data, store, seconds) for name in experiment_files()}
    few = grid_row(f"Time of the grid of {', '.join(FEW)} at scale {scale}, each stage once", FEW, planned, seconds)
    every = grid_row(f"Time of all experiments' grids at scale {scale}, each stage once", planned, planned, seconds)
    return [replace(few, target="grid"), every]


def grid_row(
    title: str, names: Iterable[str], planned: Mapping[str, list[list[str]]], seconds: Mapping[str, float]
) -> Row:
    """Each stage of these experiments once, beside each run from the start."""
    facts: dict[str, Any] = {"unit": "s", "against": "each run from the start"}
    counted = [name for name in names if planned.get(name)]
    if not counted:
        return missing(title, "this home holds no experiment's stages; sweep some, or give --home", **facts)
    cells_of = [cell for name in counted for cell in planned[name]]
    shared, alone = shared_and_alone(cells_of, seconds)
    note = f"{len(cells_of)} runs of {', '.join(counted)}; computed from the seconds that each finished stage took"
    return Row(title, ours=shared, other=alone, value=alone / shared, pairs=1, note=note, **facts)


def measured_cells(
    name: str, scale: str, data: Path | None, store: StageStore, seconds: dict[str, float]
) -> list[list[str]]:
    """Fingerprints of the stages of each planned cell, whose times go into `seconds`; none where one is missing."""
    found = []
    try:
        for cell in run_specs(load_experiment(name), scale):
            ancestry = final_stage(cell.config, cell.seed, data).ancestry()
            for stage in ancestry:
                if stage.fingerprint not in seconds:
                    stored = store.find(stage)
                    if stored is None:
                        return []
                    seconds[stage.fingerprint] = stored.seconds
            found.append([stage.fingerprint for stage in ancestry])
    except LabError:  # its texts are not here
        return []
    return found


def workers(bench: Bench) -> list[Row]:
    """Wall time of a small sweep from nothing, start-up and report included, with two workers and with one."""
    sizes = bench.sizes
    turns = {str(number): partial(sweep_seconds, bench, number) for number in (1, 2)}
    found = in_turns(turns, sizes.sweep_rounds)
    name = f"A sweep of {SWEPT} at scale {sizes.sweep_scale} with one worker, {sizes.sweep_seeds} seeds"
    return [compared(name, found["1"], found["2"], unit="s", against="two workers", target="workers")]


def sweep_seconds(bench: Bench, workers: int) -> float:
    """Seconds of one such sweep in a home of its own."""
    sizes = bench.sizes
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        command = [sys.executable, "-m", "ulmfit_lab", "sweep", SWEPT, "--scale", sizes.sweep_scale]
        command += ["--seeds", str(sizes.sweep_seeds), "--general.max-tokens", str(sizes.sweep_tokens)]
        command += ["--home", f"{folder}/home", "--tracking-uri", sqlite_uri(Path(folder, "home", "mlflow.db"))]
        command += ["--results", f"{folder}/results", "--workers", str(workers), "--on-word"]
        began, log = time.perf_counter(), Path(folder) / "log"
        with log.open("wb") as said, Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=said, bufsize=0) as sweep:
            cast(IO[bytes], sweep.stdin).write(BEGIN)
            status = sweep.wait()
        seconds = time.perf_counter() - began
        if status:
            raise LabError(f"A benchmark's sweep failed: {log.read_text(encoding='utf-8', errors='replace')[-400:]}")
    return seconds
