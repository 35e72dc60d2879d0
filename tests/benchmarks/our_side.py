"""Our side of a comparison: a process that builds a task once and does it again for every "go".

The tasks are those of `fastai_side.py`, and so are the words on stdin and stdout (see `sides`). Models are trained by
the library's own loop, as a stage trains them; the clock runs from a turn's second step to its last, so that what
happens once a fit is left out.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulmfit_lab.config.paths import override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.document_batches import DocumentBatches, padding_share
from ulmfit_lab.data.rules import SPECIALS
from ulmfit_lab.data.stream_batches import StreamBatches
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.pipeline.build_models import build_classifier, new_language_model
from ulmfit_lab.pipeline.devices import configure_torch, matmul_flops, wait_for
from ulmfit_lab.pipeline.training_stages import EVALUATION_BATCH, make_document_batches
from ulmfit_lab.training.evaluation import evaluate_classifier, evaluate_language_model
from ulmfit_lab.training.loop import fit
from ulmfit_lab.training.steps import classifier_step, language_model_step
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.interrupts import exit_with_parent

Spec = Mapping[str, Any]
Turn = Callable[[], dict[str, Any]]
CPU = torch.device("cpu")


class Clocked:
    """Batches that a clock runs for: from when the second is asked for until no more are.

    The device has done its work whenever the clock is looked at.
    """

    def __init__(
        self, batches: Any, size: Callable[[Any], int], most: int | None = None, device: torch.device = CPU
    ) -> None:
        self.batches, self.size, self.most, self.device = batches, size, most, device
        self.done = self.seconds = 0.0

    def count(self, epoch: int) -> int:
        """Number of batches; at most `most`."""
        return min(int(self.batches.count(epoch)), self.most or sys.maxsize)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches themselves."""
        self.done, began = 0.0, 0.0
        for number, batch in enumerate(islice(self.batches.epoch(epoch, start), self.most)):
            yield batch
            if number:
                self.done += self.size(batch)
            else:
                wait_for(self.device)
                began = time.perf_counter()
        wait_for(self.device)
        self.seconds = time.perf_counter() - began


def config_of(spec: Spec) -> RunConfig:
    """The run's config that a task speaks of; windows have one length, as fastai's have."""
    return override(
        RunConfig(),
        {
            "lm.emb_size": spec["emb"],
            "lm.hidden_size": spec["hidden"],
            "lm.n_layers": spec["layers"],
            "lm.drop_mult": spec["drop_mult"],
            "pretraining.batch_size": spec["batch_size"],
            "pretraining.bptt": spec["bptt"],
            "pretraining.stochastic_bptt": False,
            "pretraining.schedule": "one-cycle",
            "pretraining.lr": spec["lr"],
            "classifier.batch_size": spec["batch_size"],
            "classifier.drop_mult": spec["drop_mult"],
            "compute.device": spec["device"],
            "compute.threads": spec["threads"],
            "compute.precision": "bfloat16" if spec["precision"] == "bfloat16" else "float32",
        },
    )


def prepare(spec: Spec, config: RunConfig) -> tuple[torch.device, str]:
    """Set torch up as a task says; returns the device and the precision that the library is given.

    What is computed in float32 may take TensorFloat-32 on a GPU where the task's precision is "tf32", and only there.
    """
    if spec["device"] != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = spec["precision"] == "tf32"
    return configure_torch(config.compute), config.compute.precision


def language_model_of(spec: Spec, config: RunConfig) -> LanguageModel:
    """A language model with random weights, on the task's device."""
    torch.manual_seed(spec["seed"])
    return new_language_model(config, spec["words"]).to(torch.device(spec["device"]))


def stream_of(spec: Spec, part: str, config: RunConfig) -> StreamBatches:
    """Windows of a part of the text."""
    recipe, stream = config.pretraining, np.load(spec[part], allow_pickle=False)
    batches = StreamBatches(stream, batch_size=recipe.batch_size, bptt=recipe.bptt, stochastic=False)
    return batches.to(torch.device(spec["device"]))


def train_language_model(spec: Spec) -> Turn:
    """Tokens/s of as many training steps."""
    config = config_of(spec)
    (device, precision), recipe = prepare(spec, config), config.pretraining
    model, stream = language_model_of(spec, config), stream_of(spec, "train", config)
    batches = Clocked(stream, lambda batch: batch.n_tokens, spec["steps"] + 1, device)
    return lambda: clocked_fit(model, batches, language_model_step(recipe, precision), recipe, device, precision)


def clocked_fit(
    model: Any, batches: Clocked, step: Any, recipe: Any, device: torch.device, precision: str
) -> dict[str, float]:
    """Units and seconds of an epoch, without validation."""
    nothing: Callable[[Any], dict[str, float]] = lambda model: {"loss": 0.0}  # noqa: E731
    fit(model, batches, step, nothing, recipe, seed=0, device=device, precision=precision)
    return {"units": batches.done, "seconds": batches.seconds, "peak_bytes": peak_bytes(device)}


