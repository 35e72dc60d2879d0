"""What the processor is set up to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ulmfit_lab.config.schema import ComputeConfig
from ulmfit_lab.pipeline import devices
from ulmfit_lab.utils.errors import ConfigError


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
