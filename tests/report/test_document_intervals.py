"""A report has intervals over seeds and test documents, from predictions and without them from what it kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ulmfit_lab.analysis.comparisons import compare_variants
from ulmfit_lab.analysis.spec import DocumentInterval, ReportSpec
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.experiment.report_inputs import make_report_spec
from ulmfit_lab.report.committed import Committed, check_folder, committed_grid
from ulmfit_lab.report.document_intervals import FILE, read_document_intervals
from ulmfit_lab.report.publish import publish
from ulmfit_lab.report.tables import these_documents_only
from ulmfit_lab.runs.transfer import export_runs, import_runs
from ulmfit_lab.tracking.predictions import find_predictions
from ulmfit_lab.utils.errors import DataError


@pytest.fixture(scope="module")
def compared(experiment: Experiment) -> Experiment:
    """A network beside TF-IDF and beside a language model for each seed, three seeds."""
    variants = {**experiment.variants, "tf-idf": {"classifier.model": "tf-idf"}}
    own = {**experiment.scales["tiny"], "pretraining.seed": None, "fine_tuning.seed": None}
    return replace(experiment, variants=variants, scales={"tiny": own}, seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def swept(new_lab: Callable[[str], Any], compared: Experiment) -> Any:
    lab = new_lab("documents")
    assert not lab.sweep(compared).failures
    return lab


@pytest.fixture(scope="module")
def reported(swept: Any, compared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported") / "starts"
    publish(compared, "tiny", {}, swept.home, None, swept.tracker, folder)
    return folder


def test_the_interval_is_of_the_same_difference_and_counts_the_test_documents(
    swept: Any, reported: Path, compared: Experiment
) -> None:
    runs, spec = committed_grid(Committed(compared, "tiny", reported))
    rows = compare_variants(runs, spec)
    assert [(each.variant, each.against) for each in spec.documents] == [(row.variant, row.against) for row in rows]
    ((row, found),) = [pair for pair in zip(rows, spec.documents, strict=True) if pair[0].variant == "tf-idf"]
    assert row.against == "random"
    assert found.difference == pytest.approx(row.result.difference, abs=1e-5)
    assert found.low <= row.result.low + 1e-5 and row.result.high - 1e-5 <= found.high
    tested = {
        (run.variant, run.seed): find_predictions(run, swept.home) for run in swept.tracker.runs("starts", "tiny")
    }
    assert (found.n_seeds, found.n_documents) == (3, len(tested["random", 0].right))
    wrong = {cell: 100 * np.mean(~each.right) for cell, each in tested.items()}
    by_hand = np.mean([wrong["tf-idf", seed] - wrong["random", seed] for seed in (0, 1, 2)])
    assert found.difference == pytest.approx(by_hand, abs=1e-5)
    table = (reported / "table.md").read_text(encoding="utf-8")
    assert "## Over seeds and test documents" in table and f"| {found.documents_share:.0%} |" in table


def test_the_means_in_mlflow_have_the_verdicts_of_the_table(swept: Any, reported: Path, compared: Experiment) -> None:
    """Runs from scratch have no language model: they share none with each other."""
    rows = compare_variants(*committed_grid(Committed(compared, "tiny", reported)))
    number = swept.tracker.find_experiment("starts", "tiny")
    means = swept.tracker.client.search_runs([number], "tags.`lab.kind` = 'mean'")
    told = {mean.data.tags["variant"]: mean.data.tags["verdict"] for mean in means}
    against_baseline = {row.variant: row.verdict for row in rows if row.against == "random"}
    assert against_baseline.keys() == {"fine-tuned", "tf-idf"} and told["random"] == "the baseline"
    assert set(against_baseline.values()) == {"too few seeds"}
    for variant, verdict in against_baseline.items():
        assert told[variant].startswith(verdict), variant


def test_a_clone_without_predictions_makes_the_same_report(
    swept: Any, reported: Path, compared: Experiment, new_lab: Callable[[str], Any], tmp_path: Path
) -> None:
    assert check_folder(Committed(compared, "tiny", reported)) == []
    made = (reported / "table.md").read_bytes()
    export_runs("starts", "tiny", swept.tracker, tmp_path / "runs.jsonl.gz", swept.home)
    for source, folder in ((tmp_path / "runs.jsonl.gz", tmp_path / "again"), (reported / "runs.csv", reported)):
        other = new_lab("clone")
        import_runs(compared, "tiny", None, other.home, None, other.tracker, source)
        publish(compared, "tiny", {}, other.home, None, other.tracker, folder)
        assert (folder / "table.md").read_bytes() == made


def test_intervals_of_other_runs_are_not_shown(reported: Path, compared: Experiment) -> None:
    runs, spec = committed_grid(Committed(compared, "tiny", reported))
    found = read_document_intervals(reported, runs, spec)
    assert found and not read_document_intervals(reported, runs[1:], spec)
    assert not read_document_intervals(reported, runs, replace(spec, metric="final/accuracy"))
    turned = replace(spec, contrasts=tuple(pair[::-1] for pair in spec.pairs))
    assert not read_document_intervals(reported, runs, turned), "a contrast the other way round is another one"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": "", "contrasts": [{"variant": "a"}]}'])
def test_a_damaged_file_is_named(text: str, compared: Experiment, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=FILE):
        read_document_intervals(tmp_path, pd.DataFrame({"run_id": ["a"]}), make_report_spec(compared, "tiny"))


def test_a_verdict_that_other_documents_may_not_show_is_named(
    spec_with: Callable[..., ReportSpec], runs_of: Callable[[ReportSpec], pd.DataFrame]
) -> None:
    spec = spec_with()
    rows = [row for row in compare_variants(runs_of(spec), spec) if row.verdict in ("better", "worse")]
    row, numbers = rows[0], {"difference": -2.0, "seeds_share": 0.1, "documents_share": 0.8}
    sizes = {"n_seeds": 6, "n_documents": 500}
    names = {"variant": row.variant, "against": row.against, "level": row.level}
    wide, narrow = (DocumentInterval(low=-4.0, high=high, **numbers, **sizes, **names) for high in (0.5, -0.5))  # type: ignore[arg-type]
    assert f"{row.variant} - {row.against}" in these_documents_only(rows, replace(spec, documents=(wide,)))
    assert these_documents_only(rows, replace(spec, documents=(narrow,))) == ""


def test_the_file_is_json_that_names_its_runs(reported: Path) -> None:
    found = json.loads((reported / FILE).read_text(encoding="utf-8"))
    assert set(found) == {"runs", "metric", "contrasts"}
    assert [each["variant"] for each in found["contrasts"]] == ["fine-tuned", "tf-idf"]
