"""An interrupt ends what is going on, but never a call to the tracking store half-way."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ulmfit_lab.training.progress import Point
from ulmfit_lab.utils.interrupts import HELD, allow_interrupts, defer_interrupts, shield_from_interrupts

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_an_interrupt_is_raised_at_once_outside_a_block_and_after_it_within_one(number: int) -> None:
    reached: list[str] = []
    with allow_interrupts():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            reached.append("outside")
        with pytest.raises(KeyboardInterrupt), defer_interrupts():
            with defer_interrupts():
                os.kill(os.getpid(), number)
                reached.append("inner")
            reached.append("outer")
    assert reached == ["inner", "outer"] and not HELD.pending


def test_a_shielded_call_returns_what_it_returned_where_nothing_comes() -> None:
    assert shield_from_interrupts(divmod)(7, 2) == (3, 1)


@SIGNALS
def test_an_interrupt_in_the_middle_of_a_transaction_leaves_a_killed_run_and_no_lock(lab: Any, number: int) -> None:
    facts = {"experiment": "e", "scale": "tiny", "variant": "v", "level": "", "seed": "0", "lab.cell": "c"}
    parent = lab.tracker.open_sweep("e", "tiny", "d", "Why?", {})
    sent: list[str] = []

    def send(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT INTO metrics") and not sent:
            sent.append(statement)
            os.kill(os.getpid(), number)

    event.listen(Engine, "before_cursor_execute", send)
    try:
        log = lab.tracker.start_cell(parent, "a cell", {}, facts)
        with pytest.raises(KeyboardInterrupt), allow_interrupts(), log:
            log.log_points("classifier", [Point(0, 0.0, {"loss": 1.0})])
            log.flush()
            raise AssertionError("the interrupt came too late")
    finally:
        event.remove(Engine, "before_cursor_execute", send)
    assert sent
    (run,) = lab.tracker.runs("e", "tiny")
    assert run.status == "KILLED" and run.metrics["classifier/loss"] == 1.0
    lab.tracker.finish_sweep(parent, "FINISHED")
