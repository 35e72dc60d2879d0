"""A tracked run is made again from what it says of itself; one bit that differs is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.analysis.run_table import csv_text, read_runs
from ulmfit_lab.cli.runs import reproduce_and_print
from ulmfit_lab.config.paths import flatten, override
from ulmfit_lab.config.scales import SCALES
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.experiment.declaration import Experiment, experiment_files, load_experiment, variant_config
from ulmfit_lab.experiment.report_inputs import runs_table
from ulmfit_lab.pipeline.store import VERSIONS, StageStore
from ulmfit_lab.report.publish import publish
from ulmfit_lab.runs.lookup import find_named_run
from ulmfit_lab.runs.reproduce import (
    MetricComparison,
    Reproduction,
    cautions,
    config_of,
    find_run,
    other_code,
    plan_again,
    predict_cost,
    reproduce,
    spread_over_seeds,
)
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.utils.errors import ConfigError, LabError, MismatchError


@pytest.fixture(scope="module")
def swept(new_lab: Callable[[str], Any], experiment: Experiment) -> Any:
    """A lab with one run of each variant."""
    lab = new_lab("swept")
    lab.sweep(replace(experiment, seeds=(0,)))
    return lab


@pytest.fixture(scope="module")
def fine_tuned(swept: Any) -> TrackedRun:
    """The run that has all stages."""
    return next(run for run in swept.tracker.runs("starts", "tiny") if run.variant == "fine-tuned")


@pytest.fixture(scope="module")
def results(swept: Any, experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its report."""
    folder = tmp_path_factory.mktemp("results")
    once = replace(experiment, seeds=(0,))
    publish(once, "tiny", None, swept.home, None, swept.tracker, folder / "tiny" / "starts")
    return folder


def remade(lab: Any, run: TrackedRun, **options: Any) -> Any:
    return reproduce(run, lab.home, None, lab.tracker, lab.display, **options)


def stages_of(lab: Any, run_id: str) -> dict[str, str]:
    """Stage -> computed or reused."""
    tags = lab.tracker.client.get_run(run_id).data.tags
    return {name.split(".")[1]: how for name, how in tags.items() if name.endswith(".how")}


def test_a_run_made_again_has_the_same_numbers_and_is_tracked_beside_the_experiment(
    swept: Any, fine_tuned: TrackedRun
) -> None:
    found = remade(swept, fine_tuned)
    assert found.reproduced and "bit for bit" in found.verdict
    assert {"final/loss", "final/lm_perplexity", "best/error"} <= {each.name for each in found.compared}
    again = swept.tracker.client.get_run(found.run_id)
    assert (again.info.status, again.data.metrics["reproduced"]) == ("FINISHED", 1.0)
    assert again.data.tags["lab.reproduces"] == fine_tuned.run_id
    assert swept.tracker.client.get_experiment(again.info.experiment_id).name == "reproductions"
    assert {name: again.data.metrics[name] for name in fine_tuned.metrics if name.startswith("final/")} == {
        name: value for name, value in fine_tuned.metrics.items() if name.startswith("final/")
    }
    assert set(stages_of(swept, found.run_id).values()) == {"computed"}
    assert len(swept.tracker.runs("starts", "tiny")) == 2


def test_upstream_stages_can_be_reused_and_stay_where_they_are(swept: Any, fine_tuned: TrackedRun) -> None:
    before = sorted(swept.home.stages.rglob("*"))
    found = remade(swept, fine_tuned, reuse_stages=True)
    assert found.reproduced
    assert stages_of(swept, found.run_id) == {"pretrained": "reused", "fine-tuned": "reused", "classifier": "computed"}
    assert sorted(swept.home.stages.rglob("*")) == before


