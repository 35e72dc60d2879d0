"""Commands that use what was trained, or bring in what others trained; slow imports wait until a command needs them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulmfit_lab.cli_common import open_lab

if TYPE_CHECKING:
    from ulmfit_lab.lab.tracked import TrackedRun

RUN = "a run's id or its first digits, or EXPERIMENT/VARIANT/SEED"
Add = Callable[[str, Any, str], argparse.ArgumentParser]


def use_commands(add: Add) -> None:
    """Add the commands and their options."""
    taken = add("import-fastai", import_command, "take in a language model that fastai 0.7, 1 or 2 saved")
    taken.add_argument("--weights", required=True, metavar="FILE", help="the weights (.pth or .h5)")
    taken.add_argument("--vocab", required=True, metavar="FILE", help="its words: itos.pkl, a JSON list, or a .txt")
    taken.add_argument("--name", required=True, help="what runs call it: --imported NAME")
    taken.add_argument("--backwards", action="store_true", help="the model reads from the end")
    given = add("export-fastai", export_command, "write a run's language model as fastai 2 does")
    given.add_argument("--to", required=True, metavar="FILE", help="where to write the weights (.pth)")
    for each in (given,):
        run_option(each)


def run_option(command: argparse.ArgumentParser) -> None:
    """The run that a command uses."""
    command.add_argument("--run", required=True, metavar="RUN", dest="run_name", help=RUN)
    command.add_argument("--results", default="results", metavar="DIR", help="folder of results (default: results)")


def import_command(args: argparse.Namespace) -> int:
    """Take in a model, and say how to use it."""
    from ulmfit_lab.lab.home import open_home
    from ulmfit_lab.lab.imported import as_option, import_fastai

    files = Path(args.weights), Path(args.vocab)
    found = import_fastai(*files, args.name, open_home(args.home).imported, backwards=args.backwards)
    changes = {"imported": args.name, **found.options} | ({"lm.backwards": True} if args.backwards else {})
    usual = {"lm.tie_weights": True, "vocabulary.units": "words"}
    options = {path: value for path, value in changes.items() if usual.get(path) != value}
    print(f"{found.sizes.words:,} words, {found.sizes.n_layers} layers: kept in {found.folder}.")
    print("Use it in a sweep: " + " ".join(as_option(path, value) for path, value in options.items()))
    return 0


def export_command(args: argparse.Namespace) -> int:
    """Write a run's language model and its words."""
    from ulmfit_lab.inference import load_language_model
    from ulmfit_lab.lab.imported import export_fastai

    home, run = chosen(args, args.run_name)
    trained = load_language_model(run, home)
    written = export_fastai(trained.model, trained.vocabulary, Path(args.to))
    print("Written: " + ", ".join(str(path) for path in written))
    return 0


def chosen(args: argparse.Namespace, name: str) -> tuple[Any, TrackedRun]:
    """The home, and the run of this name."""
    from ulmfit_lab.lab.finding import find_named

    home, tracker = open_lab(args)
    return home, find_named(name, tracker, Path(args.results))
