"""Read tracked runs from MLflow's SQLite file without MLflow, whose import takes longer than most commands.

It reads the tables of one version of MLflow's schema; a file of another version, and every other store, is read with
MLflow (`open_reader`).
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from ulmfit_lab.tracking.moved_home import old_places
from ulmfit_lab.tracking.names import deleted_experiment, format_title
from ulmfit_lab.tracking.records import IMPORTED, TrackedRun, make_tracked_run
from ulmfit_lab.utils.home import Home

SCHEMAS = ("dc11669786a5",)
"""Revisions of MLflow's schema (`alembic_version`) that are read here: MLflow 3.17's."""
CHOSEN = """
    SELECT runs.run_uuid FROM runs JOIN experiments USING (experiment_id)
    JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'lab.kind' AND tags.value = 'cell'
    WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active' AND """


class RunReader(Protocol):
    """Reads the tracked runs of experiments: `SqliteReader` or `Tracker`."""

    @property
    def uri(self) -> str:
        """The address of the store."""
        ...

    def runs(self, experiment: str, scale: str, status: str | None = None, cell: str | None = None) -> list[TrackedRun]:
        """The runs of an experiment at a scale, oldest first; only those of a status or a fingerprint, if given."""
        ...

    def has_runs(self, experiment: str, scale: str) -> bool:
        """Whether any run of an experiment at a scale is tracked."""
        ...

    def find_runs(self, prefix: str) -> list[TrackedRun]:
        """The runs of all experiments whose id, here or where they were made, begins with `prefix`."""
        ...


@dataclass(frozen=True)
class SqliteReader:
    """Reads the runs of a SQLite file of MLflow's, of one of `SCHEMAS`."""

    database: Path
    uri: str

    def runs(self, experiment: str, scale: str, status: str | None = None, cell: str | None = None) -> list[TrackedRun]:
        """See `RunReader`."""
        title = format_title(experiment, scale)
        self._check_not_deleted(title)
        wanted, values = "experiments.name = ?", [title]
        if status:
            wanted, values = f"{wanted} AND runs.status = ?", [*values, status]
        found = self._read(wanted, values)
        return [run for run in found if cell in (None, run.fingerprint)]

    def has_runs(self, experiment: str, scale: str) -> bool:
        """See `RunReader`."""
        return bool(self.runs(experiment, scale))

    def find_runs(self, prefix: str) -> list[TrackedRun]:
        """See `RunReader`."""
        imported = f"runs.run_uuid IN (SELECT run_uuid FROM tags WHERE key = '{IMPORTED}' AND value LIKE ?)"
        return self._read(f"(runs.run_uuid LIKE ? OR {imported})", [f"{prefix}%"] * 2)

    def _check_not_deleted(self, title: str) -> None:
        query = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'deleted'"
        with connect(self.database) as connection:
            for (experiment_id,) in connection.execute(query, [title]):
                raise deleted_experiment(title, experiment_id, self.uri)

    def _read(self, wanted: str, values: Sequence[str]) -> list[TrackedRun]:
        with connect(self.database) as connection:
            connection.execute("BEGIN")  # one snapshot for all queries

            def rows_of_runs(query: str) -> dict[str, list[tuple[Any, ...]]]:
                found = defaultdict(list)
                for run_id, *row in connection.execute(query.format(chosen=f"({CHOSEN} {wanted})"), values):
                    found[run_id].append(tuple(row))
                return found

            facts = rows_of_runs(
                "SELECT run_uuid, name, status, start_time, end_time FROM runs WHERE run_uuid IN {chosen} "
                "ORDER BY start_time, run_uuid"
            )
            params = rows_of_runs("SELECT run_uuid, key, value FROM params WHERE run_uuid IN {chosen}")
            metrics = rows_of_runs("SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE run_uuid IN {chosen}")
            tags = rows_of_runs("SELECT run_uuid, key, value FROM tags WHERE run_uuid IN {chosen}")
            inputs = rows_of_runs(
                "SELECT destination_id, datasets.name, digest, dataset_source, COALESCE(input_tags.value, '') "
                "FROM inputs JOIN datasets ON dataset_uuid = source_id LEFT JOIN input_tags ON "
                "input_tags.input_uuid = inputs.input_uuid AND input_tags.name = 'mlflow.data.context' "
                "WHERE source_type = 'DATASET' AND destination_type = 'RUN' AND destination_id IN {chosen} "
                "ORDER BY inputs.rowid"
            )
        return [
            make_tracked_run(
                run_id,
                *facts[run_id][0],
                params=dict(params[run_id]),
                metrics={name: float("nan") if is_nan else value for name, value, is_nan in metrics[run_id]},
                tags=dict(tags[run_id]),
                inputs=inputs[run_id],
            )
            for run_id in facts
        ]


def connect(database: Path) -> closing[sqlite3.Connection]:
    """A connection that only reads; it closes at the end of a `with` block."""
    # a file without a log beside it may lie in a folder that cannot be written; nobody is changing it
    immutable = "" if database.with_name(f"{database.name}-wal").exists() else "&immutable=1"
    return closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro{immutable}", uri=True, timeout=60))


def open_reader(home: Home, tracking_uri: str | None = None) -> RunReader:
    """The fastest reader of a store; raises LabError where the store cannot be opened."""
    uri = tracking_uri or home.tracking_uri
    if uri == home.own_uri and is_readable(home):
        return SqliteReader(home.runs_database, uri)
    from ulmfit_lab.tracking.tracker import open_tracker

    return open_tracker(home, tracking_uri)


def is_readable(home: Home) -> bool:
    """Whether the home's own store is a file of one of `SCHEMAS` in which nothing is to be migrated or repointed."""
    try:
        with connect(home.runs_database) as connection:
            revisions = [revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")]
        return len(revisions) == 1 and revisions[0] in SCHEMAS and (bool(home.unwritable) or not old_places(home))
    except sqlite3.Error:
        return False