def test_a_number_that_differs_in_its_last_bit_is_told(swept: Any, fine_tuned: TrackedRun) -> None:
    value = fine_tuned.metrics["final/loss"]
    tampered = replace(fine_tuned, metrics={**fine_tuned.metrics, "final/loss": math.nextafter(value, 9.0)})
    found = remade(swept, tampered, reuse_stages=True)
    assert [each.name for each in found.compared if not each.is_equal] == ["final/loss"]
    assert found.verdict.startswith(f"NOT reproduced: 1 of {len(found.compared)}")
    assert swept.tracker.client.get_run(found.run_id).data.metrics["reproduced"] == 0.0


def test_a_run_that_only_a_committed_table_knows_is_made_again(
    new_lab: Callable[[str], Any], fine_tuned: TrackedRun, results: Path
) -> None:
    clone = new_lab("clone")
    run = find_run(fine_tuned.run_id[:12], clone.tracker, results)
    assert run.metrics == {k: v for k, v in fine_tuned.metrics.items() if k in run.metrics}
    assert remade(clone, run).reproduced
    assert find_named_run("starts/fine-tuned/0", clone.tracker, results).origin == run.origin
    with pytest.raises(LabError, match="No finished run starts/fine-tuned/9 is tracked or committed"):
        find_named_run("starts/fine-tuned/9", clone.tracker, results)


