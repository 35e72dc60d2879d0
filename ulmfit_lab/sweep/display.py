"""Progress of a sweep: the plan, the current run and stage, throughput, and the time left."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from ulmfit_lab.experiment.declaration import RunSpec
from ulmfit_lab.experiment.plan import Plan
from ulmfit_lab.pipeline.store import Stage
from ulmfit_lab.training.progress import Progress as StageProgress

LINE_SECONDS = 15.0
"""Interval between progress lines of a stage, if there is no terminal."""


@dataclass
class ProgressDisplay:
    """Shows a sweep's progress as bars on a terminal, or else as lines."""

    console: Console = field(default_factory=lambda: Console(file=sys.stderr))
    workers: int = 1
    """Number of processes that share the sweep."""
    _bars: Progress | None = None
    _cells: TaskID | None = None
    _stage: TaskID | None = None
    _kind: str = ""
    _began: float = 0.0
    _spoke: float = 0.0
    _expected: float = 0.0
    _done: set[str] = field(default_factory=set)
    _plan: Plan | None = None
    _hears: int = 1
    _runs: int = 0
    _made: int = 0
    _passed: int = 0

    def plan(self, plan: Plan) -> None:
        """Print what a sweep will compute, and how long it will take."""
        if plan.looks:
            self.console.print(str(plan.looks))
        done, todo = len(plan.runs) - len(plan.todo), len(plan.todo)
        if not todo:
            self.console.print(f"All {done} runs are finished; nothing to do.")
            return
        shared = f" with {self.workers} workers" if self.workers > 1 else ""
        about = format_time_left(plan.seconds / self.workers)
        self.console.print(f"{todo} of {len(plan.runs)} runs to make, about {about}{shared}.")
        self.console.print(plan_table(plan))

    @contextmanager
    def running(self, plan: Plan, *, hears: int = 1) -> Iterator[None]:
        """Show progress while a sweep runs.

        hears: number of workers that report to this display; the others are assumed to be as fast
        """
        self._plan, self._hears = plan, hears
        with self.counting(len(plan.todo), plan.seconds):
            yield

    @contextmanager
    def counting(self, runs: int, seconds: float) -> Iterator[None]:
        """Show progress of a number of runs with a predicted total time."""
        self._runs, self._began, self._expected = runs, time.monotonic(), seconds
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bars:
            self._bars = bars
            self._cells = bars.add_task("runs", total=runs, note="", visible=bool(runs))
            self._stage = bars.add_task("", total=1, note="", visible=False)
            yield
        self._bars = None

    def cell(self, cell: RunSpec) -> None:
        """Show that a run starts."""
        if self._bars and self._cells is not None:
            self._bars.update(self._cells, description=cell.label, note=self._time_left())

    def stage(self, stage: Stage) -> None:
        """Show that a stage starts."""
        self._kind, self._spoke = stage.kind, time.monotonic()
        self.done([stage])

    def done(self, stages: Iterable[Stage]) -> None:
        """Exclude stages from the time left."""
        self._done |= {stage.fingerprint for stage in stages}

    def progress(self, progress: StageProgress) -> None:
        """Show the progress of the current stage."""
        loss = "" if math.isnan(progress.loss) else f"loss {progress.loss:.3f}, "
        rate = f"{progress.tokens_per_second:,.0f} tokens/s"
        note = f"{rate}, {loss}{format_time_left(progress.seconds_left)} left"
        if self._bars and self._stage is not None and self.console.is_terminal:
            total, done = progress.total_steps, progress.done_steps
            self._bars.update(self._stage, description=f"  {self._kind}", total=total, completed=done, note=note)
            self._bars.update(self._stage, visible=True)
        elif time.monotonic() - self._spoke > LINE_SECONDS:
            self._spoke = time.monotonic()
            self.console.print(f"  {self._kind}: step {progress.done_steps} of {progress.total_steps}, {note}")

    def cell_done(self, name: str, failure: str, measure: float | None) -> None:
        """Show that a run ended."""
        self._made, self._passed = self._made + 1, self._passed + 1
        if self._bars and self._cells is not None:
            self._bars.advance(self._cells)
            self._bars.update(self._cells, note=self._time_left())
            if self._stage is not None:
                self._bars.update(self._stage, visible=False)
        if failure:
            self.console.print(f"FAILED {name}: {failure}", style="red", markup=False, highlight=False)
        elif not self.console.is_terminal and measure is not None:
            self.console.print(f"{name}: {measure:.4f} ({self._time_left()})", markup=False, highlight=False)

    def passed(self, runs: int) -> None:
        """Count runs that need not be computed."""
        self._passed += runs
        if self._bars and self._cells is not None:
            self._bars.advance(self._cells, runs)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _time_left(self) -> str:
        """Predicted time left, scaled by actual over predicted time so far."""
        spent = time.monotonic() - self._began
        if self._plan is None:  # without a plan, all runs count as equal
            left = max(self._runs - self._passed, 0)
            each = spent / self._made if self._made else self._expected / max(self._runs, 1)
            return f"{format_time_left(left * each)} left"
        done = sum(self._plan.seconds_of.get(each, 0.0) for each in self._done) * self.workers / self._hears
        if not done:
            return f"{format_time_left(self._expected / self.workers)} left"
        return f"{format_time_left(max(self._expected - done, 0.0) * spent / done)} left"


def plan_table(plan: Plan) -> Table:
    """Table of the stages to compute and to reuse, with predicted and saved time."""
    table = Table("stage", "to compute", "predicted", box=None, pad_edge=False)
    for kind, (count, seconds) in plan.kinds().items():
        table.add_row(kind, str(count), format_time_left(seconds))
    if plan.reused:
        table.add_row(f"reused: {len(plan.reused)} stages", "", f"saves {format_time_left(sum(plan.reused.values()))}")
    return table


def format_time_left(seconds: float) -> str:
    """Format a duration.

    >>> format_time_left(75)
    '1 min 15 s'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
