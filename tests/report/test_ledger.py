"""The ledger says of every claim what its runs say, with what they could have said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from ulmfit_lab.analysis.comparisons import compare_variants
from ulmfit_lab.analysis.run_table import runs_frame
from ulmfit_lab.analysis.spec import Expectation, Margin, Published, ReportSpec
from ulmfit_lab.analysis.statistics import ALPHA, Verdict, effect_power, seeds_for_power, smallest_difference
from ulmfit_lab.report.association_words import association_verdicts
from ulmfit_lab.report.figures import save_figure
from ulmfit_lab.report.ledger import (
    DECLARED_HEADER,
    RESULT_HEADER,
    Entry,
    Result,
    ledger_control,
    ledger_row,
    ledger_text,
    result_of,
)
from ulmfit_lab.report.ledger_figure import draw_ledger, orient_difference
from ulmfit_lab.report.repetitions import repetition_part

CONTRAST = ("word2vec", "random", "1000")


def entry(result: Result | None) -> Entry:
    return Entry("vectors", "They do.", "A lecture, 58:20", "Do they?", "vectors", result)


def cells(result: Result) -> dict[str, str]:
    """Column -> cell."""
    return dict(zip(("claim", "source", *RESULT_HEADER), ledger_row(entry(result)), strict=True))


def declared_row(spec: ReportSpec | None) -> dict[str, str]:
    """Column -> cell, without runs."""
    columns = ("claim", "source", *DECLARED_HEADER)
    return dict(zip(columns, ledger_row(replace(entry(None), declared=spec)), strict=True))


def test_a_row_holds_claim_verdict_effect_published_and_cost(runs: pd.DataFrame, spec: ReportSpec) -> None:
    (row,) = [row for row in compare_variants(runs, spec) if row.level == "1000" and row.variant == "word2vec"]
    told = cells(result_of(runs, spec, [CONTRAST]))
    assert told["claim"] == "They do." and told["source"] == "A lecture, 58:20"
    assert "[table](vectors/table.md)" in told["experiment"] and "[figure](vectors/figure.svg)" in told["experiment"]
    assert told["verdict"] == "word2vec - random (labels 1,000): **better**" and told["n"] == "6"
    assert told["difference"] == f"{row.result.difference:+.2f} ({row.result.low:+.2f} to {row.result.high:+.2f})"
    assert told["detectable difference"] == "-"
    assert told["published"].startswith("word2vec - random (labels 1,000): published -2.50, here -")
    assert told["published"].endswith(": not compatible; a paper")
    assert told["cost"] == "12 s"  # 36 runs of a third of a second


def test_where_nothing_was_shown_the_power_is_that_of_the_hardest_test(runs: pd.DataFrame, spec: ReportSpec) -> None:
    seeds = runs["seed"].to_numpy()
    noisy = runs.assign(**{"final/error": 0.3 + 0.02 * ((7 * runs.index.to_numpy() + seeds) % 5)})
    result = result_of(noisy, spec, [CONTRAST])
    (headline,) = result.headlines
    assert headline.row.verdict == "no difference shown"
    assert headline.smallest == smallest_difference(headline.row.result.sd, 6, alpha=ALPHA / 2)  # at two levels
    assert cells(result)["detectable difference"] == f"{headline.smallest:.2f}"


def test_too_few_seeds_could_have_shown_nothing(
    runs_of: Callable[[ReportSpec], pd.DataFrame], spec_with: Callable[..., ReportSpec]
) -> None:
    spec = spec_with(seeds=(0, 1))
    told = cells(result_of(runs_of(spec), spec, [CONTRAST]))
    assert (told["detectable difference"], told["n"]) == ("none", "2") and "too few seeds" in told["verdict"]


def test_contrasts_come_in_the_order_in_which_they_are_asked_for(runs: pd.DataFrame, spec: ReportSpec) -> None:
    asked = [CONTRAST, ("word2vec", "random", "100")]
    result = result_of(runs, spec, asked)
    assert [(h.row.variant, h.row.against, h.row.level) for h in result.headlines] == asked
    assert cells(result)["verdict"].count("<br>") == 1


def test_many_published_figures_are_counted(runs: pd.DataFrame, spec_with: Callable[..., ReportSpec]) -> None:
    published = [
        Published(variant="tf-idf", against="random", what="x", value=v, source="a paper") for v in (-1, -2, 3)
    ]
    more = [Published(variant="tf-idf", against="word2vec", what="x", value=v, source="a paper") for v in (-1, 2, 3)]
    spec = spec_with(published=(*published, *more))
    told = cells(result_of(runs, spec, [CONTRAST]))["published"].split("<br>")
    assert len(told) == 4 and told[-1] == "3 more in the table, 0 of them compatible"
    assert all("not compatible" in line for line in told[:3])


def test_published_figures_of_the_headline_are_preferred(
    runs: pd.DataFrame, spec_with: Callable[..., ReportSpec]
) -> None:
    both = (
        Published(variant="tf-idf", against="random", what="x", value=-1.0, source="another paper"),
        Published(variant="random", against="word2vec", what="x", value=1.0, source="a paper"),  # the other way round
    )
    spec = spec_with(published=both)
    assert [row.level for _, row, _ in result_of(runs, spec, [CONTRAST]).published] == ["1000"]
    told = cells(result_of(runs, spec, [CONTRAST]))["published"]
    assert told.startswith("random - word2vec (labels 1,000): published +1.00") and "not compatible; a paper" in told


def test_what_is_associated_has_its_verdicts_in_the_row(associated: tuple[pd.DataFrame, ReportSpec]) -> None:
    runs, spec = associated
    told = cells(result_of(runs_frame(runs), spec, []))["verdict"].split("<br>")
    assert told == association_verdicts(runs_frame(runs), spec) and told[0].startswith("Variability over seeds: ")


def test_the_claims_of_the_whole_ledger_are_corrected_together(runs: pd.DataFrame, spec: ReportSpec) -> None:
    """A p of .03 is shown alone; beside one of .04 and one of .9, Holm's first step asks for .05 / 3."""
    result = result_of(runs, spec, [CONTRAST])
    assert ledger_control([entry(result)]).endswith("better or worse: 1; with a correction over all 1 (Holm): 1.")
    (headline,) = result.headlines

    def of(p: float, verdict: Verdict) -> Entry:
        row = replace(headline.row, verdict=verdict, result=replace(headline.row.result, p=p))
        return entry(replace(result, headlines=(replace(headline, row=row),)))

    three = [of(0.03, "better"), of(0.04, "better"), of(0.9, "no difference shown")]
    assert ledger_control(three).endswith("better or worse: 2; with a correction over all 3 (Holm): 0.")
    assert ledger_control([of(0.001, "better"), *three[1:]]).endswith("(Holm): 1.")
    assert ledger_control([entry(None)]) == "" and ledger_control([of(float("nan"), "not replicated")]) == ""


