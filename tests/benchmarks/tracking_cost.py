"""What tracking costs: CPU time outside training of a small sweep, with MLflow and without."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from rich.console import Console

from benchmarks.paired import ratio
from benchmarks.rows import Row, with_ratio
from benchmarks.setting import Bench
from benchmarks.sides import OURS, answers_in_turns
from ulmfit_lab.experiment.declaration import Experiment, load_experiment, run_specs
from ulmfit_lab.pipeline import training_stages
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.store import Observer, StageStore
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.runner import sweep
from ulmfit_lab.tracking.tracker import open_tracker
from ulmfit_lab.training.loop import FitResult, fit
from ulmfit_lab.utils.home import open_home


@dataclass
class TrainingClock:
    """Sums up the CPU time of training, without that of whom it tells its points and progress.

    It is the training thread's alone: with one thread of compute that is all of training.
    """

    seconds: float = 0.0
    _told: float = field(default=0.0, repr=False)

    def fit(self, *arguments: Any, record: Any, progress: Any, **options: Any) -> FitResult:
        """The library's `fit`, timed."""
        self._told, began = 0.0, time.thread_time()
        result = fit(*arguments, record=self.aside(record), progress=self.aside(progress), **options)
        self.seconds += time.thread_time() - began - self._told
        return result

    def aside(self, tell: Callable[[Any], None]) -> Callable[[Any], None]:
        """A listener whose own time does not count."""

        def timed(told: Any) -> None:
            began = time.thread_time()
            tell(told)
            self._told += time.thread_time() - began

        return timed


def cpu_of_sweep(folder: Path, scale: str, seeds: int, *, tracked: bool) -> dict[str, float]:
    """CPU seconds of this process in training and outside of it, for a sweep in a new home, whose store is made before.

    Without tracking, the same stages are computed one after the other, and nothing else is done.
    """
    experiment = small_experiment(seeds)
    clock = TrainingClock()
    with tempfile.TemporaryDirectory(dir=folder) as home_folder, patch.object(training_stages, "fit", clock.fit):
        home = open_home(home_folder)
        tracker = open_tracker(home, home.own_uri) if tracked else None
        began = time.process_time()
        if tracker:
            sweep(
                experiment,
                scale,
                home=home,
                data=None,
                tracker=tracker,
                display=ProgressDisplay(Console(file=StringIO())),
            )
        else:
            for cell in run_specs(experiment, scale, None):
                StageStore(home.stages).get_or_compute(final_stage(cell.config, cell.seed, None), Observer())
        total = time.process_time() - began
    return {"training": clock.seconds, "outside": total - clock.seconds}


def small_experiment(seeds: int) -> Experiment:
    """Language models trained on reviews that are installed, each from its run's seed."""
    declared = load_experiment("bptt")
    base = {**declared.scales["demo"], "general.max_tokens": 200_000}
    return Experiment(
        name="tracking_cost",
        question="What does tracking cost?",
        baseline="fixed",
        variants={"fixed": {"pretraining.stochastic_bptt": False}, "random": {}},
        scales={"tiny": declared.scales["tiny"], "demo": base},
        metric=declared.metric,
        seeds=tuple(range(seeds)),
    )


def tracking(bench: Bench) -> list[Row]:
    """CPU time that tracking adds, as a share of training's."""
    sizes = bench.sizes
    seeds = max(sizes.sweep_seeds // 4, 1)
    spec = {"task": "sweep", "home": str(bench.folder), "scale": sizes.sweep_scale, "seeds": seeds, "threads": 1}
    wanted = {str(tracked): (OURS, {**spec, "tracked": tracked}) for tracked in (True, False)}
    answers = answers_in_turns(wanted, sizes.sweep_rounds, bench.folder)
    training = [answer["training"] for answer in answers["True"]]
    outside = {name: [answer["outside"] for answer in each] for name, each in answers.items()}
    added = [a - b for a, b in zip(outside["True"], outside["False"], strict=True)]
    name = f"CPU time that tracking adds to {2 * seeds} runs of {median(training) / (2 * seeds):.0f} s"
    row = Row(name, "s", median(added), median(training), "training", "share", target="tracking")
    note = "outside of training, " + ", ".join(
        f"{median(each):.2f} s {'with' if name == 'True' else 'without'} tracking" for name, each in outside.items()
    )
    return [with_ratio(replace(row, note=note), ratio(added, training))]
