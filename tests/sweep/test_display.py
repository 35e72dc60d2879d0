"""The time left, from the plan's seconds and how the work that was heard of fared beside them."""

from __future__ import annotations

import math
from io import StringIO

import pytest
from rich.console import Console

from ulmfit_lab.experiment.plan import Plan
from ulmfit_lab.pipeline.store import Stage
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.training.progress import Progress

LONG, SHORT, REUSED = (Stage("encoded", {"name": name}, {}, lambda work: {}) for name in ("long", "short", "there"))
PLAN = Plan((), {LONG.fingerprint: 300.0, SHORT.fingerprint: 100.0}, {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("workers", "hears", "planned", "left"),
    [
        (1, 1, "6 min 40 s", "3 min 20 s"),  # 300 of 400 s were made in 600: twice as long as planned, so 200 s more
        (2, 2, "3 min 20 s", "3 min 20 s"),  # the same of two workers, both heard of
        (2, 1, "3 min 20 s", "0 s"),  # the one not heard of made as much
    ],
)
def test_the_time_left_follows_from_what_the_finished_stages_were_to_take(
    clock: list[float], workers: int, hears: int, planned: str, left: str
) -> None:
    display = ProgressDisplay(Console(file=StringIO()), workers=workers)
    with display.running(PLAN, hears=hears):
        display.cell_done("first", "", 0.5)
        clock[0] = 600.0
        display.done([LONG, REUSED])
        display.done([LONG])  # another run reads the same
        display.cell_done("second", "", 0.5)
    told = display.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert told == [f"first: 0.5000 ({planned} left)", f"second: 0.5000 ({left} left)"]


@pytest.mark.parametrize(("loss", "shown"), [(math.nan, ""), (1.25, "loss 1.250, ")])
def test_a_stage_shows_its_rate_its_loss_if_it_has_one_and_the_time_left(
    clock: list[float], loss: float, shown: str
) -> None:
    display = ProgressDisplay(Console(file=StringIO()))
    display.stage(LONG)
    clock[0] = 60.0
    display.progress(Progress(1, 5, 1, loss, 40_000.0, 240.0))
    told = display.console.file.getvalue()  # type: ignore[attr-defined]
    assert told == f"  encoded: step 1 of 5, 40,000 tokens/s, {shown}4 min 0 s left\n"
