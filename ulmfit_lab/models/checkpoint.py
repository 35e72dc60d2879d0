"""Checkpoints: weights in safetensors, stamped with what they belong to and refused where they do not.

Resume states, which hold optimiser and random state besides, are written by torch and read with `weights_only`.
Both are written beside their place and moved there, so that a file is whole or absent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ulmfit_lab.errors import DataError, MismatchError


@dataclass(frozen=True)
class Stamp:
    """What a checkpoint is and what it belongs to."""

    kind: str
    """language-model, encoder or classifier."""
    vocabulary: str
    """Digest of the vocabulary."""
    direction: str
    """forwards or backwards."""


def save_checkpoint(path: Path, module: nn.Module, stamp: Stamp) -> None:
    """Write a module's weights, a shared one once, and the stamp."""
    temporary = path.with_name(path.name + ".tmp")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in distinct(module).items()}
    save_file(tensors, temporary, metadata=asdict(stamp))
    os.replace(temporary, path)


def distinct(module: nn.Module) -> dict[str, torch.Tensor]:
    """State of a module without second names of one tensor (safetensors refuses shared memory)."""
    seen: dict[int, str] = {}
    state = module.state_dict()
    return {name: t for name, t in state.items() if seen.setdefault(t.data_ptr() or id(t), name) == name}


def read_stamp(path: Path) -> Stamp:
    """The stamp of a checkpoint; raises DataError for a file that is torn or has none."""
    try:
        with safe_open(path, framework="pt") as file:
            return Stamp(**(file.metadata() or {}))
    except (SafetensorError, OSError, TypeError) as error:
        raise DataError(f"{path} is not a checkpoint of this library, or is torn: {error}") from error


def load_checkpoint(path: Path, module: nn.Module, expected: Stamp) -> None:
    """Read weights into a module.

    Raises MismatchError where kind, vocabulary, direction, names or shapes are not the expected ones.
    """
    found = read_stamp(path)
    for name, value in asdict(expected).items():
        if getattr(found, name) != value:
            raise MismatchError(f"{path}: its {name} is {getattr(found, name)}, but {value} is needed here.")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    load_tensors(path, module, tensors)


def load_tensors(path: Path, module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy tensors into a module, whose names and shapes must be theirs."""
    wanted = {name: tuple(t.shape) for name, t in distinct(module).items()}
    given = {name: tuple(t.shape) for name, t in tensors.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise MismatchError(f"{path}: {name} has shape {given.get(name)}, but the model's is {wanted.get(name)}.")
    module.load_state_dict(dict(tensors), strict=False)


def save_resume_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state (tensors, numbers, strings, lists, dicts) so that it survives a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_resume_state(path: Path) -> dict[str, Any]:
    """Read a training state; raises DataError where it is torn or holds anything but plain values."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a torn file; all mean the same here
        raise DataError(f"{path} is torn or is no training state: {type(error).__name__}") from error
    return state
