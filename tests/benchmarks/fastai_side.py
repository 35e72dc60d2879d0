"""fastai's side of a comparison: a process that builds a task once and does it again for every "go".

Runs under the Python of an environment that has fastai 2.8, and imports nothing of ulmfit_lab. The first line of
stdin is the task, as JSON; it is answered by a line once all is built, and every further line by one with what a turn
measured. What is printed besides goes to stderr.

Models, data loaders, optimiser and callbacks are fastai's own; the recipe is that of the other side, so clipping and
no weight decay. Data are loaded in the training process, as on the other side. The clock runs from a turn's second
step to its last.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fastai
import numpy as np
import torch
from fastai.callback.schedule import fit_one_cycle  # noqa: F401  (gives learners this method)
from fastai.callback.training import GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import Callback, CancelValidException
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.text.data import LMDataLoader, Pad_Chunk, SortedDL, TensorText
from fastai.text.learner import LMLearner, TextLearner
from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_clas_split, awd_lstm_lm_config, awd_lstm_lm_split
from fastai.text.models.core import get_language_model, get_text_classifier
from fastai.torch_core import TensorCategory

Spec = Mapping[str, Any]
Turn = Callable[[], dict[str, float]]
CLIP = 0.4
SEQUENCE, EVALUATION_BATCH = 72, 64
"""fastai's own window of a document, and documents side by side in evaluation."""


class Clock(Callback):  # type: ignore[misc]
    """Time and units from the end of a turn's first step to the end of its last; validation is left out.

    A GPU has done its work when the clock is looked at: at the first step's end and at the last's.
    """

    order = 100

    def __init__(self, size: Callable[[Any], int]) -> None:
        self.size, self.units, self.seconds, self.began = size, 0.0, 0.0, 0.0

    def after_batch(self) -> None:
        """A step has been made."""
        if not self.training:
            return
        if self.iter:
            self.units += self.size(self.xb[0])
        else:
            wait_for(self.dls.device)
            self.units, self.began = 0.0, time.perf_counter()

    def after_train(self) -> None:
        """An epoch's steps have been made."""
        wait_for(self.dls.device)
        self.seconds = time.perf_counter() - self.began

    def before_validate(self) -> None:
        """Skip validation."""
        raise CancelValidException


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Bfloat16(Callback):  # type: ignore[misc]
    """Autocast on either device; fastai's own mixed precision is for GPUs alone."""

    order = 10

    def before_batch(self) -> None:
        """The forward pass begins."""
        self.autocast = torch.autocast(self.dls.device.type, torch.bfloat16)
        self.autocast.__enter__()

    def after_loss(self) -> None:
        """The forward pass is done."""
        self.autocast.__exit__(None, None, None)


def callbacks(spec: Spec) -> list[Any]:
    """Callbacks beside fastai's default ones."""
    return [GradientClip(CLIP), *([Bfloat16()] if spec["precision"] == "bfloat16" else [])]


def sizes(spec: Spec) -> dict[str, int]:
    """fastai's names of a model's sizes."""
    return {"emb_sz": spec["emb"], "n_hid": spec["hidden"], "n_layers": spec["layers"]}


def language_model_learner(spec: Spec) -> Any:
    """A learner with a language model of random weights, on the streams of the task."""
    batch = {"bs": spec["batch_size"], "seq_len": spec["bptt"]}
    parts = [torch.from_numpy(np.load(spec[part]).astype(np.int64)) for part in ("train", "valid")]
    train, valid = (LMDataLoader([TensorText(part)], lens=[len(part)], **batch) for part in parts)
    torch.manual_seed(spec["seed"])
    config = awd_lstm_lm_config | sizes(spec)
    model = get_language_model(AWD_LSTM, spec["words"], config=config, drop_mult=spec["drop_mult"])
    device = torch.device(spec["device"])
    return LMLearner(
        DataLoaders(train, valid, device=device),
        model.to(device),
        loss_func=CrossEntropyLossFlat(),
        splitter=awd_lstm_lm_split,
        metrics=[accuracy],
        wd=0.0,
        cbs=callbacks(spec),
    )


def train_language_model(spec: Spec) -> Turn:
    """Tokens/s of training steps."""
    return clocked_fit(language_model_learner(spec), lambda x: x.numel(), spec)