def fit_language_model(spec: Spec) -> Turn:
    """Validation loss (nats a token) after an epoch over the text, from the same random weights each time."""
    config = config_of(spec)
    (device, precision), recipe = prepare(spec, config), config.pretraining

    def turn() -> dict[str, float]:
        model, train = language_model_of(spec, config), stream_of(spec, "train", config)
        valid = stream_of(spec, "valid", config)
        evaluate = lambda model: evaluate_language_model(model, valid, device=device, precision=precision)  # noqa: E731
        step = language_model_step(recipe, precision)
        result = fit(model, train, step, evaluate, recipe, seed=spec["seed"], device=device, precision=precision)
        return {"loss": result.final["loss"], "units": result.tokens, "seconds": result.seconds}

    return turn


def evaluate_stream(spec: Spec) -> Turn:
    """Tokens/s of evaluating a language model."""
    config = config_of(spec)
    device, precision = prepare(spec, config)
    model, valid = language_model_of(spec, config), stream_of(spec, "valid", config)

    def turn() -> dict[str, float]:
        began = time.perf_counter()
        evaluate_language_model(model, valid, device=device, precision=precision)
        return {"units": valid.columns[1:].numel(), "seconds": time.perf_counter() - began}

    turn()  # what only the first call does
    return turn


def documents_of(spec: Spec, config: RunConfig, sampler: str, batch_size: int) -> DocumentBatches:
    """The documents as batches."""
    with np.load(spec["documents"], allow_pickle=False) as file:
        documents, labels = np.split(file["ids"], file["ends"][:-1]), file["labels"]
    return make_document_batches(documents, labels, config, sampler, batch_size)


def classifier_of(spec: Spec, config: RunConfig) -> Classifier:
    """A classifier of two classes with random weights, on the task's device."""
    torch.manual_seed(0)
    words = SPECIALS + tuple(f"w{number}" for number in range(spec["words"] - len(SPECIALS)))
    return build_classifier(Vocabulary(words), {}, config, 2).to(torch.device(spec["device"]))


def train_classifier(spec: Spec) -> Turn:
    """Documents/s of an epoch's training steps."""
    config = config_of(spec)
    (device, precision), recipe = prepare(spec, config), config.classifier
    model, batches = classifier_of(spec, config), documents_of(spec, config, recipe.sampler, recipe.batch_size)
    clocked = Clocked(batches, lambda batch: len(batch.labels), device=device)
    padding = padding_share(batches.epoch(0))
    step = classifier_step(recipe)
    return lambda: clocked_fit(model, clocked, step, recipe, device, precision) | {"padding": padding}


def classify(spec: Spec) -> Turn:
    """Documents/s of classifying."""
    config = config_of(spec)
    device, precision = prepare(spec, config)
    model, batches = classifier_of(spec, config), documents_of(spec, config, "sorted", EVALUATION_BATCH)

    def turn() -> dict[str, float]:
        began = time.perf_counter()
        assert evaluate_classifier(model, batches, device=device, precision=precision).metrics
        return {"units": len(batches.documents), "seconds": time.perf_counter() - began}

    turn()
    return turn


def multiply(spec: Spec) -> Turn:
    """Floating-point operations/s of the fastest of a few large matrix products."""
    device, _ = prepare(spec, config_of(spec))
    kind = torch.bfloat16 if spec["precision"] == "bfloat16" else torch.float32
    pairs = [(torch.randn(m, k).to(device, kind), torch.randn(k, n).to(device, kind)) for m, k, n in spec["shapes"]]

    def turn() -> dict[str, float]:
        rates = [matmul_flops(left, right, spec["repeats"]) for left, right in pairs]
        return {"units": max(rates), "seconds": 1.0}

    return turn


def part(spec: Spec) -> Turn:
    """Times of one part of a model in several ways and precisions; see `device_side`."""
    from benchmarks import device_side

    measure = getattr(device_side, spec["part"])

    def turn() -> dict[str, Any]:
        ways = {}
        for precision in spec["precisions"]:
            one = {**spec, "precision": precision}
            try:
                device, _ = prepare(one, config_of(one))
                ways[precision] = measure(one, device)
            except LabError as error:  # a precision that this device does not have
                ways[precision] = {"no way": {"error": str(error)}}
        return {"ways": ways}

    return turn


def sweep(spec: Spec) -> Turn:
    """CPU time of a small sweep, in training and outside of it."""
    from benchmarks.tracking_cost import cpu_of_sweep

    return lambda: cpu_of_sweep(Path(spec["home"]), spec["scale"], spec["seeds"], tracked=spec["tracked"])


TASKS: Mapping[str, Callable[[Spec], Turn]] = {
    "train language model": train_language_model,
    "fit language model": fit_language_model,
    "evaluate language model": evaluate_stream,
    "train classifier": train_classifier,
    "classify": classify,
    "multiply": multiply,
    "part": part,
    "sweep": sweep,
}


def peak_bytes(device: torch.device = CPU) -> int:
    """Most memory that this process has held, on a GPU that of its tensors; getrusage would count its parent's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return 1024 * int(found[1]) if found else 0


def main() -> None:
    """Read a task, build it, do it for every "go"; what is printed besides goes to stderr."""
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    exit_with_parent()
    spec = json.loads(sys.stdin.readline())
    turn = TASKS[spec["task"]](spec)
    print(json.dumps({"torch": torch.__version__}), file=out)
    for _ in iter(sys.stdin.readline, ""):
        print(json.dumps(turn()), file=out)


if __name__ == "__main__":
    main()
