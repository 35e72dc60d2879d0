"""What a target says of a row, and tables that say what the JSON says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.beside_fastai import difference
from benchmarks.rows import Row, compared, missing, number, shown, table, tables, with_tables
from benchmarks.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
SPEED = {"unit": "tokens/s", "against": "fastai", "target": "training"}


def benchmarks(*rows: Row) -> dict[str, Any]:
    facts = {"CPU": "a", "cores": 2}
    subject = {"facts": facts, "load": 0.5, "rows": [row.as_json() for row in rows]}
    return {"quick": False, "subjects": {"training": subject}}


def test_a_row_by_hand() -> None:
    row = compared("Training", [4000, 9000, 2500], [2000, 3000, 1000], **SPEED)
    expected = (
        "| Training (tokens/s) | 4,000 | fastai 2,000 | 2.50 x (2.00 x to 3.00 x, 3 pairs) | at least 2.00 x | yes |"
    )
    assert row.met and table([row.as_json()]).splitlines()[2] == expected


@pytest.mark.parametrize(
    ("target", "kept", "missed"),
    [("training", 2.0, 1.99), ("memory", 0.6, 0.61), ("opening", 50, 51), ("validation loss", 0.0, 0.001)],
)
def test_bounds_are_kept_or_missed(target: str, kept: float, missed: float) -> None:
    assert TARGETS[target].met(kept) and not TARGETS[target].met(missed)
    assert Row("", value=kept, target=target).met is True and Row("", value=missed, target=target).met is False


def test_a_difference_meets_or_misses_its_bound_if_its_whole_interval_does() -> None:
    facts: dict[str, Any] = {"form": "nats", "pairs": 6, "target": "validation loss"}
    unclear = Row("Loss", value=0.01, low=-0.01, high=0.03, **facts)
    worse, better = (
        Row("Loss", value=0.01, low=0.002, high=0.03, **facts),
        Row("Loss", value=-2, low=-3, high=-1, **facts),
    )
    assert (unclear.met, worse.met, better.met) == (None, False, True)
    assert "+0.010 nats (-0.010 nats to +0.030 nats, 6 seeds) | at most 0 nats | not shown |" in table(
        [unclear.as_json()]
    )
    assert table([Row("Alone", value=1.0).as_json()]).endswith("|  |  |")


def test_the_difference_of_two_means_has_welchs_interval() -> None:
    """By hand: variances 1 and 1, n 3 each, so a standard error of sqrt(2 / 3) with 4 degrees of freedom."""
    found = difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert found["value"] == -1.0 and found["pairs"] == 3
    assert found["high"] == pytest.approx(-1 + 2.776445 * (2 / 3) ** 0.5, abs=1e-5)
    assert found["low"] == pytest.approx(-1 - 2.776445 * (2 / 3) ** 0.5, abs=1e-5)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    row = missing("Training", "fastai is absent", **SPEED)
    assert row.met is None
    found = tables(benchmarks(row))
    assert "| Training |  | fastai | not measured: fastai is absent | at least 2.00 x |  |" in found
    assert "0 of the 0 targets" in found


def test_rows_without_a_target_come_after_those_with_one() -> None:
    plain = compared("Plain", [1], [2])
    text = tables(benchmarks(plain, compared("Promised", [1], [2], **SPEED)))
    first, _, second = text.partition("## Without a target")
    assert "Promised" in first and "Plain" not in first and "Plain" in second
    assert "0 of the 1 targets that were measured are met" in first


def test_machines_that_differ_are_told_apart() -> None:
    known = benchmarks(compared("Promised", [1], [2], **SPEED))
    other = {"facts": {"CPU": "b", "cores": 2}, "load": 0.0, "rows": []}
    known["subjects"] |= {"loss": known["subjects"]["training"], "text": other}
    other["rows"] = [compared("Elsewhere", [1], [2]).as_json()]
    text = tables(known)
    heads = [line.split(" | ")[0] for line in text.splitlines() if "| ours |" in line]
    assert heads == ["| measured on a", "| measured on b"]
    told = text.partition("## Measured on")[2]
    assert "* training (load 0.5), loss (load 0.5): CPU a; cores 2." in told and "* text (load 0): CPU b" in told


def test_values_are_shown_in_their_units() -> None:
    assert [shown(0.405, "share"), shown(-0.0312, "nats"), shown(3.14159, "ms"), shown(2e7, "rate")] == [
        "40.5%",
        "-0.031 nats",
        "3.14 ms",
        "20,000,000 tokens/s",
    ]
    assert [number(0.04567), number(12345.6), number(99.94)] == ["0.0457", "12,300", "99.9"]


def test_a_readmes_table_is_put_between_its_markers_and_nothing_else_changes() -> None:
    text = tables(benchmarks(compared("Promised", [1], [2], **SPEED), compared("Plain", [1], [2])))
    readme = "before\n<!-- benchmarks -->\nold\n<!-- end -->\nafter\n<!-- end -->\n"
    found = with_tables(readme, [text])
    assert found.startswith("before\n<!-- benchmarks -->\n\n| measured on a |") and found.endswith(
        "after\n<!-- end -->\n"
    )
    assert "Promised" in found and "Plain" not in found and "old" not in found
    assert with_tables(found, [text]) == found


def test_each_processors_table_names_it_in_its_head() -> None:
    known = benchmarks(compared("Promised", [1], [2], **SPEED))
    both = [tables({**known, "kind": kind}) for kind in ("bfloat16", "avx2")]
    heads = [line for line in with_tables("<!-- benchmarks --><!-- end -->", both).splitlines() if "| ours |" in line]
    assert [head.split(" | ")[0] for head in heads] == [
        "| measured on a with bfloat16",
        "| measured on a with AVX2 alone",
    ]


def test_a_readme_without_markers_is_left_alone() -> None:
    assert with_tables("nothing here\n", ["| a |\n"]) == "nothing here\n"


def test_every_target_is_one_of_a_row() -> None:
    sources = "".join(
        path.read_text()
        for path in (ROOT / "tests" / "benchmarks").glob("*.py")
        if path.stem != "targets" and not path.stem.startswith("test_")
    )
    assert [name for name in TARGETS if f'"{name.removesuffix(", default")}"' not in sources] == []
