"""A search proposes recipes from the trials that are finished, and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from ulmfit_lab.experiment.search_space import Range, Space, count_points, list_points, point_differing_everywhere
from ulmfit_lab.sweep.optuna_study import Search, open_search
from ulmfit_lab.utils.home import Home

SPACE: Space = {"lr": Range(1e-4, 1.0, log=True), "size": Range(4, 32, log=True), "how": ("all", "last")}
RECIPE = {"lr": 0.003, "size": 8, "how": "all"}
SEEDS = (1001, 1002, 1003)


def bowl(values: Any) -> float:
    """Lowest at a rate of 0.01; the other fields matter little."""
    return float((math.log10(values["lr"]) + 2) ** 2 + 0.001 * values["size"])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def opened(home: Home, space: Space = SPACE, recipe: Any = RECIPE, name: str = "random f00d") -> Search:
    """The search as another process would see it."""
    return open_search(home, "starts-tuning-tiny", name, space, recipe)


def run(search: Search, budget: int, value: Callable[[Any], float] = bowl, most: int = 1000) -> None:
    """Make at most so many of a search's trials, each seed a little worse than the one before."""
    while most and (trial := search.next(budget)):
        most -= 1
        for place, seed in enumerate(SEEDS):
            search.report(trial.number, seed, value(trial.values) + 0.01 * place)
        search.end(trial.number, "complete")


def test_the_first_trial_is_the_recipe_there_is_and_the_others_lie_in_the_space(home: Home) -> None:
    search = opened(home)
    run(search, 12)
    trials = search.trials()
    assert len(trials) == 12 and trials[0].values == RECIPE
    for trial in trials:
        assert list(trial.values) == list(SPACE)
        assert all(trial.values[path] in values for path, values in SPACE.items())
        assert trial.values["lr"] == float(f"{trial.values['lr']:.3g}")
    assert min(trial.mean for trial in trials) <= trials[0].mean


def test_a_trials_value_is_the_mean_over_its_seeds(home: Home) -> None:
    search = opened(home)
    run(search, 1)
    assert search.study.get_trials()[0].value == pytest.approx(bowl(RECIPE) + 0.01)


def test_the_sampler_learns_from_the_finished_trials(home: Home) -> None:
    search = opened(home)
    run(search, 25)
    means = [trial.mean for trial in search.trials()]
    assert sorted(means[15:])[5] < sorted(means[1:6])[2] / 4  # medians of the last ten and of the random five


def test_a_search_that_is_opened_anew_for_each_trial_makes_the_same_trials(home: Home, tmp_path: Path) -> None:
    run(opened(home), 9)
    again = Home(tmp_path / "again")
    for _ in range(9):
        run(opened(again), 9, most=1)
    assert opened(again).trials() == opened(home).trials()


def test_another_variant_is_given_the_same_random_points(home: Home) -> None:
    run(opened(home), 5)
    run(opened(home, name="word2vec f00d"), 5, lambda values: -bowl(values))
    ones, others = (opened(home, name=name).trials() for name in ("random f00d", "word2vec f00d"))
    assert [trial.values for trial in ones] == [trial.values for trial in others]


def test_a_trial_that_a_dead_process_left_running_is_gone_on_with(home: Home) -> None:
    dead = opened(home)
    run(dead, 1)
    left = dead.next(12)
    assert left is not None
    dead.report(left.number, 1001, 0.5)
    search = opened(home)
    taken = search.next(12)
    assert taken is not None
    assert (taken.number, taken.values, taken.seeds) == (left.number, left.values, {1001: 0.5})
    for seed in SEEDS[1:]:
        search.report(taken.number, seed, 0.6)
    search.end(taken.number, "complete")
    assert len(search.trials()) == 2 and search.trials()[1].mean == pytest.approx(1.7 / 3)


