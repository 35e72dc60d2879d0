"""Our side trains what it is told with the library's own loop, and its clock leaves the first step out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.growth import Measured, draw_growth, rows_of
from benchmarks.our_side import TASKS, Clocked, config_of
from benchmarks.setting import QUICK, Bench
from benchmarks.sides import Side, answers_in_turns, environment, rates
from ulmfit_lab.cli.bench import FASTAI
from ulmfit_lab.utils.errors import LabError


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    return Bench(replace(QUICK, threads=1), None, None, folder, folder / "home")


@pytest.fixture(scope="module")
def facts(bench: Bench) -> dict[str, Any]:
    return {**bench.streams(bench.sizes.small.words), "documents": bench.documents}


class Numbers:
    def count(self, epoch: int) -> int:
        return 4

    def epoch(self, epoch: int, start: int = 0) -> Any:
        return iter([10, 20, 30, 40][start:])


def test_the_clock_leaves_the_first_batch_out() -> None:
    clocked = Clocked(Numbers(), int)
    assert list(clocked.epoch(0)) == [10, 20, 30, 40] and clocked.done == 90 and clocked.seconds > 0
    assert list(clocked.epoch(0)) and clocked.done == 90


def test_the_clock_may_stop_early() -> None:
    clocked = Clocked(Numbers(), int, most=2)
    assert list(clocked.epoch(0)) == [10, 20] and clocked.count(0) == 2 and clocked.done == 20


def test_both_sides_read_the_same_text(bench: Bench, facts: dict[str, Any]) -> None:
    with np.load(facts["documents"], allow_pickle=False) as file:
        lengths = np.diff(file["ends"], prepend=0)
        assert len(lengths) == len(file["labels"]) == bench.sizes.documents
        assert lengths.max() <= bench.sizes.max_length < 2 * lengths.max()
        assert set(file["labels"]) == {0, 1}
    train = np.load(facts["train"], allow_pickle=False)
    assert train.dtype == np.int32 and train.max() < bench.sizes.small.words
    assert len(train) == bench.sizes.train_tokens


@pytest.mark.parametrize("task", ["train language model", "evaluate language model", "train classifier", "classify"])
def test_tasks_tell_units_and_seconds(bench: Bench, facts: dict[str, Any], task: str) -> None:
    spec = bench.spec(task, bench.sizes.small, "float32", **facts)
    answer = TASKS[task](spec)()
    windows = spec["steps"] * bench.sizes.batch_size * bench.sizes.bptt
    valid = (bench.sizes.valid_tokens - 1) // bench.sizes.batch_size * bench.sizes.batch_size
    documents = bench.sizes.documents
    units = {"train language model": windows, "evaluate language model": valid, "classify": documents}
    assert answer["units"] == units.get(task, documents - bench.sizes.batch_size)
    assert answer["seconds"] > 0


def test_an_epoch_ends_with_the_same_loss_each_time(bench: Bench, facts: dict[str, Any]) -> None:
    turn = TASKS["fit language model"](bench.spec("fit language model", bench.sizes.small, **facts))
    first, second = turn(), turn()
    assert first["loss"] == second["loss"] < np.log(bench.sizes.small.words)


def test_a_tasks_config_is_the_specs(bench: Bench) -> None:
    config = config_of(bench.spec("", bench.sizes.full, "bfloat16", threads=3))
    assert (config.lm.emb_size, config.lm.hidden_size, config.lm.n_layers) == (24, 32, 3)
    assert (config.compute.threads, config.compute.precision) == (3, "bfloat16")
    assert not config.pretraining.stochastic_bptt


@pytest.mark.parametrize("task", ["train language model", "train classifier"])
def test_fastais_side_does_as_much(bench: Bench, facts: dict[str, Any], task: str) -> None:
    python = Path(__file__).resolve().parents[2] / FASTAI
    if not python.exists():
        pytest.skip("`make bench` has not installed fastai")
    facts = {**facts, **bench.streams(bench.sizes.small.words, 3), "steps": 3}
    answer = bench.once(replace(bench, fastai=python).theirs(task, bench.sizes.small, **facts))
    ours = TASKS[task](bench.spec(task, bench.sizes.small, **facts))()
    assert answer["units"] == ours["units"] and answer["seconds"] > 0


def test_a_side_answers_every_go(bench: Bench) -> None:
    task = bench.ours("multiply", bench.sizes.small, "float32", shapes=[[8, 8, 8]], repeats=1)
    found = answers_in_turns({"a": task}, 2, bench.folder)
    assert len(rates(found["a"])) == 2 and min(rates(found["a"])) > 0


def test_a_side_that_ends_says_why(tmp_path: Path) -> None:
    side = Side(["bash", "-c", "echo gone >&2; exit 3"], {"threads": 1}, tmp_path / "log")
    with pytest.raises(LabError, match="status 3: gone"):
        side.hear()


def test_all_libraries_of_a_side_get_its_threads() -> None:
    assert environment({"threads": 3})["OMP_NUM_THREADS"] == "3"


def test_growth_by_arithmetic(bench: Bench) -> None:
    small, large = bench.sizes.small, replace(bench.sizes.small, words=1000)
    base = Measured(small, tokens=80, corpus=500, seconds=1.0, bytes=1e9)
    seconds, size = Measured(large, 80, 500, 9.0, 9e9).expected(base)
    assert seconds == large.training_flops / small.training_flops
    # 500 words more: embedding row and bias with gradient and moments, and a column of the block of logits
    assert size - 1e9 == 16 * 500 * (small.emb + 1) + 4 * 256 * 500
    assert base.expected(base) == (1.0, 1e9)


def test_growth_is_told_and_drawn(bench: Bench) -> None:
    small = bench.sizes.small
    found = [Measured(replace(small, words=n), 80, 500, n / 1e3, 1e9 + n * 1e3) for n in (250, 500)]
    time, memory = rows_of("Vocabulary (words)", (250, 500), found)
    assert time.ours == 2.0 and memory.ours == pytest.approx(250e3 / 2**20)
    figure = draw_growth({"Vocabulary (words)": ((250, 500), found)})
    assert [axis.get_ylabel() for axis in figure.axes] == ["Time of a step (ms)", "Peak memory (MB)"]
    assert json.dumps(time.as_json())
