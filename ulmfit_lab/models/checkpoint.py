"""Checkpoints of weights in safetensors, with a stamp of what they belong to, and resume states written by torch.

Both are written atomically; resume states are read with `weights_only`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ulmfit_lab.utils.errors import DataError, MismatchError
from ulmfit_lab.utils.files import atomic_write


@dataclass(frozen=True)
class Stamp:
    """Kind of a checkpoint and what it belongs to."""

    kind: str
    """language-model, encoder or classifier."""
    vocabulary: str
    """Digest of the vocabulary."""
    direction: str
    """forwards or backwards."""


def save_checkpoint(path: Path, module: nn.Module, stamp: Stamp) -> None:
    """Write a module's weights, a shared one once, with a stamp, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in distinct(module).items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=asdict(stamp))


def read_stamp(path: Path) -> Stamp:
    """Read the stamp in the header of a checkpoint; raises DataError for a missing or damaged file or stamp."""
    with reading(path), safe_open(path, framework="pt") as file:
        found = file.metadata() or {}
    names = [field.name for field in fields(Stamp)]
    if any(name not in found for name in names):
        raise DataError(f"{path} is not a checkpoint of this library: its stamp lacks {', '.join(names)}.")
    return Stamp(**{name: found[name] for name in names})


def load_checkpoint(path: Path, module: nn.Module, expected: Stamp) -> None:
    """Load weights into a module, which is unchanged if an error is raised.

    Raises MismatchError if kind, vocabulary, direction, names or shapes differ from the expected ones, and DataError
    for a missing or damaged file or stamp.
    """
    found = asdict(read_stamp(path))
    for name, value in asdict(expected).items():
        if found[name] != value:
            raise MismatchError(
                f"{path}: its {name} is {found[name]}, but {value} is needed; use a checkpoint made for this one."
            )
    with reading(path):
        tensors = load_file(path)
    load_tensors(path, module, tensors)


def convert_to_float32(path: Path) -> None:
    """Convert the weights of a checkpoint to float32; raises DataError for a missing or damaged file or stamp."""
    stamp = read_stamp(path)
    with reading(path):
        tensors = load_file(path)
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        with atomic_write(path) as temporary:
            save_file({name: t.float() for name, t in tensors.items()}, temporary, metadata=asdict(stamp))


def load_tensors(path: Path, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a module; raises MismatchError if names or shapes differ from the module's."""
    given, wanted = shapes(tensors), shapes(distinct(module))
    for name in sorted(given.keys() | wanted.keys()):
        have, need = given.get(name, "absent"), wanted.get(name, "absent")
        if have != need:
            raise MismatchError(
                f"{path}: its {name} is {have}, but {need} is needed; set the sizes that it was trained with."
            )
    module.load_state_dict(dict(tensors), strict=False)  # shared tensors have further names


def distinct(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state with each shared tensor once, as safetensors requires."""
    seen: dict[int, str] = {}
    state = module.state_dict()
    return {name: t for name, t in state.items() if seen.setdefault(t.data_ptr() or id(t), name) == name}


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return name -> shape, such as "30 x 400" or "scalar"."""
    return {name: " x ".join(map(str, t.shape)) or "scalar" for name, t in tensors.items()}


def save_resume_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state (tensors, numbers, strings, lists, dicts) atomically."""
    with atomic_write(path) as temporary:
        torch.save(dict(state), temporary)


def load_resume_state(path: Path) -> dict[str, Any]:
    """Read a training state with its tensors on the CPU.

    Raises DataError if it is missing, damaged, or contains anything but plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        raise DataError(f"{path} is damaged or not a training state ({type(error).__name__}); remove it.") from error
    if not isinstance(state, dict):
        raise DataError(f"{path} is not a training state: it contains a {type(state).__name__}; remove it.")
    return state


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert the errors of reading a safetensors file to DataError."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is damaged or not a safetensors file ({reason}); make it again.") from error