def test_the_cost_is_told_before_it_is_spent(
    swept: Any, fine_tuned: TrackedRun, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, stage = plan_again(fine_tuned, None)
    stored = [StageStore(swept.home.stages).find(each) for each in stage.ancestry()]
    every, alone = (predict_cost(stage, config, swept.home, reuse_stages=reuse) for reuse in (False, True))
    assert (every[0], alone[0]) == (len(stored), 1)
    assert 0 < alone[1] < every[1]
    assert reproduce_and_print("starts/fine-tuned/0", swept.home, None, swept.tracker, results, reuse_stages=True) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("1 stages to compute, about ")


def test_the_command_prints_both_numbers_and_exits_with_1_where_they_differ(
    new_lab: Callable[[str], Any], fine_tuned: TrackedRun, results: Path, tmp_path: Path, capsys: Any
) -> None:
    lab, table = new_lab("command"), read_runs(results / "tiny" / "starts" / "runs.csv")
    table.loc[table["variant"] == "fine-tuned", "final/error"] = 0.123
    (tmp_path / "starts").mkdir()
    (tmp_path / "starts" / "runs.csv").write_text(csv_text(table))
    where = (fine_tuned.run_id, lab.home, None, lab.tracker)
    assert reproduce_and_print(*where, tmp_path, reuse_stages=False) == 1
    out = " ".join(capsys.readouterr().out.split())
    again = fine_tuned.metrics["final/error"]
    row = "final/error 0.123 {0!r} {1:.2g}", "final/error tracked 0.123, reproduced {0!r}, difference {1:.2g}"
    assert sum(each.format(again, abs(again - 0.123)) in out for each in row) == 1, "a table, or a paragraph per metric"
    assert "NOT reproduced: 1 of" in out


def test_the_store_comes_first_and_an_id_may_be_cut_if_it_stays_unique(
    swept: Any, fine_tuned: TrackedRun, results: Path, tmp_path: Path
) -> None:
    assert find_run(fine_tuned.run_id[:12], swept.tracker, results) == fine_tuned
    table = read_runs(results / "tiny" / "starts" / "runs.csv")
    (tmp_path / "starts").mkdir()
    (tmp_path / "starts" / "runs.csv").write_text(csv_text(table.assign(run_id=["abc1" * 8, "abc2" * 8])))
    with pytest.raises(LabError, match="2 runs begin with abc"):
        find_run("abc", swept.tracker, tmp_path)
    assert find_run("abc1", swept.tracker, tmp_path).run_id == "abc1" * 8


@pytest.mark.parametrize(
    ("run_id", "says"), [("0" * 32, "There is no run 0+"), ("' or 1", "not a run id"), ("%%%", "not a run id")]
)
def test_an_id_of_no_run_is_one_clear_error(swept: Any, results: Path, run_id: str, says: str) -> None:
    with pytest.raises(LabError, match=says):
        find_run(run_id, swept.tracker, results)


def test_a_run_that_did_not_finish_is_refused(lab: Any, experiment: Experiment, interrupting: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        lab.sweep(experiment, interrupting(1))
    (run,) = lab.tracker.runs("starts", "tiny")
    with pytest.raises(LabError, match="is KILLED"):
        find_run(run.run_id, lab.tracker, lab.home.root)


def test_other_code_or_data_is_warned_of(fine_tuned: TrackedRun) -> None:
    stage = plan_again(fine_tuned, None)[1]
    assert stage.fingerprint == fine_tuned.fingerprint
    assert not any("fingerprint" in each or "was made by" in each for each in cautions(fine_tuned, stage))
    other = replace(
        fine_tuned, fingerprint="0" * 16, tags={**fine_tuned.tags, "lab.commit": "c0ffee" * 6, "lab.dirty": "true"}
    )
    told = "; ".join(cautions(other, stage))
    assert "made by commit c0ffeec0ff" in told and "had uncommitted changes" in told
    assert f"here it is {stage.fingerprint}" in told


@pytest.mark.parametrize("name", sorted(experiment_files()))
def test_every_config_of_the_house_comes_back_from_its_params(fine_tuned: TrackedRun, name: str) -> None:
    experiment = load_experiment(name)
    for config in [variant_config(experiment, scale, variant) for scale in SCALES for variant in experiment.variants]:
        params = {path: str(value) for path, value in flatten(config).items()} | {"seed": "3"}
        assert config_of(replace(fine_tuned, params=params)) == config


def test_a_field_that_was_not_there_yet_has_its_default(fine_tuned: TrackedRun) -> None:
    params = {path: text for path, text in fine_tuned.params.items() if path != "classifier.features"}
    assert config_of(replace(fine_tuned, params=params)) == config_of(fine_tuned)
    assert config_of(replace(fine_tuned, params={"pretraining.seed": "7"})) == override(
        RunConfig(), {"pretraining.seed": 7}
    )


@pytest.mark.parametrize(
    "params", [{"lm.magic": "1"}, {"lm.n_layers": "many"}, {"lm.backwards": "0"}, {"lm.n_layers": "0"}]
)
def test_params_that_todays_code_does_not_take_name_the_commit_that_did(
    fine_tuned: TrackedRun, params: dict[str, str]
) -> None:
    run = replace(fine_tuned, params={**fine_tuned.params, **params}, tags={"lab.commit": "c0ffee" * 6})
    with pytest.raises(MismatchError, match="check out its commit c0ffeec0ff"):
        config_of(run)


def test_numbers_are_compared_to_the_last_bit() -> None:
    assert MetricComparison("a", 0.1, 0.1).is_equal and MetricComparison("a", math.nan, math.nan).is_equal
    assert not MetricComparison("a", 0.3, 0.1 + 0.2).is_equal
    assert not MetricComparison("a", 0.5, math.nan).is_equal


@pytest.mark.parametrize(
    ("metric", "deviation"),
    [
        (MetricComparison("a", 0.1, 0.1), 0.0),
        (MetricComparison("a", 0.5, 0.2, sd=0.2), 1.5),
        (MetricComparison("a", 0.5, math.nan, sd=0.2), math.inf),
        (MetricComparison("a", 0.5, 0.2, sd=0.0), math.inf),
        (MetricComparison("a", 0.5, 0.2), math.nan),
    ],
)
def test_differences_are_told_in_standard_deviations_over_the_seeds(
    fine_tuned: TrackedRun, metric: MetricComparison, deviation: float
) -> None:
    assert metric.deviation == pytest.approx(deviation, nan_ok=True)
    within = [Reproduction(fine_tuned, (metric,), "", tolerance=tolerance).accepted for tolerance in (0.0, 1.4, 1.6)]
    assert within == [deviation == 0, deviation == 0, deviation < 1.6]


def test_a_tolerance_accepts_what_another_processor_changes(
    new_lab: Callable[[str], Any], experiment: Experiment, results: Path, tmp_path: Path, capsys: Any
) -> None:
    lab = new_lab("spread")
    variants = {name: experiment.variants[name] for name in ("random",)}
    lab.sweep(replace(experiment, variants=variants, baseline="random", seeds=(0, 1, 2)))
    runs = lab.tracker.runs("starts", "tiny")
    losses = [run.metrics["final/loss"] for run in runs]
    mean = sum(losses) / 3
    sd = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / 2)
    assert spread_over_seeds(runs[0], lab.tracker, tmp_path)["final/loss"] == pytest.approx(sd)
    moved = replace(runs[0], metrics={**runs[0].metrics, "final/loss": runs[0].metrics["final/loss"] + 0.5 * sd})
    spread = spread_over_seeds(runs[0], lab.tracker, tmp_path)
    diverged = replace(runs[0], metrics={**runs[0].metrics, "final/loss": math.inf})
    (tmp_path / "starts").mkdir()
    (tmp_path / "starts" / "runs.csv").write_text(csv_text(runs_table([diverged, *runs[1:]])))
    committed = spread_over_seeds(diverged, new_lab("without runs").tracker, tmp_path)
    assert "final/loss" not in committed and committed["final/accuracy"] == spread["final/accuracy"]
    strict, tolerant = (remade(lab, moved, reuse_stages=True, spread=spread, tolerance=n) for n in (0.0, 3.0))
    assert not strict.accepted and "differ, by at most 0.5 sd of the seeds (final/loss)." in strict.verdict
    assert tolerant.accepted and not tolerant.reproduced
    assert tolerant.verdict.startswith(f"Reproduced within 3 sd: 1 of {len(tolerant.compared)} metrics")
    where = ("starts/fine-tuned/0", lab.home, None, lab.tracker, results)
    for tolerance, says in ((3.0, "three or more finished seeds"), (-1.0, "must be finite"), (math.nan, "finite")):
        with pytest.raises(ConfigError, match=says):
            reproduce_and_print(*where, reuse_stages=True, tolerance=tolerance)


def test_a_run_of_other_code_says_so_in_a_line_and_that_its_numbers_are_expected_to_differ(
    swept: Any, fine_tuned: TrackedRun
) -> None:
    assert other_code(fine_tuned) == ""
    moved = {"stage.classifier.version": "1", "lab.commit": "c0ffee" * 6}
    old = replace(fine_tuned, tags={**fine_tuned.tags, **moved})
    versions = f"classifier was 1, today {VERSIONS['classifier']}"
    said = f"made by commit c0ffeec0ff, with other versions of its stages ({versions})"
    assert other_code(old) == said
    stage = plan_again(old, None)[1]
    assert f"the run was {said}; its numbers are expected to differ" in cautions(old, stage)
    changed = replace(old, metrics={**old.metrics, "final/loss": 0.5})
    verdict = remade(swept, changed, reuse_stages=True).verdict
    assert verdict.endswith(f"differ, as expected: {said}.") and len(verdict.splitlines()) == 1


def test_a_run_of_before_versions_and_fields_says_what_it_lacks(fine_tuned: TrackedRun) -> None:
    tags = {name: value for name, value in fine_tuned.tags.items() if not name.endswith(".version")}
    told = other_code(replace(fine_tuned, tags=tags))
    assert f"classifier was older, today {VERSIONS['classifier']}" in told and "pretrained was older" in told
    params = {path: text for path, text in fine_tuned.params.items() if path != "classifier.features"}
    assert "without fields of today's config (classifier.features)" in other_code(replace(fine_tuned, params=params))
