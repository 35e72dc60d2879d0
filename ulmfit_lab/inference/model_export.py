"""Export of a run's language model, with a model card, for use by other runs."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ulmfit_lab.config.paths import non_defaults
from ulmfit_lab.config.schema import RunConfig, SourceConfig
from ulmfit_lab.data.corpus import TokenCorpus, open_corpus, write_corpus
from ulmfit_lab.data.rules import UNK
from ulmfit_lab.data.sources import find_texts, read_documents
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.inference.predict import TrainedLanguageModel, load_language_model
from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.models.sizes import Sizes
from ulmfit_lab.pipeline.devices import configure_torch
from ulmfit_lab.pipeline.imported_models import ImportedModel, check_model_name, save_model_folder
from ulmfit_lab.pipeline.store import StageResult
from ulmfit_lab.pipeline.training_stages import make_evaluation_batches
from ulmfit_lab.report.tables import markdown
from ulmfit_lab.runs.lookup import find_language_model
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.training.evaluation import evaluate_language_model
from ulmfit_lab.utils.errors import ConfigError, DataError, sweep_command
from ulmfit_lab.utils.files import atomic_write, file_digest
from ulmfit_lab.utils.home import Home

EVALUATED = (("imdb", "test"), ("trec", "test"), ("wikitext-2", "test"))
"""Named sets on which a model card reports metrics."""
EVALUATED_TOKENS = 250_000
"""Number of tokens of each set, from the start, that are evaluated."""
LICENCES: Mapping[str, str] = {
    "imdb": "Large Movie Review Dataset (Maas et al. 2011): reviews by users of IMDb, released for research without a "
    "licence of their own",
    "wikitext": "WikiText (Merity et al. 2016): Wikipedia articles, CC BY-SA 3.0",
}
"""Prefix of a path in the data folder -> licence."""
CARD = "README.md"


def export_model(run: TrackedRun, home: Home, data: Path | None, root: Path, name: str, *, half: bool) -> ImportedModel:
    """Write a run's language model, vocabulary and model card to `root/NAME/DIRECTION`.

    half: store the weights in float16; the card then has the loss in both precisions

    Raises ConfigError for a fine-tuned, imported or subword model or an invalid name, LabError if the model or its
    training text is missing.
    """
    check_model_name(name)
    trained, stored = load_language_model(run, home), find_language_model(run, home)
    config, vocabulary = trained.config, trained.vocabulary
    if stored.kind != "pretrained" or config.imported:
        raise ConfigError("A card describes pretraining; name a run whose last_stage is pretrained.")
    if vocabulary.merges is not None:
        raise ConfigError("The model reads subwords; only a model of words can be exported.")
    sizes = Sizes(len(vocabulary), config.lm.emb_size, config.lm.hidden_size, config.lm.n_layers, config.lm.tie_weights)
    card = describe_training(stored, config, run, data) | {"evaluation": evaluate_on_texts(trained, data, half=half)}
    folder = root / name / config.lm.direction
    saved = save_model_folder(
        folder,
        trained.model,
        vocabulary,
        sizes,
        language=config.language,
        mark_capitals=config.mark_capitals,
        card=card,
        half=half,
    )
    with atomic_write(folder / CARD) as temporary:
        temporary.write_text(format_model_card(saved), encoding="utf-8")
    return saved


def describe_training(stored: StageResult, config: RunConfig, run: TrackedRun, data: Path | None) -> dict[str, Any]:
    """Training part of a model card: files, config, curve, metrics, time and machine."""
    curve = [
        {"step": point.step, "epoch": round(point.epoch, 3), **point.values}
        for point in stored.points()
        if any(name.endswith("valid_loss") for name in point.values)
    ]
    return {
        "files": describe_files(config.general, data),
        "tokens_read": stored.summary["trained_tokens"],
        "config": {
            f"{group}.{field}": Path(value).name if field == "path" else value
            for group in ("general", "vocabulary", "lm", "pretraining", "compute")
            for field, value in non_defaults(getattr(config, group)).items()
        },
        "curve": curve,
        "final": dict(stored.summary["final"]),
        "hours": round(stored.seconds / 3600, 2),
        "machine": run.tags.get("machine", ""),
        "commit": stored.manifest.get("commit", ""),
        "command": sweep_command(run.experiment, run.scale),
    }


def describe_files(source: SourceConfig, data: Path | None) -> list[dict[str, str]]:
    """Name, SHA-256 and licence of each file of a source."""
    found = []
    for file in find_texts(source, data).files:
        name = str(file.relative_to(data)) if data and file.is_relative_to(data) else file.name
        terms = next((text for start, text in LICENCES.items() if name.startswith(start)), "not known")
        found.append({"file": name, "sha256": file_digest(file), "terms": terms})
    return found


def evaluate_on_texts(trained: TrainedLanguageModel, data: Path | None, *, half: bool) -> dict[str, dict[str, float]]:
    """Share of unknown tokens, loss, perplexity and accuracy on the available sets of `EVALUATED`.

    half: also the loss with weights in float16
    """
    found = {}
    rounded = copy.deepcopy(trained.model).half().float() if half else None
    for name, split in EVALUATED:
        source = SourceConfig(name=name, split=split)
        try:
            find_texts(source, data)
        except DataError:  # not downloaded
            continue
        with tempfile.TemporaryDirectory() as folder:
            documents, marks = read_documents(source, data), trained.config.mark_capitals
            write_corpus(documents, trained.config.language, Path(folder), mark_capitals=marks)
            corpus = open_corpus(Path(folder))
            row = {"unknown": share_of_unknown(corpus, trained.vocabulary)}
            stream = corpus.stream(trained.vocabulary)[:EVALUATED_TOKENS].copy()
            row |= evaluate_stream(trained.model, stream, trained.config)
            if rounded is not None:
                row["loss_float16"] = evaluate_stream(rounded, stream, trained.config)["loss"]
        found[f"{name} {split}"] = row
    return found


def share_of_unknown(corpus: TokenCorpus, vocabulary: Vocabulary) -> float:
    """Share of a corpus's tokens that are not in a vocabulary; `UNK` in the text counts as unknown."""
    known = set(vocabulary.words) - {UNK}
    unknown = sum(int(n) for word, n in zip(corpus.lexicon, corpus.counts, strict=True) if word not in known)
    return unknown / corpus.n_tokens


