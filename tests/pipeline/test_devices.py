"""What the processor is set up to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ulmfit_lab.config.schema import ComputeConfig
from ulmfit_lab.pipeline import devices
from ulmfit_lab.utils.errors import ConfigError

FAULTS = """
import resource, sys, torch
from ulmfit_lab.utils.memory import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(9)
for _ in range(21):
    torch.ones(2**24)
    if _ == 0:
        first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""


def faults(how: str) -> int:
    """Page faults of allocating 64 MB twenty times, after a first time."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True)
    if done.returncode == 9:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc is told so on Linux alone")
def test_memory_that_was_freed_is_taken_again_without_a_fault() -> None:
    assert faults("kept") < faults("given back") / 3


def test_a_precision_that_the_processor_lacks_is_an_error_and_never_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low = ComputeConfig(device="cpu", precision="bfloat16")
    for has in (True, False):
        monkeypatch.setattr(devices, "has_bfloat16_lstm", lambda has=has: has)
        devices.check_precision(ComputeConfig(device="cpu"))
        if has:
            devices.check_precision(low)
        else:
            with pytest.raises(ConfigError, match=r"no LSTM in bfloat16; use float32"):
                devices.check_precision(low)


@pytest.mark.parametrize(
    ("flags", "lacks"),
    [
        ("flags\t\t: fpu sse2 avx avx2 fma", True),
        ("flags\t\t: fpu sse2 avx avx2 fma avx512f avx512bw avx512_bf16", False),
        ("Features\t: fp asimd", False),
    ],
)
def test_linux_tells_of_a_processor_without_avx512(tmp_path: Path, flags: str, lacks: bool) -> None:
    """Of other processors nothing is known, and torch is asked."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{flags}\n")
    assert devices.lacks_avx512(cpuinfo) == lacks
    assert not devices.lacks_avx512(tmp_path / "nothing")


def test_torch_agrees_that_a_processor_without_avx512_has_no_lstm_in_bfloat16() -> None:
    if not devices.lacks_avx512():
        pytest.skip("this processor has AVX-512")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError):
        torch.nn.LSTM(8, 8)(torch.zeros(2, 2, 8))
