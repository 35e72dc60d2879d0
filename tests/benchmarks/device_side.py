"""Tasks of our side that look into one part of a model on a device: an LSTM layer, and the output layer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from ulmfit_lab.models import cross_entropy
from ulmfit_lab.models.awd_lstm import LSTMLayer
from ulmfit_lab.pipeline.devices import wait_for

REPEATS, WARM_UP = 10, 3


def milliseconds(work: Callable[[], Any], device: torch.device) -> float:
    """Mean time of a piece of work, after a few that do not count."""
    for _ in range(WARM_UP):
        work()
    wait_for(device)
    began = time.perf_counter()
    for _ in range(REPEATS):
        work()
    wait_for(device)
    return 1000 * (time.perf_counter() - began) / REPEATS


def lstm_layer(spec: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Milliseconds of a hidden layer's forward and backward pass in several ways, the output's type and what failed.

    The ways: the library's layer in the task's precision, with weight dropout and without; torch's `nn.LSTM`, whose
    weights lie in one piece of memory; that layer with its weights converted to bfloat16 by hand, not by autocast.
    """
    size = spec["hidden"]
    x = torch.randn(spec["bptt"], spec["batch_size"], size, device=device)
    state = torch.zeros(spec["batch_size"], size, device=device)
    low = spec["precision"] == "bfloat16"

    def ours(dropout: float) -> Callable[[], Tensor]:
        layer = LSTMLayer(size, size, dropout).to(device)
        return lambda: layer(x, (state, state))[0]

    whole = nn.LSTM(size, size).to(device)
    converted = nn.LSTM(size, size).to(device, torch.bfloat16)
    ways: dict[str, tuple[Callable[[], Tensor], bool]] = {
        "ours": (ours(0.5), low),
        "ours without weight dropout": (ours(0.0), low),
        "nn.LSTM": (lambda: whole(x)[0], low),
    }
    if low:
        ways["nn.LSTM converted to bfloat16"] = (lambda: converted(x.bfloat16())[0], False)
    return {name: or_error(partial(timed_layer, forward, device, cast)) for name, (forward, cast) in ways.items()}


def or_error(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a measurement finds, or the first line of why it cannot be made."""
    try:
        return measure()
    except RuntimeError as error:
        return {"error": str(error).splitlines()[0]}


def timed_layer(forward: Callable[[], Tensor], device: torch.device, cast: bool) -> dict[str, Any]:
    """Time and output type of a layer; the gradient that comes back is 1e-6, as small as a language model's."""
    kinds = []

    def work() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=cast):
            output = forward()
        kinds.append(str(output.dtype).removeprefix("torch."))
        output.backward(torch.full_like(output, 1e-6))  # type: ignore[no-untyped-call]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spent = milliseconds(work, device)
    return {"ms": spent, "output": kinds[0], "warnings": sorted({str(each.message)[:80] for each in caught})}


def output_layer(spec: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Milliseconds of the output layer's forward and backward pass, by rows of logits that are held at once."""
    words, size, rows = spec["words"], spec["emb"], spec["bptt"] * spec["batch_size"]
    hidden = torch.randn(rows, size, device=device, requires_grad=True)
    weight = torch.randn(words, size, device=device, requires_grad=True)
    bias = torch.zeros(words, device=device, requires_grad=True)
    targets = torch.randint(words, (rows,), device=device)

    def work() -> None:
        loss = cross_entropy.linear_cross_entropy(hidden, weight, bias, targets, spec["precision"])
        loss.backward()  # type: ignore[no-untyped-call]

    def timed(block: int) -> dict[str, Any]:
        with patch.object(cross_entropy, "block_rows", lambda words, device: block):
            return {"ms": milliseconds(work, device)}

    default = cross_entropy.block_rows(words, device)
    found = {f"{block:,} rows at once": or_error(partial(timed, block)) for block in spec["blocks"]}
    return found | {f"{default:,} rows at once, as by default": or_error(partial(timed, default))}
