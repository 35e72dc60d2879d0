"""Config options of a command line: patterns that a shell expanded, and flags."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli.declared import one_value_each, parse_overrides
from ulmfit_lab.config.paths import override
from ulmfit_lab.config.scales import TINY
from ulmfit_lab.utils.errors import ConfigError


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files, in the working directory."""
    for name in ("notes/1.txt", "notes/22.txt", "notes/[3].txt", "notes/3.md", "more/1.txt", "more/22.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "notes"


def as_the_shell_gives(pattern: str) -> list[str]:
    return subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True, text=True).stdout.split()


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("pattern", ["notes/*.txt", "notes/2*.txt", "*/1.txt", "notes/*"])
def test_files_that_a_pattern_stands_for_become_it_again(pattern: str) -> None:
    found = as_the_shell_gives(pattern)
    before, after = ["--target.path", "reviews.csv", "--unlabelled.path"], ["--lm.drop-mult", "0.5"]
    given = one_value_each([*before, *found, *after])
    assert [*given[:3], *given[-2:]] == [*before, *after]
    assert len(given) == 6 and set(as_the_shell_gives(given[3].replace("[[]", "\\["))) == set(found)


@pytest.mark.usefixtures("notes")
def test_files_that_no_pattern_stands_for_are_told_to_be_quoted() -> None:
    with pytest.raises(ConfigError, match=r"--unlabelled.path takes one .*more/1.txt and 1 more.*quote the pattern"):
        one_value_each(["--unlabelled.path", "more/1.txt", "notes/22.txt"])


def test_other_options_are_left_as_they_are() -> None:
    given = ["--lm.drop-mult", "0.5", "0.6", "stray", "--target.path", "reviews.csv", "--lm.no-tie-weights"]
    assert one_value_each(given) == given


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("--lm.no-tie-weights", {"lm.tie_weights": False}),
        ("--lm.tie-weights false --lm.drop-mult=0.5", {"lm.tie_weights": False, "lm.drop_mult": 0.5}),
        ("--lm.tie-weights=True", {"lm.tie_weights": True}),
        ("--mark-capitals", {"mark_capitals": True}),
        ("--mark_capitals TRUE --language de", {"mark_capitals": True, "language": "de"}),
        ("--target.label-column true", {"target.label_column": "true"}),
    ],
)
def test_a_flag_may_have_its_value(options: str, found: dict[str, Any]) -> None:
    assert parse_overrides(TINY, options.split()) == found


def test_a_flag_of_the_top_level_is_taken_back() -> None:
    base = override(TINY, {"mark_capitals": True})
    for given in (["--no-mark-capitals"], ["--mark-capitals", "False"]):
        assert parse_overrides(base, given) == {"mark_capitals": False}


def test_a_flag_that_is_negated_takes_no_value() -> None:
    with pytest.raises(SystemExit):
        parse_overrides(TINY, ["--lm.no-tie-weights", "false"])
