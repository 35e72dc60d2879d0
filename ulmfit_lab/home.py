"""Where the lab keeps its state, and where it looks data up."""

from __future__ import annotations

import os
import re
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from ulmfit_lab.errors import DataError

HOME_VARIABLE, DATA_VARIABLE, TRACKING_VARIABLE = "ULMFIT_LAB_HOME", "ULMFIT_LAB_DATA", "MLFLOW_TRACKING_URI"

PASSWORD = re.compile(r"(://[^:@/]*:).*@")
"""Up to the last @, since a password that was not quoted may hold any character."""
SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|passwd|token|secret)[^=&]*=)[^&]*", re.IGNORECASE)


@dataclass(frozen=True)
class Home:
    """The folder that holds stages, locks, studies, tracked runs and their artifacts."""

    root: Path
    database: str = field(default="", repr=False)
    """URI of a PostgreSQL database that holds the studies beside the tracked runs; empty: they are journals here."""

    @property
    def stages(self) -> Path:
        """Finished and interrupted stages."""
        return self.root / "stages"

    @property
    def locks(self) -> Path:
        """A lock file for every cell that was ever run."""
        return self.root / "locks"

    @property
    def studies(self) -> Path:
        """Journals of the Optuna studies."""
        return self.root / "studies"

    @property
    def imported(self) -> Path:
        """Language models of others."""
        return self.root / "imported"

    @property
    def artifacts(self) -> Path:
        """What runs log as files."""
        return self.root / "artifacts"

    @property
    def tracking_uri(self) -> str:
        """The MLflow store: $MLFLOW_TRACKING_URI, or a SQLite file in the home (absolute: MLflow guesses otherwise)."""
        return os.environ.get(TRACKING_VARIABLE) or f"sqlite:///{self.root / 'mlflow.db'}"


def open_home(path: str | None = None, tracking_uri: str | None = None) -> Home:
    """The home folder, made if need be: path, or $ULMFIT_LAB_HOME, or ./.ulmfit_lab; git ignores it.

    Where the tracking store (tracking_uri, or $MLFLOW_TRACKING_URI) is a PostgreSQL database, it holds the studies too.
    """
    root = Path(path or os.environ.get(HOME_VARIABLE) or ".ulmfit_lab").expanduser().resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
        ignore = root / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        cure = f"set {HOME_VARIABLE} to another folder"
        raise DataError(f"{root} cannot be used as the lab's home ({error}); {cure}.") from error
    uri = tracking_uri or os.environ.get(TRACKING_VARIABLE) or ""
    return Home(root, uri if uri.startswith("postgresql") else "")


def data_dir(path: str | None = None) -> Path | None:
    """The folder of named data sets: path, or $ULMFIT_LAB_DATA, or none. Raises DataError where it is no folder."""
    given = path or os.environ.get(DATA_VARIABLE)
    if not given:
        return None
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise DataError(f"The data folder {given} does not exist; correct --data-dir or {DATA_VARIABLE}.")
    return folder


def redact(uri: str) -> str:
    """A URI fit to be shown: without a password, be it before the host or among the options."""
    return SECRET_OPTION.sub(r"\1***", PASSWORD.sub(r"\1***@", uri))


def write_ahead(database: str | None) -> None:
    """SQLite's write-ahead log: readers and one writer at once, and shorter waits between writers."""
    connection = sqlite3.connect(database or ":memory:")
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
