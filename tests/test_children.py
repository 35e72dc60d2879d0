"""What a command starts ends with it, even where it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ulmfit_lab.cli.workers import wait_for_start
from ulmfit_lab.tracking.server import server_command
from ulmfit_lab.utils.home import open_home

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 60.0
"""Until a process has started or ended, on a busy machine."""
PARENT = """
import subprocess, sys
command = [sys.executable, "-u", *sys.argv[1:]]
child = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE)
child.stdin.write(b"begin\\n")
print(child.pid, flush=True)
child.wait()
"""
WORKER = """
import time
from ulmfit_lab.cli.workers import wait_for_start
from ulmfit_lab.utils.interrupts import allow_interrupts

assert wait_for_start(True)
try:
    with allow_interrupts():
        print("working", flush=True)
        time.sleep(10**6)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def started(*command: str) -> subprocess.Popen[str]:
    """A process that has started the command as its child."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = {"stdout": subprocess.PIPE, "env": environment, "encoding": "utf-8"}
    return subprocess.Popen([sys.executable, "-c", PARENT, *command], **options)


def test_a_worker_ends_in_order_when_its_command_is_killed() -> None:
    with started("-c", WORKER) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "working\n"
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.readline() == "interrupted\n"
        child.wait(SECONDS)


def test_a_worker_whose_command_ended_before_its_word_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert wait_for_start(False)
        assert not wait_for_start(True)


def test_a_module_of_others_ends_when_its_command_is_killed(tmp_path: Path) -> None:
    """As MLflow's server is started, whose own start takes a while."""
    command, _ = server_command(open_home(str(tmp_path)), "sqlite://", "127.0.0.1", 5000)
    start = command[1 : command.index("mlflow")]
    with started(*start, "http.server", "--bind", "127.0.0.1", "0") as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert "Serving HTTP" in parent.stdout.readline()
        parent.send_signal(signal.SIGKILL)
        child.wait(SECONDS)
