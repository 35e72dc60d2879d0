"""Commands that use what was trained, or bring in what others trained; slow imports wait until a command needs them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulmfit_lab.cli.common import data_of, open_lab, open_runs
from ulmfit_lab.cli.models import export_model_command, export_model_options
from ulmfit_lab.cli.terminal import shows_unicode
from ulmfit_lab.utils.errors import ConfigError, DataError, LabError
from ulmfit_lab.utils.files import atomic_write, json_text

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from ulmfit_lab.data.formats import Document
    from ulmfit_lab.inference.predict import TrainedClassifier
    from ulmfit_lab.report.explanations import Explanation
    from ulmfit_lab.tracking.records import TrackedRun
    from ulmfit_lab.utils.home import Home

LONGEST = 60
"""Characters of a text that a table shows."""

RUN = "a run's id or its first digits, or EXPERIMENT/VARIANT/SEED"
Add = Callable[[str, Any, str], argparse.ArgumentParser]


def use_commands(add: Add) -> None:
    """Add the commands and their options."""
    new = add("new", new_command, "write the module of an experiment of your own, ready to run")
    new.add_argument("name", metavar="NAME", help="its name: letters, digits and underscores")
    taken = add("import-fastai", import_command, "import a language model that fastai 0.7, 1 or 2 saved")
    taken.add_argument("--weights", required=True, metavar="FILE", help="the weights (.pth or .h5)")
    taken.add_argument("--vocab", required=True, metavar="FILE", help="its words: itos.pkl, a JSON list, or a .txt")
    taken.add_argument("--name", required=True, help="what runs call it: --imported NAME")
    taken.add_argument("--backwards", action="store_true", help="the model reads from the end")
    given = add("export-fastai", export_command, "write a run's language model as fastai 2 does")
    given.add_argument("--to", required=True, metavar="FILE", help="where to write the weights (.pth)")
    exported = add("export-model", export_model_command, "write a run's language model as one to start from")
    export_model_options(exported)
    labels = add("predict", predict_command, "predict the labels of texts with a run's classifier")
    labels.add_argument("text", nargs="*", metavar="TEXT", help="texts (default: the lines of standard input)")
    labels.add_argument("--file", metavar="FILE", help="texts from a CSV, TSV, JSONL, parquet or text file")
    labels.add_argument(
        "--text-column",
        default="",
        metavar="NAME",
        help="column(s) of the texts (default: those of the run's training)",
    )
    labels.add_argument("--json", action="store_true", help="print a JSON object a line")
    labels.add_argument("--explain", action="store_true", help="show what each word adds to the guess")
    labels.add_argument("--html", metavar="FILE", help="write what --explain shows as a page")
    more = add("generate", generate_command, "continue a text with a run's language model")
    more.add_argument("--prompt", default="", metavar="TEXT", help="start of the text")
    more.add_argument("--tokens", type=int, default=50, metavar="N", help="most tokens (default: 50)")
    more.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0: the likeliest (default: 0.8)")
    more.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, another text (default: 0)")
    logged = add("register", register_command, "log a run's classifier to MLflow, for mlflow.pyfunc.load_model")
    logged.add_argument("--name", default="", metavar="NAME", help="register it too, as a new version of this model")
    close = add("neighbours", neighbours_command, "show the nearest words of each word, model beside model")
    close.add_argument("words", nargs="+", metavar="WORD", help="words to look up")
    close.add_argument("--count", type=int, default=10, metavar="N", help="neighbours of each (default: 10)")
    beside = add("compare", compare_command, "show runs side by side: config, metrics, variants over shared seeds")
    beside.add_argument("runs", nargs="+", metavar="RUN", help=RUN)
    beside.add_argument(
        "--items", type=int, default=10, metavar="N", help="test documents shown on which two runs differ (default: 10)"
    )
    beside.add_argument("--data-dir", metavar="DIR", help="folder of named data sets (default: $ULMFIT_LAB_DATA)")
    for each in (given, exported, labels, more, logged, close):
        several: dict[str, Any] = {"action": "append"} if each is close else {}
        each.add_argument("--run", required=True, metavar="RUN", dest="run_name", help=RUN, **several)
    for each in (given, exported, labels, more, logged, close, beside):
        each.add_argument("--results", default="results", metavar="DIR", help="folder of results (default: results)")


def new_command(args: argparse.Namespace) -> int:
    """Write the module, and say what comes next."""
    from ulmfit_lab.experiment.template import new_experiment

    print(f"Written: {new_experiment(args.name, Path('experiments'))}")
    print(f"Look at what it would do: ulmfit-lab plan {args.name} --scale demo")
    return 0


def import_command(args: argparse.Namespace) -> int:
    """Take in a model, and say how to use it."""
    from ulmfit_lab.pipeline.imported_models import import_fastai, model_option
    from ulmfit_lab.utils.home import open_home

    files = Path(args.weights), Path(args.vocab)
    found = import_fastai(*files, args.name, open_home(args.home).imported, backwards=args.backwards)
    changes = {"imported": args.name, **found.required_config} | ({"lm.backwards": True} if args.backwards else {})
    usual = {"lm.tie_weights": True, "vocabulary.units": "words"}
    options = {path: value for path, value in changes.items() if usual.get(path) != value}
    print(f"{found.sizes.words:,} words, {found.sizes.n_layers} layers: kept in {found.folder}.")
    print("Use it in a sweep: " + " ".join(model_option(path, value) for path, value in options.items()))
    return 0


def export_command(args: argparse.Namespace) -> int:
    """Write a run's language model and its words."""
    from ulmfit_lab.inference.predict import load_language_model
    from ulmfit_lab.pipeline.imported_models import export_fastai

    home, run = choose_run(args, args.run_name)
    trained = load_language_model(run, home)
    written = export_fastai(trained.model, trained.vocabulary, Path(args.to))
    print("Written: " + ", ".join(str(path) for path in written))
    return 0


