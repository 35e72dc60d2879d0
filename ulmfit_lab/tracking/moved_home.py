"""Where a home's SQLite store says that files lie: in absolute addresses, which are wrong once the home was moved."""

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
"""Tables and columns that name a folder below that of an experiment."""
WAIT = 60.0
"""Seconds that another process may hold the database."""


def old_places(home: Home) -> list[str]:
    """Addresses of the folders that the home's experiments, all but MLflow's own, name in place of its artifacts."""
    here = home.artifacts.as_uri()
    with closing(sqlite3.connect(home.runs_database, timeout=WAIT)) as store:
        found = store.execute("SELECT DISTINCT artifact_location FROM experiments")
        return [
            place for (place,) in found if place.startswith("file:") and place.endswith("/artifacts") and place != here
        ]


def repoint(home: Home) -> None:
    """Have the store name the home's own folder of artifacts; what lies only at the old place goes on being named."""
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
    """What follows a place in the addresses below it that a column holds."""
    chosen = f"SELECT DISTINCT {column} FROM {table} WHERE substr({column}, 1, ?) = ?"
    for (address,) in store.execute(chosen, (len(place) + 1, f"{place}/")).fetchall():
        yield address[len(place) :]


def _left(home: Home, place: str, rest: str) -> bool:
    """Whether a folder lies at the old place and not in the home."""
    below = unquote(rest).lstrip("/")
    return Path(unquote(urlsplit(place).path), below).exists() and not (home.artifacts / below).exists()
