"""Help lists every command in its group, and a shell completes what the script says."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.cli.commands import parser
from ulmfit_lab.cli.completion import GROUPS, SHELLS, actions_of

DRIVER = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
$(complete -p ulmfit-lab | sed 's/.*-F \\([^ ]*\\).*/\\1/')
echo "${{COMPREPLY[@]}}"
"""


def commands() -> set[str]:
    (found,) = [action for action in actions_of(parser()) if isinstance(action, argparse._SubParsersAction)]
    return set(found.choices)


def test_every_command_is_in_one_group() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(commands())


def test_help_lists_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: ulmfit-lab [-h] COMMAND")
    for group, names in GROUPS.items():
        section = told.partition(f"\n{group}:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in section.splitlines()] == list(names)
        assert all(len(line.split()) > 3 for line in section.splitlines())


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script_with_commands_options_and_experiments(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("reproduce", "until-decided", "word2vec_vs_lm"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ulmfit-lab re", "report reproduce register"),
        ("ulmfit-lab sweep dropout_r", "dropout_ratios"),
        ("ulmfit-lab sweep bptt --until", "--until-decided"),
        ("ulmfit-lab plan bp", "bptt"),
    ],
)
def test_bash_completes(words: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "bash"])
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    driver = DRIVER.format(script=script, words=words)
    found = subprocess.run(["bash", "-c", driver], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert sorted(found.stdout.split()) == sorted(expected.split())