@pytest.mark.parametrize(
    ("worse_by", "pruned"),
    [
        ((0.1,), False),  # one seed can show nothing
        ((0.1, 0.2), True),  # both worse: p = 1/4
        ((0.1, -0.2), False),
        ((-0.1, -0.2), False),
        ((0.0, 0.0), False),
        ((0.1, 0.2, -0.3), False),  # ranks 1 + 2 against 3: p = 5/8
    ],
)
def test_a_trial_is_pruned_where_it_is_worse_on_the_same_seeds(
    home: Home, worse_by: tuple[float, ...], pruned: bool
) -> None:
    search = opened(home)
    run(search, 1)
    trial = search.next(2)
    assert trial is not None
    for place, more in enumerate(worse_by):
        search.report(trial.number, SEEDS[place], bowl(RECIPE) + 0.01 * place + more)
    assert search.should_prune(trial.number) is pruned


@pytest.mark.parametrize("state", ["pruned", "diverged"])
def test_a_trial_that_was_stopped_or_diverged_counts_and_is_marked(home: Home, state: str) -> None:
    search = opened(home)
    run(search, 1)
    trial = search.next(3)
    assert trial is not None
    search.report(trial.number, 1001, 9.0)
    search.end(trial.number, state)
    assert [t.state for t in opened(home).counted()] == ["complete", state]
    # ranked last by the sampler, not forgotten
    assert search.study.get_trials()[1].state == TrialState.PRUNED
    run(search, 3)
    assert len(search.trials()) == 3


def test_a_trial_that_failed_for_another_reason_does_not_count_and_the_recipe_is_tried_again(home: Home) -> None:
    search = opened(home)
    first = search.next(2)
    assert first is not None
    search.end(first.number, "failed")
    assert search.counted() == []
    run(search, 2)
    assert [t.state for t in search.trials()] == ["failed", "complete", "complete"]
    assert search.counted()[0].values == RECIPE


def test_a_short_list_is_tried_through_each_point_once(home: Home) -> None:
    space: Space = {"lr": (0.001, 0.003, 0.01), "how": ("all", "last")}
    search = opened(home, space, {"lr": 0.003, "how": "last"})
    run(search, 12, lambda values: float(values["lr"]))
    tried = [trial.values for trial in search.trials()]
    assert tried[0] == {"lr": 0.003, "how": "last"}
    assert sorted(map(str, tried)) == sorted(map(str, list_points(space)))
    assert search.done(12) and search.allowed(12) == count_points(space) == 6


def test_the_same_search_goes_on_once_its_winner_is_declared_and_another_recipe_begins_another(home: Home) -> None:
    run(opened(home), 8)
    best = min(opened(home).trials(), key=lambda trial: trial.mean)
    assert best.values != RECIPE
    assert len(opened(home, recipe=best.values).trials()) == 8
    other = opened(home, recipe=RECIPE | {"lr": 0.5})
    assert other.trials() == []
    run(other, 1)
    assert opened(home, recipe=RECIPE | {"lr": 0.5}).trials() == other.trials()
    assert len(opened(home).trials()) == 8


def test_importance_falls_to_the_field_that_decides(home: Home) -> None:
    search = opened(home)
    run(search, 12)
    found = search.importance(12)
    assert list(found) == list(SPACE)
    assert max(found, key=found.__getitem__) == "lr" and found["lr"] > 0.5
    assert sum(found.values()) == pytest.approx(1, abs=0.001)
    assert found == opened(home).importance(12)


def test_trials_that_do_not_differ_show_no_importance(home: Home) -> None:
    search = opened(home)
    run(search, 3, lambda values: 0.5)
    assert search.importance(3) == {}


def test_a_point_apart_differs_in_every_field() -> None:
    for point in (RECIPE, {"lr": 1e-4, "size": 4, "how": "last"}, {"lr": 1.0, "size": 32, "how": "all"}):
        other = point_differing_everywhere(SPACE, point)
        assert all(other[path] != point[path] and other[path] in values for path, values in SPACE.items())
