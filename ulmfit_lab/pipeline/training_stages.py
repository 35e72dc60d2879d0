"""Stages that train and test language models and classifiers; runs report the numbers of their summaries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ulmfit_lab.config.paths import override
from ulmfit_lab.config.schema import (
    ClassifierConfig,
    LanguageModelConfig,
    LanguageModelTrainingConfig,
    RunConfig,
    TrainingConfig,
)
from ulmfit_lab.data.corpus import open_corpus
from ulmfit_lab.data.document_batches import DocumentBatches, FeatureBatches, padding_share
from ulmfit_lab.data.rules import PAD_ID
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.pipeline.baselines import load_document_vectors, save_vectors
from ulmfit_lab.pipeline.build_models import build_classifier, new_language_model, restore_language_model, save_model
from ulmfit_lab.pipeline.devices import configure_torch
from ulmfit_lab.pipeline.labelled_data import (
    PREFIXES,
    LabelledData,
    documents_to_encode,
    draw_labelled,
    load_labelled_data,
    load_prediction_metrics,
    save_predictions,
)
from ulmfit_lab.pipeline.store import StageContext, StageResult
from ulmfit_lab.pipeline.text_stages import Streams, load_streams, split_corpus, unlabelled_documents
from ulmfit_lab.training.curves import draw_curves
from ulmfit_lab.training.evaluation import (
    ClassifierEvaluation,
    compute_features,
    evaluate_classifier,
    evaluate_language_model,
)
from ulmfit_lab.training.loop import FitResult, fit
from ulmfit_lab.training.progress import Point
from ulmfit_lab.training.steps import Step, classifier_step, head_step, language_model_step
from ulmfit_lab.utils.errors import DataError

EVALUATION_BATCH = 32
"""Batch size of evaluation; does not change any metric."""
EVALUATION_WINDOW = 70
"""Window of a language model in evaluation; does not change any metric, since the state is carried."""


def pretrain(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Train a language model from random weights on the general corpus."""
    config = with_own_dropout(config, config.pretraining)
    corpus = open_corpus(work.inputs["corpus"].folder)
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    model = new_language_model(config, len(vocabulary.words))
    streams = load_streams(corpus, split_corpus(corpus, config.general), vocabulary)
    return _train_language_model(work, "pretraining", config, config.pretraining, seed, model, vocabulary, streams)


