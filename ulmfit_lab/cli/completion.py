"""Groups of commands for --help, and shell completion."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence

GROUPS: Mapping[str, Sequence[str]] = {
    "experiments": ("overview", "list", "new", "plan", "noise", "sweep", "tune", "report"),
    "runs": ("runs", "compare", "reproduce", "stages", "ui"),
    "models": (
        "predict",
        "generate",
        "neighbours",
        "register",
        "models",
        "export-model",
        "import-fastai",
        "export-fastai",
    ),
    "tools": ("doctor", "bench", "completion"),
}
"""Group -> its commands."""
SHELLS = ("bash", "zsh", "tcsh")


def format_groups(helps: Mapping[str, str]) -> str:
    """Format the commands and their help texts by group.

    >>> print(format_groups({"list": "list the experiments", "ui": "open MLflow"}))
    experiments:
      list           list the experiments
    <BLANKLINE>
    runs:
      ui             open MLflow
    """
    listed = {
        group: [f"  {name:14} {helps[name]}" for name in names if name in helps] for group, names in GROUPS.items()
    }
    return "\n\n".join("\n".join([f"{group}:", *lines]) for group, lines in listed.items() if lines)


def completion_script(parser: argparse.ArgumentParser, shell: str, experiments: Sequence[str]) -> str:
    """Return a shell script that completes commands, options, files and names of experiments."""
    import shtab

    names = " ".join(experiments)
    function = f'_ulmfit_lab_experiment() {{ compgen -W "{names}" -- "$1"; compgen -f -X "!*.py" -- "$1"; }}'
    kinds = {
        "DIR": shtab.DIRECTORY,
        "FILE": shtab.FILE,
        "PYTHON": shtab.FILE,
        "EXPERIMENT": {"bash": "_ulmfit_lab_experiment", "zsh": f"({names})", "tcsh": f"p/1/({names})/"},
    }
    for action in actions_of(parser):
        if isinstance(action, argparse._SubParsersAction):
            action.help = None  # shtab omits commands whose help is SUPPRESS
        if action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
    script: str = shtab.complete(parser, shell=shell, preamble=function if shell == "bash" else "")
    return script


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield all options and arguments of a parser and its subcommands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions_of(command)
