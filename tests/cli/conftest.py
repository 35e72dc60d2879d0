"""A home with the finished runs of an experiment, for commands that only look at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ulmfit_lab.experiment.declaration import Experiment


@pytest.fixture(scope="package")
def finished(new_lab: Callable[[str], Any], experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module of an experiment, and the options that name a home with its finished runs."""
    lab = new_lab("imports")
    assert not lab.sweep(experiment).failures
    fields = {
        name: getattr(experiment, name) for name in ("name", "question", "baseline", "variants", "scales", "seeds")
    }
    module = tmp_path_factory.mktemp("imports") / "starts.py"
    module.write_text(
        f"from ulmfit_lab.experiment.declaration import Experiment\nEXPERIMENT = Experiment(**{fields!r})\n"
    )
    return module, ("--scale", "tiny", "--home", str(lab.home.root))
