"""The home folder with the lab's state, and the data folder."""

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
"""Up to the last @, since an unquoted password may contain any character."""
SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|passwd|token|secret)[^=&]*=)[^&]*", re.IGNORECASE)


@dataclass(frozen=True)
class Home:
    """Folder of stages, locks, studies, tracked runs and artifacts."""

    root: Path
    database: str = field(default="", repr=False)
    """URI of a PostgreSQL database for studies and tracked runs; empty: the studies are journal files in the home."""

    @property
    def stages(self) -> Path:
        """Folder of finished and interrupted stages."""
        return self.root / "stages"

    @property
    def locks(self) -> Path:
        """Folder with a lock file per run."""
        return self.root / "locks"

    @property
    def studies(self) -> Path:
        """Folder of the Optuna journals."""
        return self.root / "studies"

    @property
    def imported(self) -> Path:
        """Folder of imported models."""
        return self.root / "imported"

    @property
    def artifacts(self) -> Path:
        """Folder of the files that runs log."""
        return self.root / "artifacts"

    @property
    def runs_database(self) -> Path:
        """MLflow's SQLite file, used if no other tracking store is set."""
        return self.root / "mlflow.db"

    @property
    def own_uri(self) -> str:
        """URI of that file, with an absolute path."""
        return sqlite_uri(self.runs_database)

    @property
    def tracking_uri(self) -> str:
        """URI of the tracking store: $MLFLOW_TRACKING_URI, or a SQLite file in the home."""
        return os.environ.get(TRACKING_VARIABLE) or self.own_uri

    @property
    def unwritable(self) -> Path | None:
        """First folder or file of the home that this process cannot write, or None."""
        parts = (self.root, self.stages, self.locks, self.studies, self.artifacts, self.runs_database)
        return next((part for part in parts if part.exists() and not os.access(part, os.W_OK)), None)


def sqlite_uri(path: Path, *, read_only: bool = False) -> str:
    """Return SQLAlchemy's URI of a SQLite file; characters with a meaning in URIs are quoted.

    MLflow creates the folder in a sqlite:/// URI without unquoting it, so quoted paths use another scheme.

    read_only: write nothing, not even the files shared with writers; a file without a write-ahead log is opened as
        immutable
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
    """Create and return the home folder: path, $ULMFIT_LAB_HOME or ./.ulmfit_lab.

    If the tracking store (tracking_uri or $MLFLOW_TRACKING_URI) is a PostgreSQL database, it also holds the studies.

    write: whether the home must be writable

    Raises DataError if the home cannot be created, or is not writable although it must be.
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
    except (OSError, RuntimeError) as error:  # RuntimeError: "~" of an unknown user
        raise DataError(f"{given} cannot be used as the home folder ({error}); {hint}.") from error
    if write and home.unwritable:
        raise DataError(f"{home.unwritable} is not writable; {hint}.")
    return home


def data_dir(path: str | None = None) -> Path | None:
    """Return the data folder: path, $ULMFIT_LAB_DATA or None; raises DataError if it does not exist."""
    given = path or os.environ.get(DATA_VARIABLE)
    if not given:
        return None
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise DataError(f"The data folder {given} does not exist; correct --data-dir or {DATA_VARIABLE}.")
    return folder


def redact(uri: str) -> str:
    """Remove the password from a URI."""
    return SECRET_OPTION.sub(r"\1***", PASSWORD.sub(r"\1***@", uri))


def mlflow_command(uri: str, *arguments: str) -> str:
    """Return a shell command that runs MLflow on a tracking store, without the store's password.

    The URI is left out if it equals $MLFLOW_TRACKING_URI.
    """
    store = "" if uri == os.environ.get(TRACKING_VARIABLE) else f"{TRACKING_VARIABLE}={shlex.quote(redact(uri))} "
    return store + shlex.join([sys.executable, "-m", "mlflow", *arguments])


def write_ahead(database: str | None) -> None:
    """Enable SQLite's write-ahead log, which allows reads during a write."""
    connection = sqlite3.connect(database or ":memory:")
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
