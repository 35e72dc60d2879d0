"""The kind of a processor, from recorded CPU features and the variables that limit them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.machine import processor_kind
from benchmarks.setting import PRECISIONS, QUICK, Bench
from benchmarks.targets import TARGETS
from ulmfit_lab.doctor.installation import features

GENOA = "fpu avx avx2 fma avx512f avx512dq avx512bw avx512vl avx512_bf16 avx512_vnni"
SAPPHIRE_RAPIDS = f"{GENOA} amx_bf16 avx512_fp16 amx_tile amx_int8"
SKYLAKE = "fpu avx avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl"
MILAN = "fpu avx f16c avx2 fma bmi2 vaes"


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (GENOA, "bfloat16"),
        (SAPPHIRE_RAPIDS, "bfloat16"),
        ("fpu avx2 avx512f amx_bf16", "bfloat16"),
        (SKYLAKE, "avx512"),
        (MILAN, "avx2"),
        ("fpu sse4_1", "other"),
    ],
)
def test_the_kind_follows_from_the_flags(tmp_path: Path, flags: str, kind: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert processor_kind(features(cpuinfo), {}) == kind


@pytest.mark.parametrize(
    ("variable", "value", "kind"),
    [
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", "avx512"),
        ("ONEDNN_MAX_CPU_ISA", "AVX2", "avx2"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", "bfloat16"),
        ("ATEN_CPU_CAPABILITY", "avx2", "avx2"),
        ("ATEN_CPU_CAPABILITY", "avx512", "bfloat16"),
        ("ATEN_CPU_CAPABILITY", "default", "other"),
    ],
)
def test_a_limit_lowers_the_kind(variable: str, value: str, kind: str) -> None:
    assert processor_kind(GENOA.split(), {variable: value}) == kind


def test_a_limit_raises_no_kind() -> None:
    assert processor_kind(MILAN.split(), {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}) == "avx2"


def test_bfloat16_is_not_measured_without_avx512(tmp_path: Path) -> None:
    kinds = {kind: Bench(QUICK, None, None, tmp_path, tmp_path, kind=kind).precisions for kind in ("bfloat16", "avx2")}
    assert kinds == {"bfloat16": ("bfloat16", "float32"), "avx2": ("float32",)}


def test_targets_are_those_of_the_precision_that_is_the_default(tmp_path: Path) -> None:
    fast, plain = (Bench(QUICK, None, None, tmp_path, tmp_path, kind=kind) for kind in ("bfloat16", "avx512"))
    assert [fast.target("training", p, "training, float32") for p in PRECISIONS] == ["training", "training, float32"]
    assert [plain.target("training", p, "training, float32") for p in PRECISIONS] == ["", "training, default"]
    assert {plain.target(name, "float32") for name in ("training", "classifier", "inference")} <= TARGETS.keys()
