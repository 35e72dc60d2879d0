"""The committed report is what its runs say: made again from runs.csv it is the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ulmfit_lab.analysis.tuning_table import read_tuning
from ulmfit_lab.experiment.declaration import experiment_files, load_experiment
from ulmfit_lab.report.committed import Committed, committed_grid
from ulmfit_lab.report.ledger_files import check_results
from ulmfit_lab.report.write import write_report
from ulmfit_lab.sweep.tuning import winners

RESULTS = Path(__file__).resolve().parents[2] / "results"
COMMITTED = sorted(name for name in experiment_files() if (RESULTS / name / "runs.csv").is_file())


def test_committed_files_follow_from_the_committed_runs() -> None:
    assert [str(problem) for problem in check_results(RESULTS)] == []


@pytest.mark.parametrize("name", COMMITTED)
def test_reports_are_written_as_they_are_committed(name: str, tmp_path: Path) -> None:
    folder = RESULTS / name
    runs, spec = committed_grid(Committed(load_experiment(name), "small", folder))
    write_report(runs, spec, tmp_path, *read_tuning(folder))
    for file in ("runs.csv", "table.md", "figure.svg"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize("name", COMMITTED)
def test_every_variant_has_the_recipe_that_the_search_found(name: str) -> None:
    experiment, (table, _) = load_experiment(name), read_tuning(RESULTS / name)
    if table is not None:
        if not experiment.search.variants:  # the search of a factor itself stands beside the comparison
            assert experiment.tuned["small"] == winners(table, experiment)
        assert table.groupby("variant").size().nunique() == 1