def fine_tune(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Fine-tune the pretrained language model on the unlabelled text, with the target's vocabulary."""
    config = with_own_dropout(config, config.fine_tuning)
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    model = restore_language_model(vocabulary, work.inputs["language model"], config)
    streams = load_streams(*unlabelled_documents(work.inputs, config, seed), vocabulary)
    unseen = unseen_share([streams.train], vocabulary, work.inputs["language model"])
    recipe = config.fine_tuning
    summary = _train_language_model(work, "fine-tuning", config, recipe, seed, model, vocabulary, streams)
    return summary | {"unseen_tokens": unseen}


def unseen_share(texts: Sequence[np.ndarray], vocabulary: Vocabulary, model: StageResult) -> float:
    """Return the share of token ids whose word is not in the vocabulary of a language model's stage."""
    known = set(Vocabulary.load(model.folder / "vocabulary.json").words)
    unseen = np.array([word not in known for word in vocabulary.words])
    return float(unseen[np.concatenate(texts)].mean())


def with_own_dropout(config: RunConfig, recipe: LanguageModelTrainingConfig) -> RunConfig:
    """The config with the multiplier of a training's own, where it has one, in place of the language model's."""
    return config if recipe.drop_mult is None else override(config, {"lm.drop_mult": recipe.drop_mult})


def _train_language_model(
    work: StageContext,
    name: str,
    config: RunConfig,
    recipe: LanguageModelTrainingConfig,
    seed: int,
    model: LanguageModel,
    vocabulary: Vocabulary,
    streams: Streams,
) -> dict[str, Any]:
    device, precision = configure_torch(config.compute), config.compute.precision
    check_stream_lengths(name.replace("-", "_"), recipe, config.lm, streams)
    train = StreamBatches(
        streams.train,
        batch_size=recipe.batch_size,
        bptt=recipe.bptt,
        stochastic=recipe.stochastic_bptt,
        rescale_lr=recipe.rescale_lr,
        seed=seed,
        backwards=config.lm.backwards,
    ).to(device)

    def evaluate(model: torch.nn.Module, stream: np.ndarray = streams.valid) -> dict[str, float]:
        batches = make_evaluation_batches(stream, config.lm).to(device)
        return evaluate_language_model(model, batches, device=device, precision=precision)

    result = run_training(
        work, name, config, recipe, seed, model, train, language_model_step(recipe, precision), evaluate
    )
    save_model(work, config, model, "language-model", vocabulary)
    tested = evaluate(model, streams.test) if len(streams.test) else {}
    sizes = {f"{name}_tokens": len(stream) for name, stream in vars(streams).items()}
    summary = summarize_training(result, recipe, tested | epoch_spread(result.history)) | sizes
    return summary | check_divergence(summary, len(vocabulary.words), name, recipe)


def check_divergence(
    summary: Mapping[str, Any], n_words: int, name: str, recipe: LanguageModelTrainingConfig
) -> dict[str, str]:
    """Return a message if a language model ended worse than uniform predictions, else nothing.

    Reasons are exploding gradients and a learning rate that is too high.
    """
    loss, bound = summary["final"]["valid_loss"], math.log(n_words)
    if not summary["steps"] or loss <= bound:
        return {}
    at = name.replace("-", "_")
    found = f"validation loss {loss:.4g} nats is above {bound:.4g}, that of guessing all {n_words:,} words alike"
    return {"diverged": f"{found}; lower {at}.lr ({recipe.lr:g}) or clip harder ({at}.clip, {recipe.clip:g})"}


def make_evaluation_batches(stream: np.ndarray, lm: LanguageModelConfig) -> StreamBatches:
    """Return the batches on which every language model is evaluated, whatever its training batches.

    Raises DataError if the stream has less than a token per column.
    """
    size, window = lm.eval_batch_size, EVALUATION_WINDOW
    return StreamBatches(stream, batch_size=size, bptt=window, stochastic=False, backwards=lm.backwards)


def check_stream_lengths(
    group: str, recipe: LanguageModelTrainingConfig, lm: LanguageModelConfig, streams: Streams
) -> None:
    """Raise DataError, with the field, if a part is too short for its batch size."""
    for part, stream in vars(streams).items():
        field, size = (f"{group}.batch_size", recipe.batch_size)
        if part != "train":
            field, size = ("lm.eval_batch_size", lm.eval_batch_size)
        if len(stream) <= size and (len(stream) or part != "test"):
            short = f"{field} = {size} needs more than the {len(stream)} {part} tokens"
            raise DataError(f"{short}; lower it, or give more text.")


def run_training(
    work: StageContext,
    name: str,
    config: RunConfig,
    recipe: TrainingConfig,
    seed: int,
    model: torch.nn.Module,
    batches: StreamBatches | DocumentBatches | FeatureBatches,
    step: Step,
    evaluate: Callable[[torch.nn.Module], dict[str, float]],
) -> FitResult:
    """Train a model in place, resuming from the stage's folder."""
    device, resume = configure_torch(config.compute), work.folder / "resume.pt"
    points: list[Point] = []

    def record(point: Point) -> None:
        points.append(point)
        work.record(point)

    result = fit(
        model.to(device),
        batches,
        step,
        evaluate,
        recipe,
        seed=seed,
        resume=resume,
        record=record,
        progress=work.progress,
        device=device,
        precision=config.compute.precision,
    )
    resume.unlink(missing_ok=True)
    if points:  # empty without epochs
        draw_curves({name: points}).savefig(work.folder / f"losses-{name}.png")
    return result


def fit_classifier(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Train a classifier on the documents drawn by the seed, and test it."""
    texts = load_labelled_data(work.inputs, config)
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    model = build_classifier(vocabulary, work.inputs, config, len(texts.classes))
    device, precision, recipe = configure_torch(config.compute), config.compute.precision, config.classifier
    draw = draw_labelled(texts, config.target.n_labels, seed)
    parts = {"train": (texts.train, draw)} | {name: texts.part(name) for name in texts.evaluated}
    documents = {
        name: make_document_batches(
            *texts.select(*part, vocabulary, config),
            config,
            **batch_options(recipe, name, seed),
        )
        for name, part in parts.items()
    }
    trained: torch.nn.Module = model
    step, batches = classifier_step(recipe), dict[str, DocumentBatches | FeatureBatches](documents)
    if recipe.unfreeze == "last":  # the encoder's outputs do not change
        trained, step = model.head, head_step
        batches = {name: FeatureBatches(documents[name], stored_features(work, name, parts[name][1])) for name in parts}

    def evaluate(trained: torch.nn.Module, part: str) -> ClassifierEvaluation:
        return evaluate_classifier(trained, batches[part], device=device, precision=precision)

    def validate(trained: torch.nn.Module) -> dict[str, float]:
        return evaluate(trained, "valid").metrics

    result = run_training(work, "classifier", config, recipe, seed, trained, batches["train"], step, validate)
    save_model(work, config, model, "classifier", vocabulary)
    found = {part: evaluate(trained, part) for part in texts.evaluated}
    save_predictions(work, texts, {part: evaluation.probabilities for part, evaluation in found.items()})
    samples = format_samples(texts, found["test"].probabilities, config)
    (work.folder / "samples.txt").write_text(samples, encoding="utf-8")
    padding = {"padding": padding_share(documents["train"].epoch(0))}
    summary = summarize_training(result, recipe, tested_metrics(found) | padding)
    if recipe.init == "pretrained":
        read = texts.select(*parts["train"], vocabulary, config)[0]
        summary |= {"unseen_tokens": unseen_share(read, vocabulary, work.inputs["language model"])}
    return summary | {"labels": len(draw), "classes": list(texts.classes)}


def tested_metrics(found: Mapping[str, ClassifierEvaluation]) -> dict[str, float]:
    """Return the metrics of the test set and the holdout; validation metrics are those of training."""
    tested = {PREFIXES[part]: evaluation.metrics for part, evaluation in found.items() if part != "valid"}
    return {f"{prefix}{name}": value for prefix, metrics in tested.items() for name, value in metrics.items()}


def encode_features(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Compute the features of the documents that a run reads, or of test documents, with a frozen encoder.

    seed: draws the documents if target.n_labels is set, and weights that no earlier stage has; dropout is off
    """
    corpus, numbers = documents_to_encode(work.inputs, config, seed)
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    device = configure_torch(config.compute)
    model = build_classifier(vocabulary, work.inputs, config, n_classes=2).to(device)  # only the encoder is used
    ids = corpus.documents(vocabulary, numbers, config.target.max_words)
    batches = make_document_batches(ids, np.zeros(len(ids), np.int64), config, "sorted", EVALUATION_BATCH)
    features = compute_features(model, batches, device=device, precision=config.compute.precision)
    return save_vectors(work, numbers, features)


def stored_features(work: StageContext, part: str, numbers: np.ndarray) -> np.ndarray:
    """Load the features (n, F) of the documents numbered (n,) in the train, valid or test part."""
    own = work.inputs["features"]
    return load_document_vectors(work.inputs.get("test features", own) if part == "test" else own, numbers)


def average_classifiers(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Average the probabilities of the two classifiers among the inputs, and test them."""
    texts = load_labelled_data(work.inputs, config)
    members = [stored for stored in work.inputs.values() if stored.kind == "classifier"]
    averaged = {}
    for part in texts.evaluated:
        files = [stored.folder / f"{part}_predictions.npy" for stored in members]
        averaged[part] = np.mean([np.load(file, allow_pickle=False) for file in files], axis=0)
    save_predictions(work, texts, averaged)
    final = load_prediction_metrics(work.folder)
    best = {name.removeprefix("valid_"): value for name, value in final.items() if name.startswith("valid_")}
    return {"final": final, "best": best}


def format_samples(texts: LabelledData, predictions: np.ndarray, config: RunConfig, n: int = 10) -> str:
    """Format the first test documents as the model read them, with label, prediction and its probability (n, C)."""
    words, labels = texts.words(texts.test, texts.tested[:n], config)
    lines = []
    for document, label, scores in zip(words, labels, predictions, strict=False):
        guess = int(scores.argmax())
        head = f"{texts.classes[label]}, predicted {texts.classes[guess]} ({scores[guess]:.2f})"
        lines.append(f"{head}\n  {' '.join(document[:60])}\n")
    return "\n".join(lines)


def batch_options(recipe: ClassifierConfig, part: str, seed: int) -> dict[str, Any]:
    """Return the options of a part's batches: those of the recipe for training, sorted ones for evaluation."""
    if part != "train":
        return {"sampler": "sorted", "batch_size": EVALUATION_BATCH}
    return {
        "sampler": recipe.sampler,
        "batch_size": recipe.batch_size,
        "seed": seed,
        "epoch_size": recipe.epoch_size,
    }


def make_document_batches(
    documents: list[np.ndarray],
    labels: np.ndarray,
    config: RunConfig,
    sampler: str,
    batch_size: int,
    seed: int = 0,
    epoch_size: int = 0,
) -> DocumentBatches:
    """Return batches of documents in the configured direction."""
    return DocumentBatches(
        documents,
        labels,
        batch_size=batch_size,
        sampler=sampler,
        seed=seed,
        pad=PAD_ID,
        backwards=config.lm.backwards,
        epoch_size=epoch_size,
    )


def summarize_training(result: FitResult, recipe: TrainingConfig, tested: Mapping[str, float]) -> dict[str, Any]:
    """Return a stage's summary: `final` has the test metrics, and those on validation data with `valid_`."""
    kept = result.final if recipe.checkpoint == "last" else result.best
    return {
        "best": dict(result.best),
        "final": dict(tested) | {f"valid_{name}": value for name, value in kept.items()},
        "steps": result.steps,
        "trained_tokens": result.tokens,
        "seconds": result.seconds,
        "stopped": result.stopped,
        "averaging_began": result.averaging_began,
    }


def epoch_spread(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the sd of a language model's validation metrics over the last half of its epochs.

    It measures whether training has converged, including trends. Perplexity is on the log scale (nats). Empty for fewer
    than two epochs.
    """
    last = history[len(history) // 2 :]
    if len(last) < 2:
        return {}
    measures = {"perplexity": "loss", "accuracy": "accuracy"}
    spread = {name: float(np.std([epoch[key] for epoch in last], ddof=1)) for name, key in measures.items()}
    return {f"valid_{name}_epoch_sd": sd for name, sd in spread.items()}
