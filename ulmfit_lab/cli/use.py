"""Commands that use trained models or import others; `new`. Slow modules are imported when they are needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulmfit_lab.cli.common import choose_run, data_of, open_lab, open_runs
from ulmfit_lab.cli.models import export_model_command, export_model_options
from ulmfit_lab.cli.terminal import shows_unicode
from ulmfit_lab.utils.errors import ConfigError, LabError
from ulmfit_lab.utils.files import json_text, write_output

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from ulmfit_lab.data.formats import Document
    from ulmfit_lab.inference.predict import TrainedClassifier
    from ulmfit_lab.report.explanations import Explanation
    from ulmfit_lab.tracking.records import TrackedRun
    from ulmfit_lab.utils.home import Home

MAX_CHARACTERS = 60
"""Maximum length of a text in a table."""

RUN = "id of a run, its first digits, or EXPERIMENT/VARIANT[/LEVEL]/SEED"
AddCommand = Callable[[str, Any, str], argparse.ArgumentParser]


def use_commands(add: AddCommand) -> None:
    """Add the commands and their options."""
    new = add("new", new_command, "write the module of a new experiment, ready to run")
    new.add_argument("name", metavar="NAME", help="name: letters, digits and underscores")
    fastai_import = add("import-fastai", import_command, "import a language model saved by fastai 0.7, 1 or 2")
    fastai_import.add_argument("--weights", required=True, metavar="FILE", help="weights (.pth or .h5)")
    fastai_import.add_argument(
        "--vocab", required=True, metavar="FILE", help="vocabulary: itos.pkl, a JSON list, or .txt"
    )
    fastai_import.add_argument("--name", required=True, help="name of the model, for --imported NAME")
    fastai_import.add_argument("--backwards", action="store_true", help="the model reads text backwards")
    fastai_export = add("export-fastai", export_command, "write a run's language model in fastai 2's format")
    fastai_export.add_argument("--to", required=True, metavar="FILE", help="output file of the weights (.pth)")
    model_export = add(
        "export-model", export_model_command, "export a run's language model for other runs to start from"
    )
    export_model_options(model_export)
    classify = add("predict", predict_command, "predict the labels of texts with a run's classifier")
    classify.add_argument("text", nargs="*", metavar="TEXT", help="texts (default: the lines of standard input)")
    classify.add_argument("--file", metavar="FILE", help="read texts from a CSV, TSV, JSONL, parquet or text file")
    classify.add_argument(
        "--text-column",
        default="",
        metavar="NAME",
        help="column(s) of the texts (default: those of the training data)",
    )
    classify.add_argument("--json", action="store_true", help="print one JSON object per line")
    classify.add_argument("--explain", action="store_true", help="show the contribution of each word to the prediction")
    classify.add_argument("--html", metavar="FILE", help="write the explanations as an HTML page")
    continue_text = add("generate", generate_command, "continue a text with a run's language model")
    continue_text.add_argument("--prompt", default="", metavar="TEXT", help="start of the text")
    continue_text.add_argument(
        "--tokens", type=int, default=50, metavar="N", help="maximum number of tokens (default: 50)"
    )
    continue_text.add_argument(
        "--temperature", type=float, default=0.8, metavar="T", help="0: most likely tokens only (default: 0.8)"
    )
    continue_text.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    register = add("register", register_command, "log a run's classifier to MLflow, for mlflow.pyfunc.load_model")
    register.add_argument("--name", default="", metavar="NAME", help="also register it, as a new version of this model")
    neighbours = add("neighbours", neighbours_command, "show the nearest words of each word in the models of runs")
    neighbours.add_argument("words", nargs="+", metavar="WORD", help="words to look up")
    neighbours.add_argument("--count", type=int, default=10, metavar="N", help="neighbours per word (default: 10)")
    compare = add("compare", compare_command, "compare runs: config, metrics, and variants over shared seeds")
    compare.add_argument("runs", nargs="+", metavar="RUN", help=RUN)
    compare.add_argument(
        "--items",
        type=int,
        default=10,
        metavar="N",
        help="number of differing test documents to show (default: 10)",
    )
    compare.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")
    for each in (fastai_export, model_export, classify, continue_text, register, neighbours):
        several: dict[str, Any] = {"action": "append"} if each is neighbours else {}
        each.add_argument("--run", required=True, metavar="RUN", dest="run_name", help=RUN, **several)
    for each in (fastai_export, model_export, classify, continue_text, register, neighbours, compare):
        each.add_argument("--results", default="results", metavar="DIR", help="folder of results (default: results)")


def new_command(args: argparse.Namespace) -> int:
    """Write the module of a new experiment, and print the next command."""
    from ulmfit_lab.experiment.template import new_experiment

    print(f"Written: {new_experiment(args.name, Path('experiments'))}")
    print(f"Show its plan: ulmfit-lab plan {args.name} --scale demo")
    return 0


def import_command(args: argparse.Namespace) -> int:
    """Import a language model, and print the options that use it."""
    from ulmfit_lab.pipeline.imported_models import import_fastai, model_option
    from ulmfit_lab.utils.home import open_home

    files = Path(args.weights), Path(args.vocab)
    found = import_fastai(*files, args.name, open_home(args.home).imported, backwards=args.backwards)
    changes = {"imported": args.name, **found.required_config} | ({"lm.backwards": True} if args.backwards else {})
    usual = {"lm.tie_weights": True, "vocabulary.units": "words", "mark_capitals": False}
    options = {path: value for path, value in changes.items() if usual.get(path) != value}
    print(f"{found.sizes.words:,} words, {found.sizes.n_layers} layers; stored in {found.folder}.")
    print("Options to use it in a sweep: " + " ".join(model_option(path, value) for path, value in options.items()))
    return 0


def export_command(args: argparse.Namespace) -> int:
    """Write a run's language model and its vocabulary."""
    from ulmfit_lab.inference.predict import load_language_model
    from ulmfit_lab.pipeline.imported_models import export_fastai

    home, run = choose_run(args, args.run_name)
    trained = load_language_model(run, home)
    marks = trained.config.mark_capitals
    written = export_fastai(trained.model, trained.vocabulary, Path(args.to), mark_capitals=marks)
    print("Written: " + ", ".join(str(path) for path in written))
    if not marks:
        print(
            "It was trained without xxmaj before capitalised words, which fastai's default rules insert, and its "
            "vocabulary lacks it: give fastai's Tokenizer rules without replace_maj."
        )
    return 0


