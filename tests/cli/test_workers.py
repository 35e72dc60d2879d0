"""How many share a command's work."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from ulmfit_lab.cli.cluster import engine_of
from ulmfit_lab.cli.workers import worker_arguments
from ulmfit_lab.utils.errors import ConfigError


def asked(**options: Any) -> argparse.Namespace:
    """What the command line was given."""
    return argparse.Namespace(**{"workers": None, "cluster": None, "gpus_per_run": None, **options})


@pytest.mark.parametrize(("workers", "others"), [(None, 0), (1, 0), (3, 2)])
def test_one_process_works_and_others_where_they_are_asked_for(workers: int | None, others: int) -> None:
    assert worker_arguments(asked(workers=workers)) == others
    with engine_of(asked(workers=workers), None, None, None) as (engine, display):  # type: ignore[arg-type]
        assert engine is None and display.workers == others + 1


@pytest.mark.parametrize("workers", [0, -2])
def test_fewer_than_one_worker_is_an_error(workers: int) -> None:
    with pytest.raises(ConfigError, match=f"--workers {workers} must be 1 or more"):
        worker_arguments(asked(workers=workers))


def test_shares_of_gpus_are_for_a_cluster() -> None:
    refused = pytest.raises(ConfigError, match="--gpus-per-run requires --cluster")
    with refused, engine_of(asked(gpus_per_run=0.5), None, None, None):  # type: ignore[arg-type]
        pass