def test_an_experiment_without_runs_is_not_run_yet(runs: pd.DataFrame, spec: ReportSpec) -> None:
    assert declared_row(None)["power"] == "not planned"
    found = result_of(runs, spec, [CONTRAST])
    text = ledger_text([entry(None), entry(found)], "ledger.svg")
    assert "2 rows of claims: 1 with results, 1 declared and not run." in text
    assert "![" in text and text.count("\n| ") == 4  # two headers and two rows
    assert text.index("## Claims with results") < text.index("## Claims declared, not run")
    assert "![" not in ledger_text([entry(None)], "")


def test_an_experiment_that_only_asks_is_not_counted_among_the_claims(runs: pd.DataFrame, spec: ReportSpec) -> None:
    found = result_of(runs, spec, [CONTRAST])
    asked = [replace(entry(each), claim="", source="") for each in (found, None)]
    text = ledger_text(asked, "ledger.svg")
    assert "0 rows of claims" in text and "Over the whole ledger" not in text and "## Claims with" not in text
    rows = [ledger_row(each) for each in asked]
    assert [row[0] for row in rows] == ["Do they?"] * 2 and [len(row) for row in rows] == [1 + len(RESULT_HEADER)] * 2
    assert "**better**" in rows[0][2] and rows[1][2] == "not run yet"


