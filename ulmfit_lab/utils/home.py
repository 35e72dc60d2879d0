"""Where the lab keeps its state, and where it looks data up."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ulmfit_lab.utils.errors import DataError

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
    def runs_database(self) -> Path:
        """MLflow's SQLite file, where no other store is named."""
        return self.root / "mlflow.db"

    @property
    def own_uri(self) -> str:
        """The address of that file (absolute: MLflow guesses otherwise)."""
        return sqlite_uri(self.runs_database)

    @property
    def tracking_uri(self) -> str:
        """The MLflow store: $MLFLOW_TRACKING_URI, or a SQLite file in the home."""
        return os.environ.get(TRACKING_VARIABLE) or self.own_uri

    @property
    def unwritable(self) -> Path | None:
        """The first folder or file of the home that this process may not write; None where it may write all."""
        parts = (self.root, self.stages, self.locks, self.studies, self.artifacts, self.runs_database)
        return next((part for part in parts if part.exists() and not os.access(part, os.W_OK)), None)


def sqlite_uri(path: Path, *, read_only: bool = False) -> str:
    """The address of a SQLite file, by SQLAlchemy's rules; what they take for an option or an escape is quoted.

    MLflow makes the folder that it believes to be in an address that begins with sqlite:///, and knows no quotes.

    read_only: nothing is written, not even the files beside it that a reader shares with writers; without a log beside
    it, the file counts as one that nobody changes

    >>> sqlite_uri(Path("/lab/mlflow.db")), sqlite_uri(Path("/what?/mlflow.db"))
    ('sqlite:////lab/mlflow.db', 'sqlite+pysqlite:////what%3F/mlflow.db')
    """
    if read_only:
        log = path.with_name(path.name + "-wal")
        options = "mode=ro" if log.exists() else "mode=ro&immutable=1"
        return f"sqlite+pysqlite:///file:{quote(quote(str(path)))}?uri=true&{options}"
    odd = any(character in str(path) for character in "?#%")
    return f"sqlite+pysqlite:///{quote(str(path))}" if odd else f"sqlite:///{path}"


def open_home(path: str | None = None, tracking_uri: str | None = None, *, write: bool = True) -> Home:
    """The home folder, made if need be: path, or $ULMFIT_LAB_HOME, or ./.ulmfit_lab; git ignores it.

    Where the tracking store (tracking_uri, or $MLFLOW_TRACKING_URI) is a PostgreSQL database, it holds the studies too.

    write: whether something is to be written; a home that is there can be read without

    Raises DataError for a home that cannot be made or may not be written.
    """
    given = path or os.environ.get(HOME_VARIABLE) or ".ulmfit_lab"
    uri = tracking_uri or os.environ.get(TRACKING_VARIABLE) or ""
    hint = f"set {HOME_VARIABLE} to another folder"
    try:
        root = Path(given).expanduser().resolve()
        home = Home(root, uri if uri.startswith("postgresql") else "")
        root.mkdir(parents=True, exist_ok=True)
        if not home.unwritable and not (ignore := root / ".gitignore").exists():
            ignore.write_text("*\n", encoding="utf-8")
    except (OSError, RuntimeError) as error:  # a "~" of nobody known is a RuntimeError
        raise DataError(f"{given} cannot be used as the lab's home ({error}); {hint}.") from error
    if write and home.unwritable:
        raise DataError(f"{home.unwritable}, of the lab's home, may not be written by this user; {hint}.")
    return home


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


def mlflow_command(uri: str, *arguments: str) -> str:
    """A command of MLflow's on a store, to be typed as it is, wherever and in whatever environment.

    A password is left out; the address is not needed where it is that of $MLFLOW_TRACKING_URI.
    """
    store = "" if uri == os.environ.get(TRACKING_VARIABLE) else f"{TRACKING_VARIABLE}={shlex.quote(redact(uri))} "
    return store + shlex.join([sys.executable, "-m", "mlflow", *arguments])


def write_ahead(database: str | None) -> None:
    """SQLite's write-ahead log: readers and one writer at once, and shorter waits between writers."""
    connection = sqlite3.connect(database or ":memory:")
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
