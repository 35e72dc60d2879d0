"""Cells and parts of the tables, as text."""

from __future__ import annotations

import io
from collections.abc import Callable

import pandas as pd
import pytest
from rich.console import Console

from ulmfit_lab.analysis.comparisons import Comparison, compare_variants
from ulmfit_lab.analysis.run_table import check_grid, runs_frame
from ulmfit_lab.analysis.spec import ExtraMetric, ReportSpec
from ulmfit_lab.analysis.statistics import PairedResult, Summary
from ulmfit_lab.report.tables import (
    comparison_row,
    describe_tests,
    format_duration,
    format_facts,
    format_further_seeds,
    markdown,
    markdown_report,
    mean_sd,
    print_report,
    tuning_part,
)
from ulmfit_lab.report.terminal_tables import text_table
from ulmfit_lab.utils.errors import IncompleteError

NAN = float("nan")


def row(**changes: object) -> Comparison:
    fields: dict[str, object] = {
        "level": "1000",
        "variant": "word2vec",
        "against": "random",
        "result": PairedResult(-1.234, -2.0, -0.001, 1.0, 0.01, 6),
        "corrected_p": 0.02,
        "verdict": "better",
        "further_seeds": None,
    }
    return Comparison(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_summary_in_a_cell(spec: ReportSpec) -> None:
    assert mean_sd(Summary(12.345, 0.5, 0, 0, 6), spec) == "12.35 ± 0.50 (6)"
    assert mean_sd(Summary(12.0, NAN, NAN, NAN, 1), spec) == "12.00 (1)"


def test_a_loss_is_shown_with_more_decimals(spec_with: Callable[..., ReportSpec]) -> None:
    assert mean_sd(Summary(3.9124, 0.0123, 0, 0, 6), spec_with(metric_scale=1.0)) == "3.912 ± 0.012 (6)"


def test_a_comparison_in_cells(spec: ReportSpec) -> None:
    # what rounds to zero must not look negative
    assert comparison_row(row(), spec) == [
        "word2vec", "random", "1,000", "-1.23", "-2.00 to +0.00", "0.0200", "better", "6", "decided",
    ]  # fmt: skip


def test_a_comparison_of_one_seed_has_empty_cells(spec: ReportSpec) -> None:
    single = row(result=PairedResult(-1.0, NAN, NAN, NAN, NAN, 1), corrected_p=NAN, verdict="too few seeds")
    assert comparison_row(single, spec)[3:] == ["-1.00", "", "", "too few seeds", "1", "unknown"]


@pytest.mark.parametrize(("further", "words"), [(12, "12"), (1001, "more than 1000"), (None, "unknown")])
def test_further_seeds_in_words(further: int | None, words: str) -> None:
    assert format_further_seeds(row(verdict="no difference shown", further_seeds=further)) == words


def test_sides_that_are_equal_with_every_seed_are_named(spec: ReportSpec) -> None:
    same = row(result=PairedResult(0.0, 0.0, 0.0, 0.0, NAN, 6), verdict="no difference shown")
    named = "The sides of word2vec - random at labels 1,000 have the same value with every seed"
    assert named in describe_tests([same], spec) and named not in describe_tests([row()], spec)


def test_markdown_cells_cannot_break_the_table() -> None:
    assert markdown(["a"], [["x | y\nz"]]) == "| a |\n|---|\n| x \\| y z |"


def test_the_report_says_what_was_asked_claimed_and_found(runs: pd.DataFrame, spec: ReportSpec) -> None:
    text = markdown_report(runs_frame(runs), spec)
    for part in ("Do word vectors help?", "> They do.", "> A lecture, 58:20", "- A note.", "Data: target imdb (train)"):
        assert part in text
    assert "**Over 6 paired seeds, word2vec is better than random at every level of labels.**" in text
    assert "| variant | labels 100 | labels 1,000 |" in text
    # word2vec at 100 is 45 plus 1.3, -1.5, 0.1, 1.9, -1.6, 0.2 by seed: the mean is 45 + 0.4 / 6, the squares sum to
    # 10.16, so the sd is sqrt((10.16 - 0.4^2 / 6) / 5)
    assert "| word2vec | 45.07 ± 1.42 (6) |" in text
    assert "| word2vec - random | 100 | -5.00 (-5.47 to -4.53) | -2.50 | not compatible | IMDb | a paper |" in text


def test_a_further_number_is_shown_in_its_own_unit_and_not_tested(
    runs: pd.DataFrame, spec_with: Callable[..., ReportSpec]
) -> None:
    also = ExtraMetric(metric="reused_seconds", label="Saved (h)", scale=1 / 3600)
    text = markdown_report(runs_frame(runs), spec_with(extra_metrics=(also,)))
    assert "## Saved (h)\n\nFurther metric, not tested." in text
    assert text.count("| word2vec | 0.017 ± 0.000 (6) | 0.017 ± 0.000 (6) |") == 1
    assert text.count("| adjusted p |") == 1  # of the metric's comparisons
    with pytest.raises(IncompleteError, match="no run has the metric 'final/padding'"):
        check_grid(runs, spec_with(extra_metrics=(ExtraMetric(metric="final/padding", label="Padding"),)))


def test_a_report_without_levels_has_no_column_for_them(
    runs_of: Callable[[ReportSpec], pd.DataFrame], spec_with: Callable[..., ReportSpec]
) -> None:
    spec = spec_with(levels=("",), level_name="", level_label="")
    text = markdown_report(runs_frame(runs_of(spec)), spec)
    assert "| variant | result |" in text
    assert "| variant | against | difference (points) |" in text


def test_cost_and_code_are_summed_over_runs(runs: pd.DataFrame, spec: ReportSpec) -> None:
    runs.loc[0, ["commit", "dirty"]] = ["beef" * 10, "true"]
    lines = format_facts(runs_frame(runs), spec)
    assert "36 runs at scale `tiny`: 3 variants, 2 levels of labels, seeds 0, 1, 2, 3, 4, 5." in lines
    assert "Compute time 12 s; reused stages saved 36.0 min." in lines
    assert "Commit beefbeefbe (1 runs), c0ffeec0ff (35 runs); 1 of 36 runs had uncommitted changes." in lines


def test_a_path_of_the_user_is_not_shown(runs: pd.DataFrame, spec: ReportSpec) -> None:
    mine = runs.assign(**{"param/target.path": "/home/me/secret.csv"})
    text = "\n".join(format_facts(runs_frame(mine), spec))
    assert "target own files" in text and "secret" not in text


def test_data_that_a_language_model_alone_never_reads_is_not_listed(runs: pd.DataFrame, spec: ReportSpec) -> None:
    alone = runs.assign(
        **{"param/last_stage": "pretrained", "param/general.name": "wiki", "param/general.split": "all"}
    )
    assert "Data: general wiki (all)." in format_facts(runs_frame(alone), spec)


@pytest.mark.parametrize(("seconds", "words"), [(119.4, "119 s"), (120, "2.0 min"), (7200, "2.0 h")])
def test_duration(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_recipes_show_every_try_and_the_lowest_error_as_chosen() -> None:
    tuning = pd.DataFrame(
        {
            "variant": ["a", "a", "b", "b"],
            "classifier.lr": [0.001, 0.01, 0.001, 0.01],
            "classifier.schedule": ["slanted"] * 4,
            "valid_error": [0.31, 0.30, 0.2, 0.2],
            "seeds": [2, 2, 2, 2],
        }
    )
    title, text, table = tuning_part(tuning)
    assert title == "## Hyperparameter search"
    assert "2 trials per variant, each with 2 seeds" in text
    assert table.splitlines()[2:] == [
        "| a | 0.001 | slanted | 31.00 |  |",
        "| a | 0.01 | slanted | 30.00 | chosen |",
        "| b | 0.001 | slanted | 20.00 | chosen |",
        "| b | 0.01 | slanted | 20.00 |  |",
    ]
    assert tuning_part(None) == []


def test_a_variants_own_range_is_told() -> None:
    tuning = pd.DataFrame(
        {"variant": ["a", "b"], "pretraining.lr": [0.01, 10.0], "valid_loss": [4, 5], "seeds": [1, 1]}
    )
    searched = {"space": {"pretraining.lr": [0.01, 0.03]}, "space_of": {"b": {"pretraining.lr": [10.0, 30.0]}}}
    assert (
        "Tuned: pretraining.lr (one of 0.01, 0.03). b: pretraining.lr (one of 10, 30)."
        in tuning_part(tuning, searched)[1]
    )


def test_of_a_search_the_three_best_complete_trials_of_each_variant_are_shown() -> None:
    tuning = pd.DataFrame(
        {
            "variant": ["b"] * 5 + ["a"] * 5,
            "trial": [*range(5)] * 2,
            "classifier.lr": [0.001, 0.01, 0.02, 0.03, 0.04] * 2,
            "valid_error": [0.31, 0.30, 0.1, 0.33, 0.32, 0.2, 0.2, NAN, 0.19, 0.5],
            "seeds": [3, 3, 2, 3, 3, 3, 3, 0, 3, 3],
            "state": ["complete", "complete", "pruned", *["complete"] * 4, "diverged", *["complete"] * 2],
        }
    )
    space = {"classifier.lr": {"low": 0.0001, "high": 0.1, "log": True}}
    _, text, table = tuning_part(tuning, {"space": space, "level": {"target.n_labels": 500}})
    assert "Tuned at target.n_labels = 500: classifier.lr (0.0001 to 0.1, logarithmic)." in text
    assert "5 trials per variant, each with 3 seeds" in text
    assert "Of 10 trials, pruned: 1; diverged: 1." in text
    assert table.splitlines() == [
        "| variant | trial | classifier.lr | validation error (%) |  |",
        "|---|---|---|---|---|",
        "| b | 1 | 0.01 | 30.00 | chosen |",
        "| b | 0 | 0.001 | 31.00 |  |",
        "| b | 4 | 0.04 | 32.00 |  |",
        "| a | 3 | 0.03 | 19.00 | chosen |",
        "| a | 0 | 0.001 | 20.00 |  |",
        "| a | 1 | 0.01 | 20.00 |  |",
    ]


def test_the_terminal_shows_names_as_they_are_within_its_width(
    runs_of: Callable[[ReportSpec], pd.DataFrame], spec_with: Callable[..., ReportSpec]
) -> None:
    spec = spec_with(variants=("random", "[bold]x[/bold]"), reference=None, contrasts=(), published=())
    console = Console(file=io.StringIO(), width=100)
    print_report(runs_of(spec), spec, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]x[/bold] - random" in shown
    assert "Over 6 paired seeds" in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_name_or_number_is_cut_at_any_width(
    runs_of: Callable[[ReportSpec], pd.DataFrame], spec_with: Callable[..., ReportSpec], width: int
) -> None:
    names = ("from scratch", "a language model with a long name")
    spec = spec_with(variants=names, baseline=names[0], reference=None, contrasts=(), published=())
    console = Console(file=io.StringIO(), width=width)
    print_report(runs_of(spec), spec, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= width
    words = shown.replace(",", "").split()
    for row in compare_variants(check_grid(runs_of(spec), spec), spec):
        assert f"{row.variant} - {row.against}" in shown
        assert f"{row.result.low:+.2f}" in words and f"{row.result.high:+.2f}" in words
        assert str(row.verdict) in " ".join(shown.split())


def test_the_terminal_refuses_holes(runs: pd.DataFrame, spec: ReportSpec) -> None:
    with pytest.raises(IncompleteError):
        print_report(runs.iloc[1:], spec)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_narrow_values_leave_the_names_of_the_rows_whole(width: int) -> None:
    drawn = io.StringIO()
    console = Console(width=width, file=drawn)
    runs = [f"word2vec_vs_lm\nfine-tuned LM @ 500, seed {seed}\n6ca1886{seed}" for seed in range(3)]
    console.print(text_table(["field", *runs], [["classifier.init", *["fine-tuned"] * 3]], narrow_values=True))
    lines = drawn.getvalue().splitlines()
    assert any(line.startswith("classifier.init") for line in lines)
    assert max(map(len, lines)) <= width and "…" not in "".join(lines)


def test_the_holdout_is_reported_beside_the_test_set_and_says_where_they_disagree(
    runs: pd.DataFrame, spec: ReportSpec
) -> None:
    assert "## Holdout" not in markdown_report(check_grid(runs, spec), spec)
    shifted = runs["final/error"].where(runs["variant"] != "word2vec", 0.3 + 0.001 * runs["seed"])
    both = check_grid(runs.assign(**{"final/holdout_error": shifted}), spec)
    report = markdown_report(both, spec).partition("## Holdout")[2]
    differing = [line for line in report.splitlines() if "; holdout: " in line and line.startswith("| word2vec")]
    assert differing or "| same |" in report
    (first, *_) = [line for line in report.splitlines() if line.startswith("| word2vec - random | 100 |")]
    mine = both[(both["level"] == "100")].set_index(["variant", "seed"])["final/holdout_error"]
    difference = 100 * (mine["word2vec"] - mine["random"]).mean()
    assert f"| {difference:+.2f} (" in first
