"""The notebook in docs/ runs from its first cell to its last, and its committed outputs are whole."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "from_text_to_figure.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


@pytest.fixture
def quiet_figures() -> Iterator[None]:
    """Figures without a screen, and none left open."""
    before = mpl.get_backend()
    mpl.use("Agg")
    yield
    plt.close("all")
    mpl.use(before)


@pytest.mark.slow
def test_every_cell_runs(
    cells: list[dict[str, Any]], quiet_figures: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["outcome"].finished == 12
    assert (names["folder"] / "results" / "figure.png").stat().st_size > 10_000
    assert len(plt.get_fignums()) == 2


def test_the_committed_outputs_are_whole_and_name_no_machine(cells: list[dict[str, Any]]) -> None:
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    told = json.dumps([output.get("text", "") for output in outputs])
    assert "/home/" not in told and "/root" not in told and "/tmp" not in told
    assert "site-packages" not in told and str(NOTEBOOK.parents[1]) not in told