def predict_command(args: argparse.Namespace) -> int:
    """Print label and probabilities of each text, and what they rest on if asked."""
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
    documents = documents_of(args, trained)
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
        write_page(Path(args.html), html_page(explained))
    return 0


def documents_of(args: argparse.Namespace, trained: TrainedClassifier) -> list[Document]:
    """The documents that a command line gives: its own texts, the rows of a file, or the lines of standard input."""
    from ulmfit_lab.inference.predict import read_file, read_plain

    if args.file and args.text:
        raise ConfigError("Texts come from the command line or from --file, not from both; leave one out.")
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
    """A JSON object for each document; with its words and their values where it is explained.

    `text` is a list where the run reads several columns. Label and probabilities are null where nothing is left to
    read, as `note` then says.
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
    """A row for each document, its text cut to one line."""
    from ulmfit_lab.report.explanations import NOTHING, printable
    from ulmfit_lab.report.terminal_tables import text_table

    cells = [
        [
            printable(" ".join(" | ".join(document.fields).split())[:LONGEST]),
            NOTHING if label is None else label,
            *("" if label is None else f"{share:.3f}" for share in row),
        ]
        for document, label, row in zip(documents, labels, scores, strict=True)
    ]
    return text_table(["text", "label", *classes], cells)


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all."""
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; name a file in a folder that exists.") from error
    print(f"Written: {path}", file=sys.stderr)


def generate_command(args: argparse.Namespace) -> int:
    """Print a text that a run's language model goes on with."""
    from ulmfit_lab.inference.predict import generate, load_language_model

    home, run = choose_run(args, args.run_name)
    options = {"tokens": args.tokens, "temperature": args.temperature, "seed": args.seed}
    print(generate(load_language_model(run, home), args.prompt, **options))
    return 0


def neighbours_command(args: argparse.Namespace) -> int:
    """Print the nearest words of each word, a column for every model that has vectors."""
    from rich.console import Console

    from ulmfit_lab.inference.predict import embedding_tables, nearest_words
    from ulmfit_lab.report.terminal_tables import text_table
    from ulmfit_lab.runs.reproduce import config_of

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
    """Print the fields in which runs differ, their metrics, and their variants over shared seeds."""
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
    console.print(side_by_side(["field", *names], fields) if fields else "The configs are the same.")
    console.print(side_by_side(["metric", *names], metrics))
    rows = [
        [
            f"{row.variant} - {row.against}",
            f"{row.result.difference:+.4g}",
            f"{row.result.low:+.4g} to {row.result.high:+.4g}",
            format_p_value(row.corrected_p),
            row.verdict,
            str(row.result.n),
        ]
        for row in found.rows
    ]
    if rows:
        header = ["pair", found.measure.label, "95% interval", "p (Holm)", "verdict", "seeds"]
        console.print(text_table(header, rows))
    else:
        console.print("The runs' variants share no two seeds, so they are not compared in pairs.")
    if len(found.runs) == 2 and all("final/error" in run.metrics for run in found.runs):
        print_items(found.runs, home, args, console)
    return 0


def print_items(runs: Sequence[TrackedRun], home: Home, args: argparse.Namespace, console: Any) -> None:
    """Print McNemar's test of two runs, and the first test documents on which they differ; or why that cannot be."""
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
    """Log a run's classifier as a model of MLflow's, and say how to load it."""
    import tempfile

    from ulmfit_lab.inference import serving
    from ulmfit_lab.inference.predict import load_classifier
    from ulmfit_lab.tracking.tracker import example_rows
    from ulmfit_lab.utils.home import redact

    _, tracker = open_lab(args)
    home, run = choose_run(args, args.run_name)
    trained = load_classifier(run, home)
    with tempfile.TemporaryDirectory(prefix="ulmfit-lab-") as place:
        folder = Path(place) / "classifier"
        serving.write_served(trained, folder)
        reads, gives = serving.inputs(trained), serving.columns(trained.classes)
        uri = tracker.log_model(run.run_id, folder, serving.__name__, reads, gives, args.name)
    print(f"Logged with run {run.run_id}. Where MLFLOW_TRACKING_URI is {redact(tracker.uri)}:")
    print(f"  mlflow.pyfunc.load_model({uri!r}).predict({example_rows(reads)})")
    return 0


def choose_run(args: argparse.Namespace, name: str) -> tuple[Home, TrackedRun]:
    """The home, and the run of this name."""
    from ulmfit_lab.runs.lookup import find_named_run

    home, reader = open_runs(args)
    return home, find_named_run(name, reader, Path(args.results))
