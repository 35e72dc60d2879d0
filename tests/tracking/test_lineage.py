"""A run tells which run computed each of its stages, and leads there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.tracking.lineage import SIGNATURE, add_origins, read_origin, save_origin
from ulmfit_lab.tracking.names import NOTE


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A stage's folder, signed by a run."""
    folder = tmp_path / "0123456789abcdef"
    folder.mkdir()
    save_origin(folder, "random, seed 0", "#/experiments/3/runs/f00", "sqlite:///a.db")
    return folder


def test_a_reused_stage_leads_to_the_run_that_computed_it(stage: Path) -> None:
    line = read_origin(stage, "pretrained", False, "sqlite:///a.db")
    assert line == "pretrained `01234567`, reused; computed by [random, seed 0](#/experiments/3/runs/f00)"
    assert read_origin(stage, "pretrained", True, "sqlite:///a.db") == "pretrained `01234567`, computed by this run"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", None])
def test_a_stage_without_a_signature_that_can_be_read_has_no_link(stage: Path, content: str | None) -> None:
    (stage / SIGNATURE).unlink() if content is None else (stage / SIGNATURE).write_text(content)
    assert read_origin(stage, "vectors", False, "sqlite:///a.db") == "vectors `01234567`, reused"


def test_a_run_in_another_store_is_not_linked_and_no_password_is_kept(stage: Path) -> None:
    assert read_origin(stage, "pretrained", False, "sqlite:///b.db") == "pretrained `01234567`, reused"
    save_origin(stage, "a", "#/", "postgresql://ann:s3cret@db/lab")
    assert "s3cret" not in (stage / SIGNATURE).read_text()


def test_a_description_lists_what_a_run_came_from() -> None:
    assert add_origins("A run.", ["one", "two"]) == "A run.\n\nCame from:\n\n- one\n- two"
    assert add_origins("A run.", []) == "A run."


def test_the_seeds_of_a_sweep_lead_to_the_run_that_pretrained(lab: Any, experiment: Experiment) -> None:
    lab.sweep(experiment)
    runs = [run for run in lab.tracker.runs(experiment.name, "tiny") if run.variant == "fine-tuned"]
    (first,) = [run for run in runs if run.tags["stage.pretrained.how"] == "computed"]
    (other,) = [run for run in runs if run is not first]
    assert "- pretrained `" in first.tags[NOTE] and "computed by this run" in first.tags[NOTE]
    assert f"computed by [{first.name}](#/experiments/" in other.tags[NOTE]
    assert f"/runs/{first.run_id}?" in other.tags[NOTE]
    assert other.tags["stage.pretrained"][:8] in other.tags[NOTE]