def predict_command(args: argparse.Namespace) -> int:
    """Print label and probabilities of each text, with an explanation if requested."""
    from rich.console import Console

    from ulmfit_lab.inference.predict import explain, labels_of, load_classifier, predict
    from ulmfit_lab.report.explanations import (
        NOTHING,
        color_words,
        format_explanation,
        format_strongest,
        html_page,
    )

    home, run = choose_run(args, args.run_name)
    trained = load_classifier(run, home)
    documents = read_documents(args, trained)
    scores = predict(trained, documents)
    labels = labels_of(trained, scores)
    explained: list[Explanation | None] = []
    if args.explain or args.html:
        explained = [explain(trained, each) if label else None for each, label in zip(documents, labels, strict=True)]
    if args.json:
        for line in prediction_lines(trained.classes, documents, labels, scores, explained):
            print(line)
    else:
        console = Console()
        console.print(prediction_table(trained.classes, documents, labels, scores))
        for explanation in explained:
            console.print(format_explanation(explanation) if explanation else NOTHING, markup=False, highlight=False)
            if explanation:
                console.print(color_words(explanation))
                console.print(format_strongest(explanation), markup=False, highlight=False, soft_wrap=True)
    if args.html:
        with write_output(Path(args.html)) as temporary:
            temporary.write_text(html_page(explained), encoding="utf-8")
        print(f"Written: {args.html}", file=sys.stderr)
    return 0