def evaluate_stream(model: LanguageModel, stream: np.ndarray, config: RunConfig) -> dict[str, float]:
    """Loss, perplexity and accuracy on a stream (n,) of ids, in float32."""
    device = configure_torch(config.compute)
    batches = make_evaluation_batches(stream, config.lm).to(device)
    return evaluate_language_model(model.to(device), batches, device=device)


def format_model_card(model: ImportedModel) -> str:
    """Format a model card as Markdown."""
    card = model.card
    final = card["final"]
    size = (model.folder / "model.safetensors").stat().st_size / 1e6
    facts = [
        ("language", model.language),
        ("direction", model.direction),
        ("words", f"{model.sizes.words:,}"),
        ("embedding, hidden, layers", f"{model.sizes.emb_size}, {model.sizes.hidden_size}, {model.sizes.n_layers}"),
        ("file", f"{size:.1f} MB"),
        ("tokens read in training", f"{card['tokens_read']:,}"),
        *((name.replace("_", " "), f"{value:.4g}") for name, value in final.items() if isinstance(value, float)),
        ("training time", f"{card['hours']:g} hours on {card['machine'] or 'an unknown machine'}"),
        ("commit", card["commit"] or "unknown"),
    ]
    half = any("loss_float16" in row for row in card["evaluation"].values())
    rows = [
        [
            name,
            f"{100 * row['unknown']:.1f}%",
            f"{row['perplexity']:.1f}",
            f"{100 * row['accuracy']:.1f}%",
            f"{row['loss']:.4f}",
            *([f"{row['loss_float16']:.4f}"] if half else []),
        ]
        for name, row in card["evaluation"].items()
    ]
    header = ["text", "unknown tokens", "perplexity", "accuracy", "loss", *(["loss, float16"] if half else [])]
    curve = [
        [f"{point['step']:,}", *(f"{v:.4g}" for k, v in point.items() if k not in ("step", "epoch"))]
        for point in card["curve"]
    ]
    names = [name.rpartition("/")[2] for name in card["curve"][0] if name not in ("step", "epoch")] if curve else []
    return "\n".join(
        [
            f"# {model.name}, {model.direction}",
            "",
            "An AWD-LSTM language model to start from: `--imported " + model.name + "`.",
            "",
            markdown(["", ""], [list(row) for row in facts]),
            "",
            "## On held-out text",
            "",
            f"The first {EVALUATED_TOKENS:,} tokens of each; unknown tokens are counted over all of it. Perplexities "
            "count unknown words as one word.",
            "",
            markdown(header, rows),
            "",
            "## Training text",
            "",
            "The files that were read; some may only decide which texts are left out (see docs/data.md).",
            "",
            markdown(["file", "SHA-256", "terms"], [list(row.values()) for row in card["files"]]),
            "",
            "## Config",
            "",
            "Fields that do not have their default:",
            "",
            markdown(["field", "value"], [[f"`{k}`", str(v)] for k, v in card["config"].items()]),
            "",
            f"To train it again: `{card['command']}`.",
            "",
            "## Validation curve",
            "",
            markdown(["step", *names], curve),
            "",
        ]
    )
