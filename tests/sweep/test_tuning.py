"""A search gives every variant the same trials on the same seeds, whatever happened to it on the way."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from ulmfit_lab.analysis.tuning_table import complete, read_tuning
from ulmfit_lab.experiment.declaration import Experiment, Search
from ulmfit_lab.experiment.search_space import Range
from ulmfit_lab.pipeline.store import StageStore
from ulmfit_lab.report.tables import tuning_text
from ulmfit_lab.report.tuning_figure import best_so_far, caption_of, draw_again
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.tuning import TuningResult, publish_tuning, recipes_text, tune, winners
from ulmfit_lab.tracking.tracker import open_tracker
from ulmfit_lab.utils.errors import ConfigError, IncompleteError
from ulmfit_lab.utils.home import open_home

SEARCH = {"classifier.lr": Range(1e-3, 0.3, log=True), "classifier.drop_mult": Range(0.0, 1.0)}
# the loss, since the error of forty documents is the same for most recipes
MEASURED = {"metric": "final/valid_loss", "budget": 3, "seeds": (7, 8, 9)}


def searched(experiment: Experiment, search: Any = None, **changes: Any) -> Experiment:
    """The experiment with a search of continuous ranges."""
    return replace(experiment, search=Search(**{"space": SEARCH, **MEASURED, **(search or {})}), **changes)


def tuned(lab: Any, experiment: Experiment, display: ProgressDisplay | None = None, **options: Any) -> TuningResult:
    """Search at the tiny scale."""
    display = display or lab.display
    return tune(experiment, "tiny", home=lab.home, data=None, tracker=lab.tracker, display=display, **options)


def finished(lab: Any) -> Counter[tuple[str, str, int]]:
    """(variant, trial, seed) -> finished runs."""
    runs = lab.tracker.runs("starts-tuning", "tiny", "FINISHED")
    return Counter((run.variant, run.tags["trial"], run.seed) for run in runs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> tuple[Any, Experiment, TuningResult]:
    """A finished search of two variants, and its lab."""
    own = {"target.name": "", "target.path": str(reviews), "general.name": "", "general.path": str(reviews)}
    experiment = Experiment(
        name="starts",
        question="Does a language model help on a few sentences?",
        baseline="random",
        variants={
            "random": {"classifier.init": "random"},
            "fine-tuned": {"classifier.init": "fine-tuned"},
            "TF-IDF": {"classifier.model": "tf-idf"},
        },
        scales={"tiny": own},
        seeds=(0, 1),
    )
    home = open_home(str(tmp_path_factory.mktemp("whole")))
    lab = SimpleNamespace(home=home, tracker=open_tracker(home), display=ProgressDisplay(Console(file=StringIO())))
    experiment = searched(experiment)
    return lab, experiment, tuned(lab, experiment)


def table_of(outcome: TuningResult) -> pd.DataFrame:
    """The table of a finished search."""
    assert outcome.table is not None, (outcome.failures, outcome.in_other_processes)
    return outcome.table


def test_every_variant_with_an_lstm_has_the_same_budget_and_begins_with_its_recipe(whole: Any) -> None:
    _, _, outcome = whole
    table = table_of(outcome)
    assert dict(table.groupby("variant").size()) == {"random": 3, "fine-tuned": 3}
    first = table[table["trial"] == 0]
    assert list(first["classifier.lr"]) == [3e-3] * 2 and list(first["classifier.drop_mult"]) == [0.2] * 2


def test_the_winner_is_no_worse_than_the_recipe_there_was(whole: Any) -> None:
    _, experiment, outcome = whole
    table = table_of(outcome)
    for variant, values in winners(table, experiment).items():
        mine = table[table["variant"] == variant]
        best = mine[(mine[list(values)] == pd.Series(values)).all(axis=1)].iloc[0]
        assert best["state"] == "complete"
        assert best["valid_loss"] == complete(mine)["valid_loss"].min() <= mine.iloc[0]["valid_loss"]


def test_every_trial_and_seed_is_one_tracked_run_and_the_mean_is_over_them(whole: Any) -> None:
    lab, experiment, outcome = whole
    table, runs = table_of(outcome), lab.tracker.runs("starts-tuning", "tiny", "FINISHED")
    assert set(finished(lab).values()) == {1} and len(runs) == table["seeds"].sum()
    assert {run.seed for run in runs} == {7, 8, 9} and not {7, 8, 9} & set(experiment.seeds)
    for row in table.to_dict("records"):
        mine = [r for r in runs if (r.variant, r.tags["trial"]) == (row["variant"], str(row["trial"]))]
        assert sum(r.metrics["final/valid_loss"] for r in mine) / len(mine) == pytest.approx(row["valid_loss"])
        assert {r.params["classifier.lr"] for r in mine} == {str(row["classifier.lr"])}


def test_pruned_trials_are_marked_and_have_fewer_seeds(whole: Any) -> None:
    table = table_of(whole[2])
    assert set(table["state"]) <= {"complete", "pruned"}
    assert ((table["state"] == "complete") == (table["seeds"] == 3)).all()
    assert (table["state"] == "pruned").any()


def test_searching_again_makes_no_run_even_with_the_winners_declared_and_a_smaller_budget_is_a_beginning(
    whole: Any,
) -> None:
    lab, experiment, outcome = whole
    table, before = table_of(outcome), finished(lab)
    text = recipes_text(winners(table, experiment), experiment, "tiny")
    declared = replace(experiment, **eval(f"dict({text})"))
    assert table_of(tuned(lab, declared)).equals(table)
    fewer = table_of(tuned(lab, experiment, budget=2))
    assert fewer.equals(table[table["trial"] < 2].reset_index(drop=True))
    assert finished(lab) == before


def test_the_files_hold_the_table_and_the_figure_is_the_same_bytes_drawn_from_them(whole: Any, tmp_path: Path) -> None:
    lab, experiment, outcome = whole
    written = publish_tuning(outcome, lab.home, lab.tracker, tmp_path)
    assert [path.name for path in written] == ["tuning.csv", "tuning.json", "tuning.svg", "tuning.png"]
    table, facts = read_tuning(tmp_path)
    assert table is not None
    pd.testing.assert_frame_equal(table, table_of(outcome))
    assert winners(table, experiment) == winners(table_of(outcome), experiment)
    assert facts["importance_method"] == "fANOVA" and facts["seeds"] == [7, 8, 9] and facts["budget"] == 3
    before = {path.name: path.read_bytes() for path in written}
    assert [path.name for path in draw_again(tmp_path)] == ["tuning.svg", "tuning.png"]
    assert {path.name: path.read_bytes() for path in written} == before
    parent = lab.tracker.client.get_run(outcome.parent)
    assert parent.info.status == "FINISHED"
    best = complete(table).groupby("variant")["valid_loss"].min()
    assert parent.data.metrics["best/random"] == pytest.approx(best["random"])


@pytest.mark.parametrize("at", [5, 40])
def test_an_interrupted_search_ends_with_the_trials_of_an_uninterrupted_one(
    whole: Any, lab: Any, interrupting: Any, at: int
) -> None:
    _, experiment, outcome = whole
    one = replace(experiment, search=replace(experiment.search, variants=("random",)))
    with pytest.raises(KeyboardInterrupt):
        tuned(lab, one, interrupting(at))
    statuses = Counter(run.status for run in lab.tracker.runs("starts-tuning", "tiny"))
    assert statuses["KILLED"] == 1 and statuses["RUNNING"] == 0
    table = table_of(outcome)
    assert table_of(tuned(lab, one)).equals(table[table["variant"] == "random"])
    assert set(finished(lab).values()) == {1}


def test_a_killed_search_ends_with_the_same_trials_and_leaves_no_run_open(whole: Any, lab: Any, tmp_path: Path) -> None:
    _, experiment, outcome = whole
    path = tmp_path / "starts.py"
    path.write_text(source_of(experiment))
    command = [sys.executable, "-m", "ulmfit_lab", "tune", str(path), "--scale", "tiny", "--home", str(lab.home.root)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(finished(lab)) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    time.sleep(random.random())
    process.kill()
    process.wait()
    assert table_of(tuned(lab, experiment)).equals(table_of(outcome))
    assert set(finished(lab).values()) == {1}
    assert "RUNNING" not in {run.status for run in lab.tracker.runs("starts-tuning", "tiny")}


@pytest.mark.parametrize(("started", "workers"), [(2, 1), (1, 2)])
def test_two_processes_make_each_run_once_and_find_what_one_finds(
    whole: Any, lab: Any, tmp_path: Path, started: int, workers: int
) -> None:
    _, experiment, outcome = whole
    path = tmp_path / "starts.py"
    path.write_text(source_of(experiment))
    command = [sys.executable, "-m", "ulmfit_lab", "tune", str(path), "--scale", "tiny", "--home", str(lab.home.root)]
    command += ["--workers", str(workers)]
    running = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(started)]
    said = [process.communicate(timeout=240)[0] for process in running]
    assert {process.returncode for process in running} == {0}
    assert set(finished(lab).values()) == {1}
    assert "tuned={'tiny': {" in "".join(said)
    table, _ = read_tuning(tmp_path / "results" / "tiny" / "starts")
    assert table is not None
    pd.testing.assert_frame_equal(table, table_of(outcome))


def test_a_recipe_that_diverges_is_marked_and_the_search_goes_on(lab: Any, experiment: Experiment) -> None:
    # SGD that decays by a thousand at a rate of a million overflows within a few steps
    unstable = {"classifier.optimizer": "nt-asgd", "classifier.weight_decay": 1e3}
    rates = {"space": {"classifier.lr": (1e-6, 1e6)}, "variants": ("random",)}
    variants = {"random": {"classifier.init": "random", **unstable}, "fine-tuned": {}}
    recipes = {"tiny": {"random": {"classifier.lr": 1e-6}}}
    outcome = tuned(lab, searched(experiment, rates, variants=variants, tuned=recipes))
    table = table_of(outcome)
    assert list(table["state"]) == ["complete", "diverged"] and list(table["seeds"]) == [3, 0]
    assert winners(table, searched(experiment, rates)) == {"random": {"classifier.lr": 1e-6}}


def test_a_failure_that_is_not_the_recipes_ends_no_trial_and_is_made_good(
    lab: Any, experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def obtain(self: StageStore, stage: Any, observe: Any) -> Any:
        raise OSError("the disk is full")

    one = searched(experiment, {"variants": ("random",), "budget": 1})
    with monkeypatch.context() as patched:
        patched.setattr(StageStore, "get_or_compute", obtain)
        outcome = tuned(lab, one)
    assert outcome.failures == [("random, trial 0", "OSError: the disk is full")]
    with pytest.raises(IncompleteError, match="repeat the command"):
        publish_tuning(outcome, lab.home, lab.tracker, tmp_path)
    table = table_of(tuned(lab, one))
    assert list(table["classifier.lr"]) == [3e-3] and list(table["state"]) == ["complete"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"search": {"space": {}}}, "declares no search"),
        ({"search": {"space": {"classifier.lr": Range(0.1, 0.2)}}}, "classifier.lr = 0.003 of .random. is outside"),
        (
            {"variants": {"random": {"last_stage": "pretrained"}}, "search": {"metric": "final/valid_error"}},
            "valid_loss",
        ),
        ({"factor": "target.n_labels", "levels": {"tiny": (60,)}}, "search.levels"),
    ],
)
def test_a_search_that_cannot_begin_says_why(lab: Any, experiment: Experiment, changes: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        tuned(lab, searched(experiment, **changes))


def test_a_measure_that_runs_do_not_have_is_named(lab: Any, experiment: Experiment) -> None:
    one = searched(experiment, {"variants": ("random",), "metric": "final/lm_loss"})
    with pytest.raises(ConfigError, match="'random' has no language model, and so no final/lm_loss"):
        tuned(lab, one)


def test_a_measure_that_is_better_when_larger_is_made_large(lab: Any, experiment: Experiment) -> None:
    """Of two recipes for a language model, one of which learns next to nothing, and is the one there was."""
    asked: dict[str, Any] = {"space": {"fine_tuning.lr": (1e-7, 1e-2)}, "seeds": (7, 8, 9), "budget": 2}
    asked |= {"metric": "final/lm_accuracy", "variants": ("fine-tuned",)}
    scales = {"tiny": {**experiment.scales["tiny"], "fine_tuning.lr": 1e-7}}
    one = searched(experiment, asked, scales=scales)
    outcome = tuned(lab, one)
    table = table_of(outcome)
    low, high = (float(table.loc[table["fine_tuning.lr"] == lr, "lm_accuracy"].iloc[0]) for lr in (1e-7, 1e-2))
    assert low < high and winners(table, one) == {"fine-tuned": {"fine_tuning.lr": 1e-2}}
    assert list(best_so_far(table, "fine-tuned")) == [low, high]
    assert "Chosen: the highest mean validation LM accuracy." in tuning_text(table, outcome.facts)
    assert "higher is better" in caption_of(table, outcome.facts)


def test_the_cost_is_told_before_anything_is_spent(
    lab: Any, experiment: Experiment, interrupting: Callable[[int], Any]
) -> None:
    display = interrupting(1)
    with pytest.raises(KeyboardInterrupt):
        tuned(lab, searched(experiment), display)
    first = display.console.file.getvalue().splitlines()[0]
    assert first.startswith("2 variants x 3 trials x 3 seeds = 18 runs, 18 of them to make, about ")


def source_of(experiment: Experiment) -> str:
    """The experiment as a user's module."""
    fields = ("name", "question", "baseline", "variants", "scales", "seeds", "search")
    arguments = ", ".join(f"{name}={getattr(experiment, name)!r}" for name in fields)
    imports = "from ulmfit_lab.experiment.declaration import Experiment, Search\n"
    imports += "from ulmfit_lab.experiment.search_space import Range\n"
    return f"{imports}\nEXPERIMENT = Experiment({arguments})\n"