def read_documents(args: argparse.Namespace, trained: TrainedClassifier) -> list[Document]:
    """Read the documents of the command line, of --file, or of standard input (one per line)."""
    from ulmfit_lab.inference.predict import read_file, read_plain

    if args.file and args.text:
        raise ConfigError("TEXT and --file exclude each other; remove one of them.")
    if args.file:
        return read_file(trained, args.file, args.text_column)
    return read_plain(trained, args.text or [line.rstrip("\n") for line in sys.stdin])


def prediction_lines(
    classes: Sequence[str],
    documents: Sequence[Document],
    labels: Sequence[str | None],
    scores: np.ndarray,
    explained: Sequence[Explanation | None],
) -> Iterator[str]:
    """Yield a JSON object per document, with its words and their attributions if it is explained.

    `text` is a list if the run reads several columns. If preprocessing leaves no words, label and probabilities are
    null and `note` gives the reason.
    """
    from ulmfit_lab.report.explanations import NOTHING

    for number, (document, label, row) in enumerate(zip(documents, labels, scores, strict=True)):
        text = document.text if len(document.fields) == 1 else document.fields
        found: dict[str, Any] = {"text": text, "label": label, "probabilities": None}
        if label is None:
            found["note"] = NOTHING
        else:
            found["probabilities"] = {name: float(share) for name, share in zip(classes, row, strict=True)}
        one = explained[number] if explained else None
        if one:
            found["attributions"] = [[word, float(v)] for word, v in zip(one.words, one.values, strict=True)]
            found |= {"baseline": one.baseline, "gap": one.gap}
        yield json_text(found, ensure_ascii=not shows_unicode())


def prediction_table(
    classes: Sequence[str], documents: Sequence[Document], labels: Sequence[str | None], scores: np.ndarray
) -> Table:
    """Return a table with a row per document; texts are cut to one line."""
    from ulmfit_lab.report.explanations import NOTHING, printable
    from ulmfit_lab.report.terminal_tables import text_table

    cells = [
        [
            printable(" ".join(" | ".join(document.fields).split())[:MAX_CHARACTERS]),
            NOTHING if label is None else label,
            *("" if label is None else f"{share:.3f}" for share in row),
        ]
        for document, label, row in zip(documents, labels, scores, strict=True)
    ]
    return text_table(["text", "label", *classes], cells)


def generate_command(args: argparse.Namespace) -> int:
    """Print a text that a run's language model continues from the prompt."""
    from ulmfit_lab.inference.predict import generate, load_language_model

    home, run = choose_run(args, args.run_name)
    options = {"tokens": args.tokens, "temperature": args.temperature, "seed": args.seed}
    print(generate(load_language_model(run, home), args.prompt, **options))
    return 0


def neighbours_command(args: argparse.Namespace) -> int:
    """Print the nearest words of each word, one column per model."""
    from rich.console import Console

    from ulmfit_lab.inference.predict import embedding_tables, nearest_words
    from ulmfit_lab.report.terminal_tables import text_table
    from ulmfit_lab.runs.reproduce import config_of

    if args.count < 1:
        raise ConfigError(f"--count {args.count} must be at least 1.")
    found = []
    for name in args.run_name:
        home, run = choose_run(args, name)
        language = config_of(run).language
        found += [(f"{space.name} of {run.variant}", space, language) for space in embedding_tables(run, home)]
    for word in args.words:
        columns = [nearest_words(space, word, args.count, language) for _, space, language in found]
        height = max(map(len, columns))
        rows = [[f"{c[i][0]} {c[i][1]:.2f}" if i < len(c) else "" for c in columns] for i in range(height)]
        unknown = [["unknown" if not c else "" for c in columns]] if not all(columns) else []
        Console().print(text_table([f"{word}: {found[0][0]}", *(name for name, _, _ in found[1:])], unknown + rows))
    return 0


