"""The defaults and scales are those of docs/recipes.md, which has each field beside its originals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ulmfit_lab.config.paths import flatten, override
from ulmfit_lab.config.scales import AWD_LSTM, PAPER, SMALL
from ulmfit_lab.config.schema import ClassifierConfig, LanguageModelConfig, RunConfig
from ulmfit_lab.data.stream_batches import plan_windows
from ulmfit_lab.experiment.declaration import load_experiment, variant_config
from ulmfit_lab.models.pooling import concat_pool
from ulmfit_lab.training.schedules import CUT_FRACTION, RATIO, lr_factor

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
GROUPS = ("lm", "pretraining", "fine_tuning", "classifier")
NOTHING = "–"
ORIGINALS = ("ULMFiT", "its scripts", "AWD-LSTM", "fastai 2")
LAB = {"default": RunConfig(), "`paper`": PAPER, "`small`": SMALL}
Row = Mapping[str, str]


def table(first: str) -> dict[str, Row]:
    """The rows of the page's table whose first column has this name, by that column."""
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    names = next(cells(line) for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    rows: dict[str, Row] = {}
    for line in lines:
        if not line.startswith("|"):
            break
        key, *values = cells(line)
        assert key not in rows, f"two lines for {key}"
        rows[key.strip("`")] = dict(zip(names[1:], values, strict=True))
    return rows


def cells(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def shown(path: str, value: Any) -> str:
    """A field's value as the page writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "the run's" if path.endswith(".seed") else "lm's"
    return f"{value:g}" if isinstance(value, int | float) else str(value) or NOTHING


FIELDS = table("field")
CONSTANTS = table("what")


@pytest.mark.parametrize("column", LAB)
def test_the_labs_columns_are_its_config_and_scales(column: str) -> None:
    values = flatten(LAB[column])
    wrong = {path: row[column] for path, row in FIELDS.items() if row[column] != shown(path, values[path])}
    assert wrong == {}


def test_every_field_of_models_and_training_has_a_line() -> None:
    wanted = [path for path in flatten(RunConfig()) if path.split(".")[0] in GROUPS]
    assert [path for path in FIELDS if path in wanted] == wanted, "in the order of the config"


@pytest.mark.parametrize("path", [*FIELDS, *CONSTANTS])
def test_a_line_whose_cells_differ_says_why_and_no_other_does(path: str) -> None:
    row = FIELDS.get(path) or CONSTANTS[path]
    values = {value for name, value in row.items() if name != "why they differ"} - {NOTHING}
    assert len(values) == 1 or row["why they differ"]
    if path in FIELDS:
        assert len(values) > 1 or not row["why they differ"]


DROPOUTS = ("input", "output", "weight", "embedding", "hidden")
RECORDED: Mapping[str, tuple[str, tuple[float, ...]]] = {
    # `awd_lstm_lm_config` and `drops` of finetune_lm.py; `awd_lstm_clas_config` and `dps` of train_clas.py, in which
    # weight, embedding and hidden come before the output's, unlike in the first
    "lm": ("fastai 2", (0.25, 0.1, 0.2, 0.02, 0.15)),
    "classifier": ("fastai 2", (0.4, 0.4, 0.5, 0.05, 0.3)),
    "lm ": ("its scripts", (0.25, 0.1, 0.2, 0.02, 0.15)),
    "classifier ": ("its scripts", (0.4, 0.4, 0.5, 0.05, 0.3)),
}


@pytest.mark.parametrize("group", RECORDED)
def test_dropouts_have_the_originals_places(group: str) -> None:
    column, rates = RECORDED[group]
    ours = LanguageModelConfig() if group.strip() == "lm" else ClassifierConfig()
    for name, rate in zip(DROPOUTS, rates, strict=True):
        assert getattr(ours, f"{name}_dropout") == rate
        assert FIELDS[f"{group.strip()}.{name}_dropout"][column] == shown(name, rate)
    assert ClassifierConfig().head_dropout == 0.1


def test_the_awd_lstms_own_recipe_is_its_column() -> None:
    """But for what names the data, which fields of the lab do in another way."""
    recipe = override(PAPER, AWD_LSTM)
    assert variant_config(load_experiment("awd_lstm"), "paper", "NT-ASGD") == recipe
    ours = flatten(recipe)
    ours_alone = ("vocabulary.max_size", "vocabulary.min_freq", "compute.precision")
    said = {path: row["AWD-LSTM"] for path, row in FIELDS.items() if row["AWD-LSTM"] != NOTHING}
    assert {path: shown(path, ours[path]) for path in said if path not in ours_alone} == {
        path: value for path, value in said.items() if path not in ours_alone
    }


def test_constants_of_the_code_are_the_pages() -> None:
    peak = max(range(1000), key=lambda step: lr_factor("one-cycle", step, 1000))
    lengths = np.array([w.length for w in plan(n_steps=10_000_000, bptt=1000)])
    halved = lengths < 750
    found = {
        "slanted triangle: share of the steps that rise": CUT_FRACTION,
        "slanted triangle: peak over lowest rate": RATIO,
        "one-cycle: share of the steps that rise": peak / 1000,
        "one-cycle: peak over first rate": 1 / lr_factor("one-cycle", 0, 1000),
        "one-cycle: peak over last rate": 1 / lr_factor("one-cycle", 1000, 1000),
        "a window of half the length: how often": round(float(halved.mean()), 2),
        "a window's length: sd": round(float(lengths[~halved][:-1].std())),
        "a window's length: least": min(w.length for w in plan(n_steps=10_000, bptt=5)[:-1]),
    }
    assert {name: float(CONSTANTS[name]["here"]) for name in found} == pytest.approx(found)
    pooled = concat_pool(torch.tensor([3.0, 1.0, 2.0]).reshape(3, 1, 1), torch.tensor([3]))
    order = {"last": 2.0, "max": 3.0, "mean": 2.0}
    said = CONSTANTS["what the head pools"]["here"].split(", ")
    assert said == list(order) and pooled.flatten().tolist() == list(order.values())


def plan(n_steps: int, bptt: int) -> list[Any]:
    """Windows of drawn lengths."""
    return plan_windows(n_steps, bptt, stochastic=True, rescale_lr=False, seed=0, epoch=0)


def test_the_triangle_has_the_published_shape() -> None:
    """Equation 3 with cut_frac .1 and ratio 32, over 100 steps: up in 10, from 1/32 to 1, and down to 1/32 again."""
    assert lr_factor("slanted", 0, 100) == pytest.approx(1 / 32)
    assert lr_factor("slanted", 10, 100) == 1
    assert lr_factor("slanted", 55, 100) == pytest.approx((1 + 0.5 * 31) / 32)
