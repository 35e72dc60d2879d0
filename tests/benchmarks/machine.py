"""On what was measured: processor or card, versions, commit; neither host nor path."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from ulmfit_lab.config.schema import ComputeConfig
from ulmfit_lab.utils.provenance import CHECKOUT, commit, processor, version_of


def machine_facts(threads: int, fastai: Path | None, device: str = "cpu") -> dict[str, Any]:
    """What the numbers depend on."""
    code = commit(CHECKOUT)
    facts: dict[str, Any] = {} if device == "cpu" else card_facts(device)
    facts |= {"CPU": processor() or platform.machine(), "cores": os.cpu_count(), "threads": threads}
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
