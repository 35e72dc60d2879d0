"""Stage that fine-tunes the sentence encoder, a small transformer, whole."""

from __future__ import annotations

from typing import Any

import torch

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.document_batches import DocumentBatches
from ulmfit_lab.models.sentence_encoder import TransformerClassifier, load_encoder
from ulmfit_lab.pipeline.baselines import plain_text
from ulmfit_lab.pipeline.devices import configure_torch
from ulmfit_lab.pipeline.labelled_data import draw_labelled, load_labelled_data, save_predictions
from ulmfit_lab.pipeline.store import StageContext
from ulmfit_lab.pipeline.training_stages import batch_options, run_training, summarize_training, tested_metrics
from ulmfit_lab.training.evaluation import ClassifierEvaluation, evaluate_classifier
from ulmfit_lab.training.steps import head_step


def fit_transformer(work: StageContext, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Fine-tune the sentence encoder with a linear head on the documents drawn by the seed, and test it."""
    texts = load_labelled_data(work.inputs, config)
    device, recipe = configure_torch(config.compute), config.classifier
    torch.manual_seed(seed)
    encoder = load_encoder(device, trainable=True)
    model = TransformerClassifier(encoder.model, len(texts.classes), head_dropout=recipe.head_dropout)
    draw = draw_labelled(texts, config.target.n_labels, seed)
    batches = {}
    for part in ("train", *texts.evaluated):
        words, labels = texts.words(*((texts.train, draw) if part == "train" else texts.part(part)), config)
        pieces = encoder.piece_ids([plain_text(document) for document in words])
        batches[part] = DocumentBatches(pieces, labels, pad=0, **batch_options(recipe, part, seed))

    def evaluate(trained: torch.nn.Module, part: str) -> ClassifierEvaluation:
        return evaluate_classifier(trained, batches[part], device=device, precision=config.compute.precision)

    def validate(trained: torch.nn.Module) -> dict[str, float]:
        return evaluate(trained, "valid").metrics

    result = run_training(work, "classifier", config, recipe, seed, model, batches["train"], head_step, validate)
    found = {part: evaluate(model, part) for part in texts.evaluated}
    save_predictions(work, texts, {part: evaluation.probabilities for part, evaluation in found.items()})
    summary = summarize_training(result, recipe, tested_metrics(found))
    return summary | {"labels": len(draw), "classes": list(texts.classes)}