def compare_command(args: argparse.Namespace) -> int:
    """Print the config fields that differ, the metrics, and paired tests of the runs' variants over shared seeds."""
    from rich.console import Console

    from ulmfit_lab.report.tables import format_p_value
    from ulmfit_lab.report.terminal_tables import text_table
    from ulmfit_lab.runs.compare import compare_runs
    from ulmfit_lab.runs.lookup import find_named_run

    home, reader = open_runs(args)
    found = compare_runs([find_named_run(name, reader, Path(args.results)) for name in args.runs], reader)
    console, names = Console(), [f"{run.experiment}\n{run.name}\n{run.origin[:8]}" for run in found.runs]
    fields = [[path, *("" if v is None else v for v in values)] for path, values in found.fields.items()]
    metrics = [[name, *("" if v is None else f"{v:.6g}" for v in values)] for name, values in found.metrics.items()]
    side_by_side = partial(text_table, narrow_values=True)
    console.print(side_by_side(["field", *names], fields) if fields else "The configs are equal.")
    console.print(side_by_side(["metric", *names], metrics))
    rows = [
        [
            f"{row.variant} - {row.against}",
            f"{row.result.difference:+.4g}",
            f"{row.result.low:+.4g} to {row.result.high:+.4g}",
            format_p_value(row.corrected_p),
            f"{row.verdict} ({row.why})" if row.why else row.verdict,
            str(row.pairs),
        ]
        for row in found.rows
    ]
    if rows:
        header = ["pair", found.measure.label, "95% CI", "adjusted p (Holm)", "verdict", "seeds"]
        console.print(text_table(header, rows))
    else:
        console.print("No paired test: the variants of the runs share fewer than two seeds.")
    if len(found.runs) == 2 and all("final/error" in run.metrics for run in found.runs):
        print_items(found.runs, home, args, console)
    return 0


def print_items(runs: Sequence[TrackedRun], home: Home, args: argparse.Namespace, console: Any) -> None:
    """Print McNemar's test of two runs and the first test documents on which they differ, or why it is not possible."""
    from ulmfit_lab.report.terminal_tables import FittedTable
    from ulmfit_lab.runs.items import compare_items, item_rows, load_predictions, load_test_documents

    try:
        items = [load_predictions(run, home) for run in runs]
        console.print(str(compare_items(*items)), highlight=False, soft_wrap=True)
        differing = [int(item) for item in (items[0].right != items[1].right).nonzero()[0]][: args.items]
        if differing:
            texts = load_test_documents(runs[0], home, data_of(args))
            header = ["document", "label", *(f"{run.variant}, seed {run.seed}" for run in runs), "text"]
            console.print(FittedTable(header, item_rows(items, texts, differing)))
    except LabError as error:
        console.print(str(error), highlight=False, soft_wrap=True)


def register_command(args: argparse.Namespace) -> int:
    """Log a run's classifier as an MLflow model, and print how to load it."""
    import tempfile

    from ulmfit_lab.inference import serving
    from ulmfit_lab.inference.predict import load_classifier
    from ulmfit_lab.tracking.tracker import example_rows
    from ulmfit_lab.utils.home import redact

    _, tracker = open_lab(args)
    home, run = choose_run(args, args.run_name)
    trained = load_classifier(run, home)
    with tempfile.TemporaryDirectory(prefix="ulmfit-lab-") as temporary:
        folder = Path(temporary) / "classifier"
        serving.write_served(trained, folder)
        inputs, outputs = serving.inputs(trained), serving.columns(trained.classes)
        uri = tracker.log_model(run.run_id, folder, serving.__name__, inputs, outputs, args.name)
    print(f"Logged with run {run.run_id}. To load it, set MLFLOW_TRACKING_URI to {redact(tracker.uri)}:")
    print(f"  mlflow.pyfunc.load_model({uri!r}).predict({example_rows(inputs)})")
    return 0
