"""Device of a run and settings of torch."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ulmfit_lab.config.schema import ComputeConfig
from ulmfit_lab.utils.errors import ConfigError, DataError
from ulmfit_lab.utils.memory import keep_freed_memory
from ulmfit_lab.utils.provenance import CPUINFO, cpu_flags

if TYPE_CHECKING:
    import torch

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Device files of GPU drivers that torch supports as cuda (NVIDIA, WSL, AMD)."""


def device_type(compute: ComputeConfig) -> str:
    """Return the device's type, "cpu" or "cuda"; imports torch only if there may be a GPU."""
    no_driver = sys.platform.startswith("linux") and not any(Path(name).exists() for name in DRIVERS)
    if compute.device == "cpu" or (compute.device == "auto" and no_driver):
        return "cpu"
    return device_of(compute).type


def device_of(compute: ComputeConfig) -> torch.device:
    """Return the configured device; raises DataError for a missing GPU."""
    import torch

    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(compute.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"compute.device = {compute.device!r}, but torch sees no GPU here; use auto or cpu.")
    return device


def wait_for(device: torch.device) -> None:
    """Synchronize a device."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def matmul_flops(left: torch.Tensor, right: torch.Tensor, repeats: int) -> float:
    """Measure a matrix product's floating-point operations per second over `repeats` products, after a warm-up."""
    left @ right
    wait_for(left.device)
    began = time.perf_counter()
    for _ in range(repeats):
        left @ right
    wait_for(left.device)
    return 2 * left.numel() * right.shape[1] * repeats / (time.perf_counter() - began)


def lacks_avx512(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether this is an x86 processor that, as Linux says, has no AVX-512; False if that is not known."""
    flags = cpu_flags(cpuinfo)
    return "sse2" in flags and not any(flag.startswith("avx512") for flag in flags)


@cache
def has_bfloat16_lstm() -> bool:
    """Return whether torch can compute an LSTM in bfloat16 on this CPU; imports torch only if it has AVX-512."""
    if lacks_avx512():
        return False
    import torch

    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            torch.nn.LSTM(8, 8)(torch.zeros(2, 2, 8))
    except RuntimeError:
        return False
    return True


def product_speeds(size: int = 512, tries: int = 8) -> dict[str, float]:
    """FLOP/s of the CPU's matrix products by compute.precision, the fastest of a few tries; 0 where it cannot train."""
    import torch

    # without AVX-512 a product in bfloat16 takes half a second
    names = ("float32", "bfloat16") if has_bfloat16_lstm() else ("float32",)
    matrices = {name: torch.ones(size, size, dtype=getattr(torch, name)) for name in names}
    speeds = {name: max(matmul_flops(each, each, 1) for _ in range(tries)) for name, each in matrices.items()}
    return {"bfloat16": 0.0} | speeds


CLEARLY = 1.25
"""A rate that is this many times another one is the faster one: more than noise."""


def fastest_precision(compute: ComputeConfig, measure: Callable[[], Mapping[str, float]] = product_speeds) -> str:
    """bfloat16 on a GPU that has it, and on a CPU that has it and multiplies clearly faster in it; else float32.

    measure: returns the CPU's FLOP/s by precision
    """
    if device_type(compute) == "cuda":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    speeds = measure()
    is_faster = speeds["bfloat16"] > CLEARLY * speeds["float32"] and has_bfloat16_lstm()
    return "bfloat16" if is_faster else "float32"


def check_precision(compute: ComputeConfig) -> None:
    """Raise ConfigError if the device cannot train a language model in this precision."""
    if compute.precision == "bfloat16" and device_type(compute) == "cpu" and not has_bfloat16_lstm():
        raise ConfigError("compute.precision = 'bfloat16', but this processor has no LSTM in bfloat16; use float32.")


def configure_torch(compute: ComputeConfig) -> torch.device:
    """Apply the config's settings to torch; returns the device. Raises ConfigError for an unsupported precision."""
    import torch

    check_precision(compute)
    keep_freed_memory()
    torch.set_num_threads(compute.threads)
    torch.set_flush_denormal(True)
    # weights after weight dropout are new ones at each call; copying them for cuDNN is 1% of a layer's time
    warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
    return device_of(compute)
