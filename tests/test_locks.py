"""A lock is held by one at a time, and looking whether it is held is never taken for holding it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from filelock import Timeout

from ulmfit_lab.utils.locks import hold_lock, is_locked

HOLD = """
import sys
from pathlib import Path
from ulmfit_lab.utils.locks import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_of_another_process_is_seen_refused_and_free_again_when_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "cell.lock"
    assert not is_locked(path) and not path.exists()
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        assert is_locked(path)
        with pytest.raises(Timeout), hold_lock(path):
            pass
        holder.kill()
    assert not is_locked(path)
    with hold_lock(path):
        assert is_locked(path)
    assert not is_locked(path)


def test_those_who_look_are_not_taken_for_one_who_works(tmp_path: Path) -> None:
    path, ended = tmp_path / "cell.lock", Event()
    path.touch()

    def look() -> int:
        seen = 0
        while not ended.is_set():
            is_locked(path)
            seen += 1
        return seen

    with ThreadPoolExecutor(3) as pool:
        looks = [pool.submit(look) for _ in range(3)]
        try:
            for _ in range(50):
                with hold_lock(path):
                    pass
        finally:
            ended.set()
        assert all(each.result() > 0 for each in looks)
