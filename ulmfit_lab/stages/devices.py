"""The device that a run computes on."""

from __future__ import annotations

import torch

from ulmfit_lab.config import Compute
from ulmfit_lab.errors import DataError


def device_of(compute: Compute) -> torch.device:
    """The device that the config names, with `auto` resolved."""
    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(compute.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"compute.device = {compute.device!r}, but torch sees no GPU here; use auto or cpu.")
    return device


def use(compute: Compute) -> torch.device:
    """Set torch up as the config says; returns the device."""
    torch.set_num_threads(compute.threads)
    torch.set_flush_denormal(True)
    return device_of(compute)