def clocked_fit(learn: Any, size: Callable[[Any], int], spec: Spec) -> Turn:
    """Units and seconds of an epoch, with a new optimiser as on the other side."""

    def turn() -> dict[str, float]:
        clock = Clock(size)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, spec["lr"], cbs=[clock], reset_opt=True)
        return {"units": clock.units, "seconds": clock.seconds, "peak_bytes": peak_bytes(learn.dls.device)}

    return turn


def fit_language_model(spec: Spec) -> Turn:
    """Validation loss (nats a token) after an epoch over the text, from the same random weights each time."""

    def turn() -> dict[str, float]:
        learn = language_model_learner(spec)
        began = time.perf_counter()
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, spec["lr"])
        units = len(learn.dls.train.dataset[0])
        return {"loss": learn.recorder.values[-1][1], "units": units, "seconds": time.perf_counter() - began}

    return turn


def evaluate_stream(spec: Spec) -> Turn:
    """Tokens/s of evaluating a language model."""
    learn = language_model_learner(spec)
    loader = learn.dls.valid

    def turn() -> dict[str, float]:
        began = time.perf_counter()
        with learn.no_bar():
            learn.validate()
        return {"units": loader.bl * loader.bs, "seconds": time.perf_counter() - began}

    turn()  # what only the first call does
    return turn


def classifier_learner(spec: Spec) -> Any:
    """A learner with a classifier of two classes and random weights, on the documents of the task."""
    with np.load(spec["documents"]) as file:
        documents, labels = np.split(file["ids"], file["ends"][:-1]), file["labels"]
    items = [
        (TensorText(torch.from_numpy(d.astype(np.int64))), TensorCategory(int(n)))
        for d, n in zip(documents, labels, strict=True)
    ]
    options = {"res": [len(d) for d in documents], "before_batch": Pad_Chunk(seq_len=SEQUENCE), "num_workers": 0}
    train = SortedDL(items, bs=spec["batch_size"], shuffle=True, drop_last=True, **options)
    valid = SortedDL(items, bs=EVALUATION_BATCH, **options)
    torch.manual_seed(0)
    model = get_text_classifier(AWD_LSTM, spec["words"], 2, config=sizes(spec), drop_mult=spec["drop_mult"])
    device = torch.device(spec["device"])
    return TextLearner(
        DataLoaders(train, valid, device=device),
        model.to(device),
        loss_func=CrossEntropyLossFlat(),
        splitter=awd_lstm_clas_split,
        metrics=[accuracy],
        wd=0.0,
        cbs=callbacks(spec),
    )


def train_classifier(spec: Spec) -> Turn:
    """Documents/s of an epoch's training steps; of all places in the batches, the share that holds padding."""
    learn = classifier_learner(spec)
    batches = [batch[0] for batch in learn.dls.train]
    padding = sum(float((x == 1).sum()) for x in batches) / sum(x.numel() for x in batches)
    fit = clocked_fit(learn, len, spec)
    return lambda: fit() | {"padding": padding}


def classify(spec: Spec) -> Turn:
    """Documents/s of classifying."""
    learn = classifier_learner(spec)

    def turn() -> dict[str, float]:
        began = time.perf_counter()
        with learn.no_bar():
            learn.get_preds()
        return {"units": len(learn.dls.valid.dataset), "seconds": time.perf_counter() - began}

    turn()
    return turn


TASKS: Mapping[str, Callable[[Spec], Turn]] = {
    "train language model": train_language_model,
    "fit language model": fit_language_model,
    "evaluate language model": evaluate_stream,
    "train classifier": train_classifier,
    "classify": classify,
}


def peak_bytes(device: torch.device) -> int:
    """Most memory that this process has held, on a GPU that of its tensors; getrusage would count its parent's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return 1024 * int(found[1]) if found else 0


def end_with_parent() -> None:
    """End this process once standard input hangs up, as it does when the one that gives it tasks has ended."""
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
    os._exit(1)


def main() -> None:
    """Read a task, build it, do it for every line."""
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=end_with_parent, daemon=True).start()
    spec = json.loads(sys.stdin.readline())
    torch.set_num_threads(spec["threads"])
    torch.set_flush_denormal(True)
    if spec["device"] != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = spec["precision"] == "tf32"
    turn = TASKS[spec["task"]](spec)
    print(json.dumps({"torch": torch.__version__, "fastai": fastai.__version__}), file=out)
    for _ in iter(sys.stdin.readline, ""):
        print(json.dumps(turn()), file=out)


if __name__ == "__main__":
    main()
