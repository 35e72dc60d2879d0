"""Properties of the installation: Python, torch, CPU, GPU, disk."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ulmfit_lab.config.schema import ComputeConfig
from ulmfit_lab.pipeline.devices import CLEARLY, device_type, product_speeds
from ulmfit_lab.utils.home import Home
from ulmfit_lab.utils.provenance import CPUINFO, PACKAGES, cpu_flags, machine, version_of

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""CPU features that speed up matrix products in float32 and bfloat16."""
LEAST_FREE = 2e9
"""Minimum free disk space in bytes; stages and artifacts of a sweep take some hundred MB."""


def installation(home: Home) -> list[str]:
    """Describe the installation, one property per line."""
    import torch

    free = shutil.disk_usage(home.root).free
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none available to torch"
    return [
        f"Python {platform.python_version()} on {machine()}",
        f"torch {torch.__version__}, {torch.get_num_threads()} threads",
        f"CPU features: {', '.join(features()) or 'found none of ' + ', '.join(FEATURES)}",
        f"Matrix products: {format_speed(product_speeds())}",
        f"GPU: {gpu}",
        f"Home: {home.root}, {free / 1e9:.1f} GB free",
    ]


def format_speed(speeds: Mapping[str, float]) -> str:
    """Format the speeds, with a hint if bfloat16 is slower.

    >>> format_speed({"float32": 150e9, "bfloat16": 360e9})
    '150 GFLOP/s in float32, 360 in bfloat16'
    >>> format_speed({"float32": 340e9, "bfloat16": 180e9})
    '340 GFLOP/s in float32, 180 in bfloat16, which is slower: try --compute.precision float32'
    >>> format_speed({"float32": 70e9, "bfloat16": 0.0})
    '70 GFLOP/s in float32, no training in bfloat16'
    """
    found = f"{speeds['float32'] / 1e9:.0f} GFLOP/s in float32"
    if not speeds["bfloat16"]:
        return f"{found}, no training in bfloat16"
    found += f", {speeds['bfloat16'] / 1e9:.0f} in bfloat16"
    slower = ", which is slower: try --compute.precision float32"
    return found + (slower if bfloat16_is_slower(speeds) else "")


def bfloat16_is_slower(speeds: Mapping[str, float]) -> bool:
    """Whether bfloat16's products are clearly slower than float32's."""
    return CLEARLY * speeds["bfloat16"] < speeds["float32"]


def warn_of_bfloat16(
    computes: Iterable[ComputeConfig], measure: Callable[[], Mapping[str, float]] = product_speeds
) -> str:
    """Warning for runs in bfloat16 on a CPU where it is slower; empty if none.

    >>> from ulmfit_lab.config.schema import ComputeConfig
    >>> slow = {"float32": 340e9, "bfloat16": 180e9}
    >>> warn_of_bfloat16([ComputeConfig(device="cpu", precision="float32")], lambda: slow)
    ''
    >>> warn_of_bfloat16([ComputeConfig(device="cpu", precision="bfloat16")], lambda: slow).partition(":")[0]
    'Matrix products here'
    """
    if not any(each.precision == "bfloat16" and device_type(each) == "cpu" for each in computes):
        return ""
    speeds = measure()
    return f"Matrix products here: {format_speed(speeds)}." if bfloat16_is_slower(speeds) else ""


def missing_packages(home: Home) -> list[tuple[str, str]]:
    """Missing packages and disk space, each with its fix."""
    needed = [name for name in PACKAGES if name != "ulmfit-lab"]  # a checkout runs without installation
    found = [(f"Package {name} is not installed", "install it") for name in needed if not version_of(name)]
    if shutil.disk_usage(home.root).free < LEAST_FREE:
        found.append((f"The disk of {home.root} has less than {LEAST_FREE / 1e9:.0f} GB free", "free disk space"))
    return found


def features(cpuinfo: Path = CPUINFO) -> list[str]:
    """Return the `FEATURES` of the CPU; empty if unknown."""
    flags = cpu_flags(cpuinfo)
    return [name for name in FEATURES if name in flags]
