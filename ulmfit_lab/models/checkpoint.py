"""Checkpoints: weights in safetensors, stamped with what they belong to and refused where they do not.

Resume states, which hold optimiser and random state besides, are written by torch and read with `weights_only`.
Both are written beside their place and moved there, so that a file is whole or absent.
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
    """What a checkpoint is and what it belongs to."""

    kind: str
    """language-model, encoder or classifier."""
    vocabulary: str
    """Digest of the vocabulary."""
    direction: str
    """forwards or backwards."""


def save_checkpoint(path: Path, module: nn.Module, stamp: Stamp) -> None:
    """Write a module's weights, a shared one once, and the stamp; the file is replaced whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in distinct(module).items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=asdict(stamp))


def read_stamp(path: Path) -> Stamp:
    """The stamp of a checkpoint; only the file's header is read.

    Raises DataError for a file that is absent, torn, or has no stamp.
    """
    with reading(path), safe_open(path, framework="pt") as file:
        found = file.metadata() or {}
    names = [field.name for field in fields(Stamp)]
    if any(name not in found for name in names):
        raise DataError(f"{path} is no checkpoint of this library: it has no stamp of {', '.join(names)}.")
    return Stamp(**{name: found[name] for name in names})


def load_checkpoint(path: Path, module: nn.Module, expected: Stamp) -> None:
    """Read weights into a module, which a refused file leaves as it was.

    Raises MismatchError where kind, vocabulary, direction, names or shapes are not the expected ones, and DataError
    for a file that is absent, torn, or has no stamp.
    """
    found = asdict(read_stamp(path))
    for name, value in asdict(expected).items():
        if found[name] != value:
            raise MismatchError(
                f"{path}: its {name} is {found[name]}, but {value} is needed here; use a checkpoint made for this one."
            )
    with reading(path):
        tensors = load_file(path)
    load_tensors(path, module, tensors)


def convert_to_float32(path: Path) -> None:
    """Store the weights of a checkpoint in float32, under the same stamp; one that is in float32 is left as it is.

    Raises DataError for a file that is absent, torn, or has no stamp.
    """
    stamp = read_stamp(path)
    with reading(path):
        tensors = load_file(path)
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        with atomic_write(path) as temporary:
            save_file({name: t.float() for name, t in tensors.items()}, temporary, metadata=asdict(stamp))


def load_tensors(path: Path, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a module; raises MismatchError, naming the file, unless names and shapes are the module's."""
    given, wanted = shapes(tensors), shapes(distinct(module))
    for name in sorted(given.keys() | wanted.keys()):
        have, need = given.get(name, "absent"), wanted.get(name, "absent")
        if have != need:
            raise MismatchError(
                f"{path}: its {name} is {have}, but {need} is needed here; set the sizes it was trained with."
            )
    module.load_state_dict(dict(tensors), strict=False)  # not strict: a shared tensor has further names


def distinct(module: nn.Module) -> dict[str, Tensor]:
    """State of a module without second names of one tensor (safetensors refuses shared memory)."""
    seen: dict[int, str] = {}
    state = module.state_dict()
    return {name: t for name, t in state.items() if seen.setdefault(t.data_ptr() or id(t), name) == name}


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> shape in words, such as "30 x 400"; a scalar's is "scalar"."""
    return {name: " x ".join(map(str, t.shape)) or "scalar" for name, t in tensors.items()}


def save_resume_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state (tensors, numbers, strings, lists, dicts) so that it survives a power cut."""
    with atomic_write(path) as temporary:
        torch.save(dict(state), temporary)


def load_resume_state(path: Path) -> dict[str, Any]:
    """Read a training state, its tensors onto the CPU.

    Raises DataError where it is absent, torn, or holds anything but plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a torn file; all mean the same here
        raise DataError(f"{path} is torn or is no training state ({type(error).__name__}); remove it.") from error
    if not isinstance(state, dict):
        raise DataError(f"{path} is no training state: it holds a {type(state).__name__}; remove it.")
    return state


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Reports a safetensors file that cannot be read as a DataError of one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is torn or is no safetensors file ({reason}); make it again.") from error
