"""A home can be moved, copied and named as one likes; a store that refuses is told of with what to do."""

from __future__ import annotations

import os
import shlex
import shutil
import socketserver
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.tracking.moved_home import old_places
from ulmfit_lab.tracking.tracker import Tracker, open_tracker
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import Home, open_home


def run_with_file(tracker: Tracker, name: str) -> str:
    """Id of a new run that holds a file."""
    run = tracker.client.create_run(tracker.make_experiment("moving", "tiny", "")).info.run_id
    tracker.client.log_text(run, "text", name)
    return str(run)


def files(folder: Path) -> dict[Path, int]:
    """Every file below a folder, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("copied", [False, True])
def test_a_home_that_was_moved_or_copied_keeps_its_files_in_itself(
    new_lab: Callable[[str], Any], tmp_path: Path, copied: bool
) -> None:
    old = new_lab("old")
    first = run_with_file(old.tracker, "first.txt")
    home = Home(tmp_path / "new? 100%#place")
    (shutil.copytree if copied else shutil.move)(old.home.root, home.root)
    before = files(old.home.root)
    assert old_places(home) == [old.home.artifacts.as_uri()]
    tracker = open_tracker(home)
    second = run_with_file(tracker, "second.txt")
    assert old_places(home) == [] and files(old.home.root) == before
    for run, name in ((first, "first.txt"), (second, "second.txt")):
        assert tracker.client.get_run(run).info.artifact_uri == f"{home.artifacts.as_uri()}/{run}/artifacts"
        assert (home.artifacts / run / "artifacts" / name).read_text(encoding="utf-8") == "text"


def test_files_that_lie_only_at_the_old_place_are_still_found(new_lab: Callable[[str], Any], tmp_path: Path) -> None:
    old = new_lab("old")
    first = run_with_file(old.tracker, "first.txt")
    home = Home(tmp_path / "new")
    shutil.copytree(old.home.root, home.root, ignore=shutil.ignore_patterns("artifacts"))
    tracker = open_tracker(home)
    assert tracker.client.get_run(first).info.artifact_uri == f"{old.home.artifacts.as_uri()}/{first}/artifacts"
    run_with_file(tracker, "second.txt")
    assert len([*home.artifacts.rglob("second.txt")]) == 1 and not [*old.home.artifacts.rglob("second.txt")]


@pytest.mark.parametrize("name", ["plain", "what?", "100%25", "a#b", "two words", "дом"])
def test_a_home_of_any_name_holds_its_database_and_nothing_lies_beside_it(
    tmp_path: Path, migrated: Path, name: str
) -> None:
    home = open_home(str(tmp_path / name))
    shutil.copy(migrated, home.runs_database)
    run_with_file(open_tracker(home), "file.txt")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len([*home.artifacts.rglob("file.txt")]) == 1


def test_the_hint_for_a_deleted_experiment_works_as_it_is_typed(tmp_path: Path, migrated: Path) -> None:
    home = open_home(str(tmp_path / "my home?"))
    shutil.copy(migrated, home.runs_database)
    tracker = open_tracker(home)
    where = tracker.make_experiment("deleted", "tiny", "")
    tracker.client.delete_experiment(where)
    with pytest.raises(LabError) as refused:
        tracker.find_experiment("deleted", "tiny")
    command = str(refused.value).partition("restore it: ")[2]
    (tmp_path / "elsewhere").mkdir()
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    subprocess.run(["sh", "-c", command], cwd=tmp_path / "elsewhere", env=bare, check=True, capture_output=True)
    assert tracker.find_experiment("deleted", "tiny") == where
    assert not [*(tmp_path / "elsewhere").iterdir()]
    assert shlex.split(command)[0] == f"MLFLOW_TRACKING_URI={tracker.uri}"


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """The port of a server that runs in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, "You are not authenticated."), (403, "Permission denied"), (403, '{"error_code": "PERMISSION_DENIED"}')],
)
def test_a_server_that_wants_a_password_is_told_of_with_the_names_that_give_it(
    tmp_path: Path, status: int, body: str
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST

        def log_message(self, *_: Any) -> None: ...

    with (
        serving(HTTPServer(("127.0.0.1", 0), Refusing)) as port,
        pytest.raises(LabError, match="MLFLOW_TRACKING_USERNAME.*MLFLOW_TRACKING_PASSWORD"),
    ):
        open_tracker(open_home(str(tmp_path)), f"http://127.0.0.1:{port}")


def test_a_database_that_wants_a_password_is_told_of_with_the_names_that_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first words of PostgreSQL's protocol: no to encryption, then a request for a password."""
    pytest.importorskip("psycopg")

    class Asking(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while length := self.request.recv(4):
                code = self.request.recv(struct.unpack("!i", length)[0] - 4)[:4]
                encrypted = code in (struct.pack("!i", 80877103), struct.pack("!i", 80877104))
                self.request.sendall(b"N" if encrypted else b"R" + struct.pack("!ii", 8, 3))

    for name in ("PGPASSWORD", "PGPASSFILE", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    with (
        serving(socketserver.TCPServer(("127.0.0.1", 0), Asking)) as port,
        pytest.raises(LabError, match="password.*PGUSER and PGPASSWORD"),
    ):
        open_tracker(open_home(str(tmp_path)), f"postgresql+psycopg://ann@127.0.0.1:{port}/lab")
