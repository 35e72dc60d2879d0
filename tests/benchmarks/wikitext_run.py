"""AWD-LSTM of the paper's size on WikiText-2, trained by the library's own loop for as long as there is time.

The recipe is fastai's for WikiText-2 (its example `train_wt2`): Adam and one cycle over 90 epochs, with dropouts close
to the paper's, 104 columns and windows of 72 words. NT-ASGD, the paper's, needs hundreds of epochs. How many epochs fit
the time is found out by a few steps. A long training that was interrupted goes on with as many.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.our_side import Clocked, clocked_fit, config_of, prepare
from benchmarks.setting import Bench
from ulmfit_lab.config.paths import override
from ulmfit_lab.config.schema import LanguageModelTrainingConfig
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.models.awd_lstm import LSTMLayer
from ulmfit_lab.pipeline.build_models import new_language_model
from ulmfit_lab.training.evaluation import evaluate_language_model
from ulmfit_lab.training.loop import fit
from ulmfit_lab.training.steps import autocast, language_model_step
from ulmfit_lab.utils.files import atomic_write

EVALUATION_BATCH = 20
PROBE_STEPS = 20
RESUMED_MINUTES = 10.0
"""From so many minutes on a resume state of 400 MB is written every epoch; below, it costs more than it can save."""
SPARE = 0.9
"""Share of the time that the planned epochs may take."""
RECIPE: Mapping[str, Any] = {
    "lm.drop_mult": 1.0,
    "lm.input_dropout": 0.6,
    "lm.output_dropout": 0.4,
    "lm.weight_dropout": 0.5,
    "lm.embedding_dropout": 0.1,
    "lm.hidden_dropout": 0.2,
    "pretraining.lr": 5e-3,
    "pretraining.schedule": "one-cycle",
    "pretraining.weight_decay": 0.1,
    "pretraining.clip": 0.1,
    "pretraining.alpha": 3.0,
    "pretraining.beta": 2.0,
    "pretraining.stochastic_bptt": True,
}
"""fastai's, but for Adam's epsilon (1e-7 there), the first rate (a tenth of the highest there, a 25th here) and windows
of random length."""


def train(bench: Bench, text: Mapping[str, np.ndarray], *, known: bool) -> dict[str, Any]:
    """Train, and return the report, which is also written after every epoch: perplexities, seconds, recipe."""
    folder = bench.kept or bench.folder
    folder.mkdir(parents=True, exist_ok=True)
    path, resume = folder / "wikitext2.json", resume_file(bench)
    keeps = bench.minutes >= RESUMED_MINUTES
    began, ends = time.monotonic(), min(bench.ends, time.monotonic() + 60 * bench.minutes)
    sizes = bench.sizes
    precision = fast_precision(torch.device(bench.device))
    spec = bench.spec("", sizes.paper, precision, batch_size=sizes.wikitext_batch, bptt=sizes.wikitext_bptt)
    config = override(config_of(spec), RECIPE)
    device, lab_precision = prepare(spec, config)
    streams = {
        part: windows(ids, sizes.wikitext_batch if part == "train" else None, sizes.wikitext_bptt, device)
        for part, ids in text.items()
    }

    def new_model() -> Any:
        torch.manual_seed(0)
        return new_language_model(config, sizes.paper.words).to(device)

    def evaluate(model: torch.nn.Module, part: str = "valid") -> dict[str, float]:
        return evaluate_language_model(model, streams[part], device=device, precision=lab_precision)

    report = json.loads(path.read_text(encoding="utf-8")) if keeps and path.exists() and resume.exists() else {}
    if not report:
        epochs, rate = epochs_in(
            ends - time.monotonic(), new_model(), streams["train"], evaluate, config.pretraining, device, lab_precision
        )
        report = {"text": "WikiText-2" if known else "a made-up text", "precision": precision, "device": str(device)}
        report |= {"epochs": min(epochs, sizes.most_epochs), "tokens_per_second": rate}
        report |= {"recipe": {**RECIPE, "pretraining.batch_size": spec["batch_size"], "pretraining.bptt": spec["bptt"]}}
        report |= {"published": {"valid": 68.6, "test": 65.8, "epochs": 750}, "history": [], "seconds": 0.0}
    recipe = replace(config.pretraining, epochs=report["epochs"])
    before = report["seconds"]
    tell(f"{report['epochs']} epochs planned at {report['tokens_per_second']:,.0f} tokens/s")

    def record_epoch(model: torch.nn.Module) -> dict[str, float]:
        metrics = evaluate(model)
        report["seconds"] = before + time.monotonic() - began
        epoch = len(report["history"]) + 1
        report["history"].append({"epoch": epoch, "seconds": round(report["seconds"], 1), **metrics})
        tell(f"epoch {epoch}/{report['epochs']}: perplexity {metrics['perplexity']:.2f}, {report['seconds']:.0f} s")
        write(path, report)
        return metrics

    model = new_model()
    step = language_model_step(recipe, lab_precision)
    options: dict[str, Any] = {"seed": 0, "device": device, "precision": lab_precision, "checkpoint_seconds": 60.0}
    result = fit(model, streams["train"], step, record_epoch, recipe, resume=resume if keeps else None, **options)
    # an epoch that ended just before an interruption may have been told twice
    report["history"] = [told | epoch for told, epoch in zip(report["history"], result.history, strict=False)]
    report["test_perplexity"] = evaluate(model, "test")["perplexity"]
    report["seconds"] = before + time.monotonic() - began
    tell(f"test perplexity {report['test_perplexity']:.2f}")
    write(path, report)
    resume.unlink(missing_ok=True)
    return report


def fast_precision(device: torch.device) -> str:
    """The fastest precision that an LSTM can be trained in: bfloat16 or TF32 on a GPU, float32 elsewhere."""
    if device.type != "cuda":
        return "float32"
    layer = LSTMLayer(8, 8, 0.5).to(device)
    try:
        with autocast(device, "bfloat16"):
            output, _ = layer(torch.zeros(2, 2, 8, device=device), 2 * (torch.zeros(2, 8, device=device),))
        output.float().sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        tell(f"no LSTM in bfloat16 here ({str(error).splitlines()[0]}); TF32 instead")
        return "tf32"
    return "bfloat16"


def windows(ids: np.ndarray, batch: int | None, bptt: int, device: torch.device) -> StreamBatches:
    """Windows for training, or, without a batch size, for evaluation."""
    return StreamBatches(ids, batch_size=batch or EVALUATION_BATCH, bptt=bptt, stochastic=batch is not None).to(device)


def epochs_in(
    seconds: float,
    model: Any,
    batches: StreamBatches,
    evaluate: Any,
    recipe: LanguageModelTrainingConfig,
    device: torch.device,
    precision: str,
) -> tuple[int, float]:
    """How many epochs fit into so many seconds, at least one, and the tokens/s of training that this follows from."""
    clocked = Clocked(batches, lambda batch: batch.n_tokens, PROBE_STEPS + 1, device)
    began = time.monotonic()
    found = clocked_fit(model, clocked, language_model_step(recipe, precision), recipe, device, precision)
    rate = found["units"] / found["seconds"]
    evaluate(model)  # what only the first call does
    evaluating = time.monotonic()
    evaluate(model)
    now = time.monotonic()
    epoch = batches.columns[1:].numel() / rate + now - evaluating
    return max(int(SPARE * (seconds - (now - began)) / epoch), 1), rate


def resume_file(bench: Bench) -> Path:
    """Where an interrupted training waits; 400 MB, and so not among the results."""
    folder = bench.home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "wikitext2.pt"


def write(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report as it is so far."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def tell(line: str) -> None:
    """Say something while the training goes on."""
    print(line, file=sys.stderr, flush=True)
