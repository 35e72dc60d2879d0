"""CPU time of commands that have nothing to compute: most of it is imports, and reading what is there."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.rows import Row
from benchmarks.setting import Bench
from ulmfit_lab.utils.errors import LabError

EXPERIMENT, MANY_RUNS, ROUNDS = "word2vec_vs_lm", "fine_tuning", 3


def commands(bench: Bench) -> list[Row]:
    """Milliseconds of CPU time of `list`, of `sweep`, `runs` and `report` of a finished experiment, and of `plan`."""
    sweep = [EXPERIMENT, "--scale", "tiny", "--seeds", str(bench.sizes.sweep_seeds)]
    sweep += ["--results", str(bench.folder / "results")]
    run_command(bench.folder, ["sweep", *sweep])
    wanted = {
        "list": ["list"],
        "sweep, all runs finished": ["sweep", *sweep],
        "runs": ["runs", EXPERIMENT, "--scale", "tiny"],
        "report": ["report", *sweep],
        "plan, 144 runs to make": ["plan", MANY_RUNS, "--scale", "tiny"],
    }
    return [
        Row(
            f"CPU time of `{name}`",
            form="ms",
            value=median(run_command(bench.folder, arguments) for _ in range(ROUNDS)),
            target="commands",
        )
        for name, arguments in wanted.items()
    ]


def run_command(home: Path, arguments: list[str]) -> float:
    """Milliseconds of CPU time of a command in a process of its own; raises LabError where it fails."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = {**os.environ, "ULMFIT_LAB_HOME": str(home / "home"), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-m", "ulmfit_lab", *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise LabError(f"`{' '.join(arguments)}` failed: {done.stderr.strip().splitlines()[-1:]}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