def test_a_declared_experiment_says_what_it_can_show_and_what_it_costs(spec_with: Callable[..., ReportSpec]) -> None:
    """By hand: 8 pairs and one test detect 1.156 sd with a power of 80% (noncentral t), so 2 of sd 1.5 in 90%."""
    expected = Expectation(sd=1.5, source="a pilot", core_hours=3.5, changes_mind="a loss")
    one = (("word2vec", "random", "1000"),)
    margin = Margin("word2vec", "random", 3.0, "a reason")
    spec = spec_with(seeds=range(8), primary=one, expected=expected, smallest_difference=2.0, margins=(margin,))
    told = declared_row(spec)
    power, equivalent = told["power"].split("<br>")
    assert power == "90% to detect a difference of 2" and "within 3 of random" in equivalent
    assert told["expected sd"] == "1.5: a pilot" and told["would change our mind"] == "a loss"
    assert told["n"] == "8" and told["detectable difference"] == "1.73"
    assert told["cost"] == "about 3.5 core-hours"
    small = replace(spec, smallest_difference=1.0)
    lines = declared_row(small)["power"].split("<br>")
    needed = seeds_for_power(1 / 1.5)
    assert lines[1] == f"cannot show it: that takes n = {needed}" and needed is not None
    assert effect_power(1 / 1.5, needed, ALPHA) >= 0.8 > effect_power(1 / 1.5, needed - 1, ALPHA)
    nested = replace(spec, language_models=3)
    assert declared_row(nested)["n"] == "3"


def test_left_of_zero_is_better_in_percent_of_the_variant_compared_with(runs: pd.DataFrame, spec: ReportSpec) -> None:
    (headline,) = result_of(runs, spec, [CONTRAST]).headlines
    against = 100 * runs[(runs["variant"] == "random") & (runs["level"] == "1000")]["final/error"].mean()
    middle, low, high = orient_difference(headline, spec)
    assert middle == pytest.approx(100 * headline.row.result.difference / against)
    assert low < middle < high < 0
    turned = orient_difference(headline, replace(spec, lower_is_better=False))
    assert turned == pytest.approx((-middle, -high, -low))
    assert math.isnan(replace(headline, against_mean=0.0).percent(1.0))


def test_the_figure_is_the_same_bytes_twice_and_tells_verdicts_apart(
    runs_of: Callable[[ReportSpec], pd.DataFrame], spec_with: Callable[..., ReportSpec], runs: pd.DataFrame
) -> None:
    few = spec_with(seeds=(0,))
    found = [
        entry(result_of(runs, spec_with(), [CONTRAST])),
        entry(result_of(runs_of(few), few, [CONTRAST])),
        entry(None),
    ]
    one, two = (save_figure(lambda: draw_ledger(found), "ledger") for _ in range(2))
    assert one == two and sorted(one) == ["ledger.png", "ledger.svg"]
    axis = draw_ledger(found).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["better", "too few seeds"]
    marks = {(line.get_marker(), line.get_markerfacecolor() == "white") for line in axis.get_legend().get_lines()}
    assert len(marks) == 2
    assert len(axis.get_yticklabels()) == 4


def test_decisions_at_twice_the_width_stand_beside_those_of_the_small_scale(
    runs: pd.DataFrame,
    spec: ReportSpec,
    spec_with: Callable[..., ReportSpec],
    runs_of: Callable[[ReportSpec], pd.DataFrame],
) -> None:
    expected = Expectation(sd=2.0, source="a guess", core_hours=31.0, changes_mind="another decision")
    small = entry(result_of(runs, spec, [CONTRAST, ("word2vec", "random", "100")]))
    turned = runs.assign(**{spec.metric: 1 - runs[spec.metric]})  # what was better is worse
    wide = [
        replace(small, scale="wide", result=result_of(turned, replace(spec, scale="wide"), [CONTRAST])),
        replace(
            small, scale="wide", result=small.result and replace(small.result, headlines=small.result.headlines[1:])
        ),
        replace(
            entry(None), name="unrun", scale="wide", declared=spec_with(expected=expected, smallest_difference=3.0)
        ),
    ]
    title, table, count = repetition_part([small, *wide])
    other, same, unrun = table.splitlines()[2:]
    assert "| word2vec - random (labels 1,000) | **better**, -" in other and "**worse**, +" in other and "no |" in other
    assert same.endswith("| yes |") and count == "Decisions that are the same: 1 of 2."
    assert "| `unrun` | " in unrun and "| not run | not run: n = 6; " in unrun and "about 31 core-hours" in unrun
    assert repetition_part([small]) == []
    # what was not decided at either scale is no decision that is the same
    few = spec_with(seeds=(0, 1))
    undecided = entry(result_of(runs_of(few), few, [CONTRAST]))
    _, table = repetition_part([undecided, replace(undecided, scale="wide")])
    assert table.splitlines()[2].endswith("|  |")
    text = ledger_text([small, *wide], "", (), [title, table, count])
    assert "1 rows of claims" in text and text.index(title) > text.index("## Claims with results")
