"""The commands `models` and `export-model`: language models that a run can start from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulmfit_lab.cli.common import choose_run, data_of
from ulmfit_lab.utils.errors import ConfigError, suggest

if TYPE_CHECKING:
    from ulmfit_lab.pipeline.imported_models import ImportedModel
    from ulmfit_lab.utils.home import Home


def models_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `models`."""
    command.add_argument("name", metavar="NAME", nargs="?", help="print the model card of this model")


def export_model_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `export-model`."""
    command.add_argument("--name", required=True, metavar="NAME", help="name of the model, for --imported NAME")
    command.add_argument(
        "--to", required=True, metavar="DIR", help="output folder, for NAME/forwards or NAME/backwards"
    )
    command.add_argument("--float16", action="store_true", help="store the weights in float16")
    command.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")


def models_command(args: argparse.Namespace) -> int:
    """Print the language models that a run can start from, or one model card."""
    from rich.console import Console

    from ulmfit_lab.pipeline.imported_models import list_models
    from ulmfit_lab.report.terminal_tables import text_table
    from ulmfit_lab.utils.home import open_home

    home = open_home(args.home, write=False)
    models = list(list_models(home.imported))
    if args.name:
        print_cards(args.name, models)
        return 0
    rows = [*(imported_row(model, home) for model in models), *trained_rows(home)]
    header = ["model", "origin", "direction", "language", "words", "size", "MB", "perplexity"]
    Console().print(text_table(header, rows) if rows else "No language models found.")
    return 0


def print_cards(name: str, models: list[ImportedModel]) -> None:
    """Print the model cards of a name; raises ConfigError if there is none."""
    from ulmfit_lab.inference.model_export import format_model_card

    found = [model for model in models if model.name == name]
    if not found:
        raise ConfigError(f"There is no model named {name!r}. {suggest(name, {model.name for model in models})}")
    for model in found:
        print(format_model_card(model) if model.card else f"{model.folder}: imported from fastai, no model card.")


def imported_row(model: ImportedModel, home: Home) -> list[str]:
    """Return the table row of an imported or shipped model."""
    origin = "imported" if model.folder.is_relative_to(home.imported) else "shipped"
    names = [model.name, origin, model.direction, model.language]
    return [*names, *model_cells(model.sizes.words, model.sizes, model.folder, model.card.get("final", {}))]


def trained_rows(home: Home) -> Iterator[list[str]]:
    """Yield the table rows of the language models pretrained in this home."""
    from ulmfit_lab.config.schema import LanguageModelConfig
    from ulmfit_lab.data.vocabulary import Vocabulary
    from ulmfit_lab.pipeline.store import StageStore

    for stage in StageStore(home.stages).finished("pretrained"):
        if "lm" not in stage.manifest["key"]:  # imported
            continue
        lm: Any = LanguageModelConfig(**stage.manifest["key"]["lm"])
        words = len(Vocabulary.load(stage.folder / "vocabulary.json"))
        names = [stage.fingerprint, "trained here", lm.direction, ""]
        yield [*names, *model_cells(words, lm, stage.folder, stage.summary["final"])]


def model_cells(words: int, sizes: Any, folder: Path, final: Mapping[str, Any]) -> list[str]:
    """Return vocabulary size, model sizes, MB and perplexity on test text, or else on validation text."""
    perplexity = final.get("perplexity", final.get("valid_perplexity"))
    return [
        f"{words:,}",
        f"{sizes.emb_size}/{sizes.hidden_size}/{sizes.n_layers}",
        f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f}",
        f"{perplexity:.1f}" if perplexity else "",
    ]


def export_model_command(args: argparse.Namespace) -> int:
    """Write a run's language model and its model card."""
    from ulmfit_lab.inference.model_export import export_model

    home, run = choose_run(args, args.run_name)
    saved = export_model(run, home, data_of(args), Path(args.to), args.name, half=args.float16)
    print(f"Written: {saved.folder}")
    return 0
