"""Eight processes at once, in a home and a store that nobody has used yet, on two experiments that share stages."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from forking import IMPORTS

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.sweep.optuna_study import open_study
from ulmfit_lab.tracking.tracker import open_tracker
from ulmfit_lab.utils.home import open_home

PROCESSES = 8
# Imports everything once, for that takes longer than the sweeps; then all processes begin in the same moment.
TOGETHER = (
    IMPORTS
    + """
import os, sys
from ulmfit_lab.cli import main
import torch
torch.set_num_threads(1)
ready, go = os.pipe()
started = []
for number in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        os.close(go)
        os.read(ready, 1)  # ends when the parent closes its end
        path, store = sys.argv[3 + number % 2], sys.argv[5:]
        os._exit(main(["sweep", path, "--scale", "tiny", "--home", sys.argv[2], "--worker", *store]))
    started.append(pid)
os.close(go)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started))
"""
)


def test_eight_processes_make_every_run_and_every_stage_once(
    experiment: Experiment, tmp_path: Path, store: str | None
) -> None:
    names = ("name", "question", "baseline", "variants", "scales", "seeds")
    paths, home = [], tmp_path / "home"
    for name, seeds in (("starts", (0, 1)), ("again", (1, 2))):
        # seed 1 is in both: the same stages down to the last, and yet a run of each experiment
        fields = {each: getattr(replace(experiment, name=name, seeds=seeds), each) for each in names}
        paths.append(tmp_path / f"{name}.py")
        text = f"from ulmfit_lab.experiment.declaration import Experiment\n\nEXPERIMENT = Experiment(**{fields!r})\n"
        paths[-1].write_text(text)
    command = [sys.executable, "-W", "ignore", "-c", TOGETHER, str(PROCESSES), str(home), *map(str, paths)]
    command += ["--tracking-uri", store] if store else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

    opened = open_home(str(home), store)
    tracker = open_tracker(opened, store)
    computed: Counter[str] = Counter()
    for name in ("starts", "again"):
        runs = tracker.runs(name, "tiny")
        assert {run.status for run in runs} == {"FINISHED"}
        assert len(runs) == len({run.fingerprint for run in runs}) == 4
        study = open_study(opened, f"{name}-tiny")
        assert study.finished() == {run.fingerprint for run in runs} and study.running() == {}
        for run in runs:
            how = {key.removesuffix(".how"): value for key, value in run.tags.items() if key.endswith(".how")}
            computed.update(run.tags[key] for key, value in how.items() if value == "computed")
    assert computed and set(computed.values()) == {1}, "a stage was trained twice"
    stages = {path.parent.name for path in opened.stages.glob("*/*/stage.json")}
    assert set(computed) <= stages
