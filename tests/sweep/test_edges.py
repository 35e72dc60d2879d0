"""A search whose best trial is at an edge goes on in a wider range, up to a declared limit, and says what remains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ulmfit_lab.analysis.tuning_table import chosen, read_tuning
from ulmfit_lab.cli import main
from ulmfit_lab.config.scales import SCALES
from ulmfit_lab.experiment.declaration import Experiment, Search
from ulmfit_lab.experiment.search_space import Range, at_edge, format_space, widen
from ulmfit_lab.report.tables import tuning_part
from ulmfit_lab.sweep.tuning import TuningResult, add_earlier_trials, widen_search
from ulmfit_lab.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "value", "edge"),
    [
        (Range(0.001, 0.1, log=True), 0.001, "lower"),
        (Range(0.001, 0.1, log=True), 0.0012, "lower"),  # log10 of 1.2 is 0.08 of two decades
        (Range(0.001, 0.1, log=True), 0.01, ""),
        (Range(0.001, 0.1, log=True), 0.099, "upper"),
        (Range(0.0, 1.0), 0.04, "lower"),
        (Range(0.0, 1.0), 0.06, ""),
        ([0.003, 0.007, 0.015], 0.015, "upper"),
        ([0.003, 0.007, 0.015], 0.007, ""),
        ([0.003, 0.015], 0.015, ""),
        (["a", "b", "c"], "a", ""),
        ({"low": 1.0, "high": 2.0, "log": False}, 2.0, "upper"),
    ],
)
def test_an_edge_is_five_percent_of_a_range_or_the_end_of_a_list(values: Any, value: Any, edge: str) -> None:
    assert at_edge(values, value) == edge


def test_a_range_is_widened_up_to_its_limit_and_no_further() -> None:
    limit = Range(0.0005, 0.1, log=True)
    wider = widen(Range(0.003, 0.01, log=True), "upper", limit)
    assert wider == Range(0.003, 0.04, log=True)
    assert widen(wider, "upper", limit) == Range(0.003, 0.1, log=True)
    assert widen(Range(0.003, 0.1, log=True), "upper", limit) == Range(0.003, 0.1, log=True)
    assert widen(Range(0.003, 0.01, log=True), "lower", limit) == Range(0.00075, 0.01, log=True)
    assert widen(Range(1, 3), "upper", Range(1, 20)) == Range(1, 9)
    assert widen(Range(1, 3), "lower", Range(0, 20)) == Range(0, 3)


def test_a_limit_must_contain_a_searched_range(experiment: Experiment) -> None:
    space = {"classifier.lr": Range(0.001, 0.01, log=True)}
    for widest in ({"classifier.lr": Range(0.002, 0.1)}, {"classifier.epochs": Range(1, 9)}):
        with pytest.raises(ConfigError, match=r"search.widest of classifier\.\w+ is .* it must contain a Range"):
            replace(experiment, search=Search(space=space, widest=widest))


def test_an_edge_is_widened_once_and_a_range_of_its_own_widens_nothing(experiment: Experiment) -> None:
    """Three variants have their best trial at the same edge; a fourth at that of a range of its own."""
    path, own = "classifier.lr", Range(0.1, 0.2, log=True)
    variants = {name: {"classifier.epochs": epochs} for epochs, name in enumerate("abcd", 1)}
    search = Search(
        space={path: Range(0.001, 0.01, log=True)},
        for_variants={"d": {path: own}},
        widest={path: Range(1e-5, 0.9, log=True)},
    )
    declared = replace(experiment, variants=variants, baseline="a", search=search, tuned={})
    facts = {"space": format_space(search.space), "space_of": {"d": format_space({path: own})}}
    for best, wider in ((0.0099, Range(0.001, 0.04, log=True)), (0.004, None)):
        rows = [(name, best if name != "d" else 0.199) for name in "abcd"]
        table = pd.DataFrame(
            [
                {"variant": v, "trial": 0, path: lr, "valid_error": 0.2, "seeds": 3, "state": "complete"}
                for v, lr in rows
            ]
        )
        found = widen_search(declared, TuningResult(table=table, facts=facts))
        assert (found.search.space[path] if found else None) == wider


def test_a_report_marks_a_recipe_from_an_edge() -> None:
    table = pd.DataFrame(
        {
            "variant": ["a", "a", "b", "b"],
            "trial": [0, 1, 0, 1],
            "classifier.lr": [0.003, 0.0099, 0.004, 0.003],
            "valid_error": [0.3, 0.2, 0.1, 0.2],
            "seeds": [3, 3, 3, 3],
            "state": ["complete"] * 4,
        }
    )
    facts = {"space": {"classifier.lr": {"low": 0.001, "high": 0.01, "log": True}}}
    text = tuning_part(table, facts)[2]
    assert "| a | 1 | 0.0099 | 20.00 | chosen, at the edge of classifier.lr |" in text
    assert "| b | 0 | 0.004 | 10.00 | chosen |" in text


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_goes_on_while_the_best_is_at_an_edge_and_keeps_its_trials(
    experiment: Experiment, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any, workers: int
) -> None:
    # rates so small that nothing is learned: a larger one is better, as far as the limit
    fields = {"name": "edge", "question": "?", "baseline": "random", "seeds": (0,), "scales": experiment.scales}
    names = ("random", "b", "own")
    variants = {name: {"classifier.init": "random", "classifier.epochs": n} for n, name in enumerate(names, 1)}
    rates = dict(zip(names, (2e-7, 1.5e-7, 2e-6), strict=True))
    tuned = {scale: {name: {"classifier.lr": rate} for name, rate in rates.items()} for scale in SCALES}
    source = (
        "from ulmfit_lab.experiment import Experiment, Range, Search\n"
        f"EXPERIMENT = Experiment(**{fields!r}, variants={variants!r}, "
        f"tuned={tuned!r}, search=Search(space={{'classifier.lr': Range(1e-7, 2e-7, log=True)}}, budget=3, "
        "for_variants={'own': {'classifier.lr': Range(1e-6, 3e-6, log=True)}}, "
        "seeds=(1001, 1002, 1003), metric='final/valid_loss', widest={'classifier.lr': Range(1e-9, 1e-6, log=True)}))\n"
    )
    (tmp_path / "edge.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = ["tune", "edge.py", "--scale", "tiny", "--home", str(tmp_path / "home"), "--workers", str(workers)]
    assert main(command) == 0
    shown = capfd.readouterr()
    assert shown.err.count("widening the search to classifier.lr 1e-07 to 8e-07, logarithmic") == 1
    folder = next(tmp_path.glob("results/**/tuning.csv")).parent
    table, facts = read_tuning(folder)
    assert table is not None
    trials = {str(variant): list(rows["trial"]) for variant, rows in table.groupby("variant")}
    assert trials == {"random": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4], "own": [0, 1, 2, 3, 4, 5]}, "the recipe once"
    rates_of = table.loc[table["variant"] != "own"].set_index("trial")["classifier.lr"]
    assert (
        rates_of[:2].max() <= 2e-7 < rates_of.max()
        and table.loc[table["variant"] == "own", "classifier.lr"].min() >= 1e-6
    )
    assert facts["budget"] == 6 and facts["space"]["classifier.lr"]["high"] == 8e-7
    assert [space["classifier.lr"]["high"] for space in facts["narrower_spaces"]] == [2e-7]
    text = " ".join(tuning_part(table, facts))
    assert "Searched before in classifier.lr (1e-07 to 2e-07, logarithmic), with a best trial at an edge" in text
    again = next(tmp_path.glob("results/**/tuning.csv")).read_bytes()
    assert main(command) == 0
    assert (folder / "tuning.csv").read_bytes() == again


def test_the_best_of_narrower_ranges_is_chosen_and_a_complete_trial_before_a_pruned_one() -> None:
    def outcome(rows: list[tuple[str, float, float, str]], high: float) -> TuningResult:
        names = ("variant", "classifier.lr", "valid_error", "state")
        table = pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows]).assign(seeds=3, trial=0)
        table = table[["variant", "trial", "classifier.lr", "valid_error", "seeds", "state"]]
        space = format_space({"classifier.lr": Range(0.001, high, log=True)})
        return TuningResult(table=table, facts={"budget": 2, "space": space})

    narrow = outcome([("a", 0.003, 0.3, "pruned"), ("a", 0.0099, 0.2, "complete"), ("b", 0.003, 0.1, "complete")], 0.01)
    wide = outcome([("a", 0.003, 0.31, "complete"), ("a", 0.02, 0.25, "complete"), ("b", 0.003, 0.1, "complete")], 0.04)
    both = add_earlier_trials(wide, narrow).table
    assert both is not None
    assert both[["variant", "trial", "classifier.lr", "valid_error"]].to_numpy().tolist() == [
        ["a", 0, 0.0099, 0.2],
        ["a", 1, 0.003, 0.31],
        ["a", 2, 0.02, 0.25],
        ["b", 0, 0.003, 0.1],
    ]
    assert chosen(both) == [0, 3]
    assert add_earlier_trials(TuningResult(), narrow).table is None
