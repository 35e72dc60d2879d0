"""Stage that fine-tunes the sentence encoder, a small transformer, whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.document_batches import DocumentBatches
from ulmfit_lab.models.sentence_encoder import TransformerClassifier, load_encoder
from ulmfit_lab.pipeline.baselines import plain_text
from ulmfit_lab.pipeline.devices import configure_torch
from ulmfit_lab.pipeline.labelled_data import PREFIXES, draw_labelled, load_labelled_data, save_confusion, save_labels
from ulmfit_lab.pipeline.store import StageContext
from ulmfit_lab.pipeline.training_stages import EVALUATION_BATCH, run_training, summarize_training
from ulmfit_lab.training.evaluation import ClassifierEvaluation, evaluate_classifier
from ulmfit_lab.training.steps import head_step


def fit_transformer(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Fine-tune the sentence encoder with a linear head on the documents drawn by the seed, and test it."""
    texts = load_labelled_data(work.inputs, config)
    save_labels(work, texts)
    device, recipe = configure_torch(config.compute), config.classifier
    torch.manual_seed(seed)
    encoder = load_encoder(device, trainable=True)
    model = TransformerClassifier(encoder.model, len(texts.classes), head_dropout=recipe.head_dropout)
    draw = draw_labelled(texts, config.target.n_labels, seed)
    parts = {"train": (texts.train, draw)} | {name: texts.part(name) for name in texts.evaluated}
    batches = {}
    for name, part in parts.items():
        words, labels = texts.words(*part, config)
        training = name == "train"
        batches[name] = DocumentBatches(
            encoder.piece_ids([plain_text(document) for document in words]),
            labels,
            batch_size=recipe.batch_size if training else EVALUATION_BATCH,
            sampler=recipe.sampler if training else "sorted",
            seed=seed,
            pad=0,
            epoch_size=recipe.epoch_size if training else 0,
        )

    def evaluate(trained: torch.nn.Module, part: str) -> ClassifierEvaluation:
        return evaluate_classifier(trained, batches[part], device=device, precision=config.compute.precision)

    def validate(trained: torch.nn.Module) -> dict[str, float]:
        return evaluate(trained, "valid").metrics

    result = run_training(work, "classifier", config, recipe, seed, model, batches["train"], head_step, validate)
    found = {name: evaluate(model, name) for name in texts.evaluated}
    for name, evaluation in found.items():
        np.save(work.folder / f"{name}_predictions.npy", evaluation.probabilities)
    save_confusion(work, texts, found["test"].probabilities.argmax(1))
    tested = {PREFIXES[name]: evaluation.metrics for name, evaluation in found.items() if name != "valid"}
    final = {f"{prefix}{name}": value for prefix, metrics in tested.items() for name, value in metrics.items()}
    return summarize_training(result, recipe, final) | {"labels": len(draw), "classes": list(texts.classes)}
