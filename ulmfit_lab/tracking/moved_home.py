"""Artifact locations in a home's SQLite store; they are absolute, so they are wrong after the home was moved."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ulmfit_lab.utils.home import Home

NAMED_IN = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns that hold artifact locations."""
WAIT = 60.0
"""Timeout in seconds for the database lock."""


def old_places(home: Home) -> list[str]:
    """Artifact locations of experiments that are not the home's artifacts folder; MLflow's default is ignored."""
    here = home.artifacts.as_uri()
    with closing(sqlite3.connect(home.runs_database, timeout=WAIT)) as store:
        found = store.execute("SELECT DISTINCT artifact_location FROM experiments")
        return [
            place for (place,) in found if place.startswith("file:") and place.endswith("/artifacts") and place != here
        ]


def repoint(home: Home) -> None:
    """Update artifact locations to the home's folder, except for artifacts that exist only at the old place."""
    here = home.artifacts.as_uri()
    places = old_places(home)
    with closing(sqlite3.connect(home.runs_database, timeout=WAIT)) as store, store:
        for place in places:
            for table, column in NAMED_IN:
                moved = [
                    (here + rest, place + rest)
                    for rest in _below(store, place, table, column)
                    if not _left(home, place, rest)
                ]
                store.executemany(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", moved)
            store.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (here, place))


def _below(store: sqlite3.Connection, place: str, table: str, column: str) -> Iterator[str]:
    """Paths relative to a place of all locations in a column below it."""
    chosen = f"SELECT DISTINCT {column} FROM {table} WHERE substr({column}, 1, ?) = ?"
    for (address,) in store.execute(chosen, (len(place) + 1, f"{place}/")).fetchall():
        yield address[len(place) :]


def _left(home: Home, place: str, rest: str) -> bool:
    """Whether a folder exists at the old place but not in the home."""
    below = unquote(rest).lstrip("/")
    return Path(unquote(urlsplit(place).path), below).exists() and not (home.artifacts / below).exists()
