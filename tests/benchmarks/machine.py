"""On what was measured: processor or card, versions, commit; neither host nor path."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ulmfit_lab.config.schema import ComputeConfig
from ulmfit_lab.doctor.installation import features
from ulmfit_lab.utils.provenance import CHECKOUT, commit, processor, version_of

KINDS: Mapping[str, str] = {
    "bfloat16": "with bfloat16",
    "avx512": "with AVX-512 alone",
    "avx2": "with AVX2 alone",
    "other": "without AVX2",
}
"""Kinds of processors, the fastest in matrix products first, and how tables name them."""
NEEDED = {"avx512_bf16": "bfloat16", "amx_bf16": "bfloat16", "avx512f": "avx512", "avx2": "avx2"}
"""CPU feature -> the kind of processor that has it."""
LIMITS: Mapping[str, Mapping[str, str]] = {
    "ATEN_CPU_CAPABILITY": {"default": "other", "avx2": "avx2"},
    "ONEDNN_MAX_CPU_ISA": {
        "SSE41": "other",
        "AVX": "other",
        "AVX2": "avx2",
        "AVX2_VNNI": "avx2",
        "AVX2_VNNI_2": "avx2",
        "AVX512_CORE": "avx512",
        "AVX512_CORE_VNNI": "avx512",
    },
}
"""Environment variables by which torch and oneDNN use fewer instructions: value -> the kind that is left."""


def processor_kind(found: Collection[str], environment: Mapping[str, str]) -> str:
    """The kind of processor that has these CPU features, or a slower one that an environment variable limits it to.

    >>> processor_kind(["avx2", "avx512f"], {}), processor_kind(["avx2", "avx512f"], {"ONEDNN_MAX_CPU_ISA": "AVX2"})
    ('avx512', 'avx2')
    """
    order = list(KINDS)
    own = min((NEEDED[name] for name in found if name in NEEDED), key=order.index, default="other")
    limits = [kinds.get(environment.get(variable, ""), own) for variable, kinds in LIMITS.items()]
    return max(own, *limits, key=order.index)


def this_kind() -> str:
    """The kind of this machine's processor, in this environment."""
    return processor_kind(features(), os.environ)


def machine_facts(threads: int, fastai: Path | None, device: str = "cpu") -> dict[str, Any]:
    """What the numbers depend on."""
    code = commit(CHECKOUT)
    facts: dict[str, Any] = {} if device == "cpu" else card_facts(device)
    facts |= {"CPU": processor() or platform.machine(), "features": ", ".join(features()) or "unknown"}
    facts |= {name: os.environ[name] for name in LIMITS if name in os.environ}
    facts |= {"cores": os.cpu_count(), "threads": threads}
    facts |= {"Python": platform.python_version(), "torch": version_of("torch")}
    if version := version_of("spacy"):
        facts["spaCy"] = version
    if fastai:
        facts["fastai"] = fastai_version(fastai)
    dirty = " with changes" if code["lab.dirty"] == "true" else ""
    return {**facts, "commit": (code["lab.commit"][:12] or "unknown") + dirty}


def card_facts(device: str) -> dict[str, Any]:
    """The card, its memory, and the libraries that compute on it; raises DataError where there is none."""
    import torch

    from ulmfit_lab.pipeline.devices import device_of

    card = torch.cuda.get_device_properties(device_of(ComputeConfig(device=device)))
    facts = {"GPU": card.name, "GPU memory": f"{card.total_memory / 2**30:.0f} GiB"}
    return facts | {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}


def fastai_version(python: Path) -> str:
    """Version of fastai in the environment of a Python; its packages' folder tells, nothing is started."""
    found = sorted(python.parent.parent.glob("lib*/python*/site-packages/fastai-*.dist-info"))
    if found:
        return found[0].name.removeprefix("fastai-").removesuffix(".dist-info")
    return version_of("fastai") or "unknown"
