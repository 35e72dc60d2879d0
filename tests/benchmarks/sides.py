"""The sides of a comparison: processes that wait for "go", so that turns alternate and no start-up is counted."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.paired import in_turns
from ulmfit_lab.utils.errors import LabError

logger = logging.getLogger(__name__)
Facts = dict[str, Any]
Task = tuple[Sequence[str], Mapping[str, Any]]
"""Command of a side, and what it is told to do."""
TESTS = Path(__file__).resolve().parents[1]
"""Folder from which a side imports `benchmarks`."""
OURS = [sys.executable, "-m", "benchmarks.our_side"]
LAST_WORDS = 400  # characters
GRACE = 10.0
"""Seconds that a process has to end by itself once nothing more is asked of it."""


class Side:
    """A process that is given a task as a line of JSON, and answers it, and every further line, with one."""

    def __init__(self, command: Sequence[str], spec: Mapping[str, Any], log: Path) -> None:
        self.log = log
        with log.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                env=environment(spec),
            )
        self.say(json.dumps(spec))

    def say(self, line: str) -> None:
        """Write a line; a side that has ended is found out by the next `hear`."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def hear(self) -> Facts:
        """The next answer; raises LabError, with its last words, where the process has ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.close()
            said = self.log.read_text(encoding="utf-8", errors="replace")[-LAST_WORDS:]
            raise LabError(f"A side of a benchmark ended with status {self.process.returncode}: {said}")
        found: Facts = json.loads(line)
        return found

    def turn(self) -> Facts:
        """Do the task once."""
        self.say("go")
        return self.hear()

    def close(self) -> None:
        """End the process, be it in the middle of a turn, by force where it goes on computing."""
        self.process.terminate()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]
        try:
            self.process.wait(GRACE)
        except BaseException as error:  # also a second Ctrl-C: no process may stay behind
            self.process.kill()
            self.process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise


def environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a side: its number of threads holds for every library."""
    threads = str(spec.get("threads", 1))
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def run_together(sides: Sequence[Side]) -> Facts:
    """A turn of sides that work at the same time, as if they were one."""
    for side in sides:
        side.say("go")
    answers = [side.hear() for side in sides]
    return {"units": sum(a["units"] for a in answers), "seconds": max(a["seconds"] for a in answers)}


def fastai_command(python: Path) -> list[str]:
    """How fastai's side is started; -P keeps the script's folder from being searched for modules."""
    return [str(python), "-P", str(Path(__file__).with_name("fastai_side.py"))]


@contextmanager
def started(wanted: Mapping[str, Task], logs: Path) -> Iterator[dict[str, Side]]:
    """Sides by name, from command and task, each of which says when it is ready; ended at the end."""
    with ExitStack() as stack:
        sides = {}
        logger.info("  %d processes start", len(wanted))
        for number, (name, (command, spec)) in enumerate(wanted.items()):
            sides[name] = Side(command, spec, logs / f"side-{number}.log")
            stack.callback(sides[name].close)
        yield sides


@contextmanager
def opened(wanted: Mapping[str, Task], logs: Path) -> Iterator[dict[str, Side]]:
    """Sides by name, from command and task, ready; ended at the end."""
    with started(wanted, logs) as sides:
        for side in sides.values():
            side.hear()
        yield sides


def answers_or_errors(
    wanted: Mapping[str, Task], rounds: int, logs: Path
) -> tuple[dict[str, list[Facts]], dict[str, str]]:
    """What each side answers in each round, and what those that failed said, which are left out of the answers."""
    found: dict[str, list[Facts]] = {name: [] for name in wanted}
    errors: dict[str, str] = {}
    with started(wanted, logs) as sides:
        for turn in range(rounds + 1):  # before the first round a side says that it is ready
            for name, side in sides.items():
                try:
                    answer = side.hear() if not turn else side.turn() if name not in errors else {}
                except LabError as error:
                    errors[name] = str(error)
                    continue
                if turn:
                    found[name].append(answer)
    return {name: answers for name, answers in found.items() if name not in errors}, errors


def answers_in_turns(
    wanted: Mapping[str, Task], rounds: int, logs: Path, groups: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[Facts]]:
    """What each side answers in each round; the sides of a group work at once and answer under its name."""
    with opened(wanted, logs) as sides:
        grouped = {name for names in (groups or {}).values() for name in names}
        turns: dict[str, Callable[[], Facts]] = {n: side.turn for n, side in sides.items() if n not in grouped}
        for name, members in (groups or {}).items():
            turns[name] = partial(run_together, [sides[member] for member in members])
        return in_turns(turns, rounds)


def rates(answers: Sequence[Facts]) -> list[float]:
    """Units a second of each answer."""
    return [answer["units"] / answer["seconds"] for answer in answers]
