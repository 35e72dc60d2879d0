"""A sweep makes every declared run once, whatever happened to it on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.pipeline.store import StageStore
from ulmfit_lab.report.publish import publish
from ulmfit_lab.sweep.optuna_study import open_study
from ulmfit_lab.sweep.runner import cell_lock, plan_sweep
from ulmfit_lab.utils.errors import ConfigError
from ulmfit_lab.utils.locks import hold_lock

PICTURES = ["confusion.png", "losses-classifier.png", "losses-fine-tuning.png", "losses-pretraining.png"]
FILES = [*PICTURES, "predictions.json", "samples.txt"]
CELLS = {(v, s) for v in ("random", "fine-tuned") for s in (0, 1)}


def test_a_finished_sweep_has_every_cell_once_and_running_it_again_makes_none(lab: Any, experiment: Experiment) -> None:
    first = lab.sweep(experiment)
    again = lab.sweep(experiment)
    assert (first.finished, again.finished) == (4, 0)
    assert set(lab.results(experiment)) == CELLS
    assert len(open_study(lab.home, "starts-tiny").finished()) == 4


def test_the_trial_of_a_sweep_that_was_killed_after_its_last_run_is_completed(lab: Any, experiment: Experiment) -> None:
    lab.sweep(experiment)
    run = lab.tracker.runs("starts", "tiny")[0]
    number = open_study(lab.home, "starts-tiny").begin(run.fingerprint, {})
    lab.tracker.client.update_run(run.parent, status="RUNNING")
    assert lab.sweep(experiment).finished == 0
    study = open_study(lab.home, "starts-tiny")
    assert study.running() == {}
    assert study.study.get_trials()[number].value == run.metrics[experiment.metric]


def test_a_stage_that_two_seeds_share_is_trained_once(lab: Any, experiment: Experiment) -> None:
    outcome = lab.sweep(experiment)
    counted = {kind: len(list((lab.home.stages / kind).glob("*/stage.json"))) for kind in ("pretrained", "fine-tuned")}
    assert counted == {"pretrained": 1, "fine-tuned": 1}
    assert len(list((lab.home.stages / "classifier").glob("*/stage.json"))) == 4
    assert outcome.reused_seconds > 0


def test_a_run_whose_language_model_was_reused_still_holds_its_curves(lab: Any, experiment: Experiment) -> None:
    lab.sweep(experiment)
    runs = {(r.variant, r.seed): r for r in lab.tracker.runs("starts", "tiny")}
    fresh, reused = runs["fine-tuned", 0], runs["fine-tuned", 1]
    assert (fresh.tags["stage.pretrained.how"], reused.tags["stage.pretrained.how"]) == ("computed", "reused")
    for name in ("pretraining/loss", "pretraining/valid_perplexity", "fine_tuning/valid_loss"):
        curves = [
            [(p.step, p.value) for p in lab.tracker.client.get_metric_history(run.run_id, name)]
            for run in (fresh, reused)
        ]
        assert curves[0] and curves[0] == curves[1]


def test_a_run_names_the_vocabulary_that_its_language_model_predicts(lab: Any, experiment: Experiment) -> None:
    """A fine-tuned one predicts the words of the target, whatever general words it was pretrained on."""
    variants = {
        "fine-tuned": {},
        "pretrained": {"classifier.init": "pretrained"},
        "less text": {"general.max_tokens": 1_000},
        "random": {"classifier.init": "random"},
    }
    lab.sweep(replace(experiment, baseline="fine-tuned", variants=variants, seeds=(0,)))
    found = {run.variant: run.tags["vocabulary"] for run in lab.tracker.runs("starts", "tiny", "FINISHED")}
    assert found["fine-tuned"] == found["less text"] == found["random"] != found["pretrained"]


def test_a_run_holds_config_provenance_data_and_pictures(lab: Any, experiment: Experiment) -> None:
    lab.sweep(experiment)
    run = next(run for run in lab.tracker.runs("starts", "tiny", "FINISHED") if run.variant == "fine-tuned")
    assert run.params["lm.drop_mult"] == "0.2" and run.params["seed"] == str(run.seed)
    assert {"experiment", "variant", "seed", "lab.cell", "lab.commit", "version.torch", "machine"} <= run.tags.keys()
    assert {"best/accuracy", "final/error", "final/valid_error", "cost/computed_seconds"} <= run.metrics.keys()
    assert [a.path for a in lab.tracker.client.list_artifacts(run.run_id)] == FILES
    assert lab.tracker.client.get_run(run.run_id).inputs.dataset_inputs


def test_a_run_without_its_measure_fails_in_mlflow_and_in_optuna(lab: Any, experiment: Experiment) -> None:
    untested = {"last_stage": "pretrained", "general.test_tokens": 0}
    variants = {"one": untested, "two": {**untested, "pretraining.lr": 1e-3}}
    own = replace(experiment, variants=variants, baseline="one", metric="final/perplexity", seeds=(0,))
    outcome = lab.sweep(own)
    assert outcome.finished == 0 and len(outcome.failures) == 2
    assert "final/lm_perplexity" in outcome.failures[0][1], "the nearest name is told"
    assert {run.status for run in lab.tracker.runs("starts", "tiny")} == {"FAILED"}
    assert open_study(lab.home, "starts-tiny").finished() == set()


@pytest.mark.parametrize("measure", ["final/perplexity", "final/lm_loss"])
def test_what_a_variant_cannot_measure_is_told_before_it_runs(lab: Any, experiment: Experiment, measure: str) -> None:
    with pytest.raises(ConfigError, match=f"'random' .*no {measure}"):
        lab.sweep(replace(experiment, metric=measure))
    assert not lab.tracker.runs("starts", "tiny")


@pytest.mark.parametrize("at", [1, 25, 60])
def test_an_interrupted_sweep_ends_with_the_numbers_of_an_uninterrupted_one(
    new_lab: Callable[[str], Any], experiment: Experiment, interrupting: Any, at: int
) -> None:
    whole, broken = new_lab("whole"), new_lab("broken")
    whole.sweep(experiment)
    with pytest.raises(KeyboardInterrupt):
        broken.sweep(experiment, interrupting(at))
    assert [run.status for run in broken.tracker.runs("starts", "tiny")].count("KILLED") == 1
    broken.sweep(experiment)
    assert broken.results(experiment) == whole.results(experiment)
    assert "RUNNING" not in {run.status for run in broken.tracker.runs("starts", "tiny")}


def test_a_diverging_cell_is_recorded_as_failed_with_its_reason_and_the_sweep_goes_on(
    lab: Any, experiment: Experiment
) -> None:
    # SGD that decays by a thousand at a rate of a million overflows within a few steps
    diverging = {"classifier.optimizer": "nt-asgd", "classifier.lr": 1e6, "classifier.weight_decay": 1e3}
    outcome = lab.sweep(replace(experiment, variants={"diverging": diverging, **experiment.variants}))
    failed = lab.tracker.runs("starts", "tiny", "FAILED")
    assert (outcome.finished, len(outcome.failures)) == (4, 2)
    assert {run.variant for run in failed} == {"diverging"}
    assert failed[0].tags["lab.reason"].startswith("TrainingError: The loss is nan at step")
    assert lab.tracker.client.get_run(outcome.parent).info.status == "FAILED"


def test_an_exception_fails_its_cell_with_reason_and_traceback_and_is_tried_again(
    lab: Any, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def obtain(self: StageStore, stage: Any, observe: Any) -> Any:
        raise ValueError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(StageStore, "get_or_compute", obtain)
        outcome = lab.sweep(replace(experiment, seeds=(0,)), retries=1)
    runs = lab.tracker.runs("starts", "tiny")
    assert len(outcome.failures) == 2 and len(runs) == 4
    assert {run.tags["lab.reason"] for run in runs} == {"ValueError: the disk is full"}
    assert [a.path for a in lab.tracker.client.list_artifacts(runs[0].run_id)] == ["traceback.txt"]
    assert lab.sweep(replace(experiment, seeds=(0,))).finished == 2


def test_two_sweeps_at_once_make_each_run_once(lab: Any, experiment: Experiment) -> None:
    code = (
        "import sys; from ulmfit_lab.cli import main; "
        "sys.exit(main(['sweep', sys.argv[1], '--scale', 'tiny', '--home', sys.argv[2], '--results', sys.argv[3]]))"
    )
    path = lab.home.root / "starts.py"
    path.write_text(source_of(experiment))
    command = [sys.executable, "-c", code, str(path), str(lab.home.root), str(lab.home.root / "results")]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=240) for process in running] == [0, 0]
    assert set(lab.results(experiment)) == CELLS
    assert len(list((lab.home.stages / "pretrained").glob("*/stage.json"))) == 1
    assert list((lab.home.root / "results").rglob("table.md")), "the process that ends last writes the report"


def test_a_run_of_another_experiment_with_the_same_stages_keeps_nobody_waiting(
    lab: Any, experiment: Experiment
) -> None:
    plan = plan_sweep(experiment, "tiny", None, lab.home, None, lab.tracker)
    with ExitStack() as held:
        for planned in plan.todo:
            held.enter_context(hold_lock(cell_lock(lab.home, "starts", "tiny", planned.stage.fingerprint)))
        assert lab.sweep(experiment).in_other_processes == 4
        outcome = lab.sweep(replace(experiment, name="again"))
    assert (outcome.finished, outcome.in_other_processes) == (4, 0)


def test_a_killed_sweep_ends_with_the_same_numbers_and_leaves_no_run_open(
    new_lab: Callable[[str], Any], experiment: Experiment
) -> None:
    whole, killed = new_lab("whole"), new_lab("killed")
    whole.sweep(experiment)
    path = killed.home.root / "starts.py"
    path.write_text(source_of(experiment))
    options = ["--scale", "tiny", "--home", str(killed.home.root)]
    command = [sys.executable, "-m", "ulmfit_lab", "sweep", str(path), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=killed.home.root)
    deadline = time.monotonic() + 120
    while not killed.tracker.runs("starts", "tiny") and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    time.sleep(random.random())
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed.sweep(experiment)
    assert killed.results(experiment) == whole.results(experiment)
    assert "RUNNING" not in {run.status for run in killed.tracker.runs("starts", "tiny")}


def test_a_report_is_the_same_bytes_twice_and_from_its_own_runs(
    lab: Any, new_lab: Callable[[str], Any], experiment: Experiment, tmp_path: Path
) -> None:
    lab.sweep(experiment)
    folder = tmp_path / "results"
    publish(experiment, "tiny", None, lab.home, None, lab.tracker, folder)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    publish(experiment, "tiny", None, lab.home, None, lab.tracker, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    clone = new_lab("clone")
    publish(experiment, "tiny", None, clone.home, None, clone.tracker, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    parent = lab.tracker.client.get_run(lab.tracker.runs("starts", "tiny")[0].parent)
    assert parent.data.metrics["n/random"] == 2
    assert "Does a language model help" in parent.data.tags["mlflow.note.content"]


def test_sigterm_counts_as_an_interruption(lab: Any, experiment: Experiment, interrupting: Any) -> None:
    class Terminating(interrupting):  # type: ignore[misc]
        def progress(self, progress: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        lab.sweep(experiment, Terminating(0))
    runs = lab.tracker.runs("starts", "tiny")
    assert [run.status for run in runs] == ["KILLED"]
    assert lab.tracker.client.get_run(runs[0].parent).info.status == "KILLED"


def source_of(experiment: Experiment) -> str:
    """The experiment as a user's module."""
    fields = ("name", "question", "baseline", "variants", "scales", "seeds")
    arguments = ", ".join(f"{name}={getattr(experiment, name)!r}" for name in fields)
    return f"from ulmfit_lab.experiment.declaration import Experiment\n\nEXPERIMENT = Experiment({arguments})\n"
