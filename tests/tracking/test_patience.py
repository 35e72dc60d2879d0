"""What was to be tracked while the store was away is there when it is back."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from ulmfit_lab.tracking.tracker import FLUSH_SECONDS, open_tracker
from ulmfit_lab.training.progress import Point
from ulmfit_lab.utils import retry as retry_module
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import open_home
from ulmfit_lab.utils.retry import retry


class SmallDisk:
    """A real SQLite database that may grow to so many pages, as on a disk without room for more."""

    def __init__(self, path: Path) -> None:
        self.connection = create_engine(f"sqlite:///{path}").connect()
        self.connection.execute(text("CREATE TABLE points (value TEXT)"))
        self.connection.execute(text("PRAGMA max_page_count = 2"))

    def write(self) -> int:
        """Put 10,000 characters in; how many rows there are then."""
        try:
            self.connection.execute(text("INSERT INTO points VALUES (:value)"), {"value": "x" * 10_000})
            self.connection.commit()
        except OperationalError:
            self.connection.rollback()
            raise
        return int(self.connection.execute(text("SELECT count(*) FROM points")).scalar_one())


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter pauses."""
    monkeypatch.setattr(retry_module, "PAUSES", (0.05, 0.2))


def test_a_write_waits_until_the_disk_has_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = SmallDisk(tmp_path / "small.db")
    tries = 0

    def write() -> int:
        nonlocal tries
        tries += 1
        if tries == 3:  # somebody made room
            disk.connection.execute(text("PRAGMA max_page_count = 1000"))
        return disk.write()

    assert retry(write)() == 1
    assert tries == 3
    (told,) = caplog.messages
    assert "full" in told and "nothing is lost" in told


def test_the_wait_has_a_bound_and_says_what_to_do(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "small.db")
    with pytest.raises(LabError, match=r"did not answer for .* full; check that it runs and its disk has space"):
        retry(disk.write, longest=0.3)()


def test_an_error_that_does_not_pass_is_raised_at_once(tmp_path: Path) -> None:
    connection = create_engine(f"sqlite:///{tmp_path / 'other.db'}").connect()
    tries = []

    def wrong() -> None:
        tries.append(1)
        connection.execute(text("SELECT * FROM absent"))

    with pytest.raises(OperationalError, match="no such table"):
        retry(wrong)()
    assert len(tries) == 1


@contextmanager
def server(store: Path, port: int) -> Iterator[None]:
    """A real MLflow server on loopback, for the length of the block."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--artifacts-destination", str(store / "files")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=store)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None, "the server did not start"
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_metrics_survive_a_server_that_was_stopped_for_a_while(tmp_path: Path, migrated: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    with sqlite3.connect(migrated) as source, sqlite3.connect(store / "mlflow.db") as copy:
        source.backup(copy)
    source.close()
    copy.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with server(store, port):
        tracker = open_tracker(open_home(str(tmp_path / "home")), f"http://127.0.0.1:{port}")
        parent = tracker.open_sweep("away", "tiny", "declaration", "A sweep.", {})
        log = tracker.start_cell(parent, "cell", {}, {"lab.cell": "cell"})
        log.log_points("train", [Point(step=1, epoch=0.1, values={"loss": 3.0})])
        log.flush()
    log.flushed -= FLUSH_SECONDS  # as if that long had gone by
    log.log_points("train", [Point(step=2, epoch=0.2, values={"loss": 2.0})])
    assert log.away and len(log.buffer) == 1  # training goes on meanwhile
    writing = threading.Thread(target=log.finish, args=("FINISHED",))
    writing.start()
    time.sleep(1.0)
    assert writing.is_alive()  # the server is away, and the run waits
    with server(store, port):
        writing.join(60)
        assert not writing.is_alive()
        (run,) = tracker.runs("away", "tiny", "FINISHED")
        assert [value for _, value, _ in tracker.histories(run)["train/loss"]] == [3.0, 2.0]
