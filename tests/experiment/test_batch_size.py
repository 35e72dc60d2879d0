"""Batch sizes rise until memory is short, by numbers counted by hand and on real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ulmfit_lab.cli import main
from ulmfit_lab.config.paths import override
from ulmfit_lab.config.scales import TINY
from ulmfit_lab.experiment.batch_size import (
    BatchSizeTrial,
    largest,
    measure_batch_sizes,
    peak_of,
    sizes_from,
    try_classifier,
    try_language_model,
)


def test_sizes_are_the_configs_and_the_powers_of_two_above_it() -> None:
    assert sizes_from(48) == [48, 64, 128, 256, 512]
    assert sizes_from(128) == [128, 256, 512]
    assert sizes_from(600) == [600]


def test_a_size_that_would_not_fit_is_not_tried() -> None:
    asked: list[int] = []

    def attempt(size: int) -> tuple[float, int]:
        asked.append(size)
        return 10.0 * size, 100 * size

    tried = measure_batch_sizes([8, 16, 32, 64], attempt, room=2000)
    assert asked == [8, 16], "32 would take 3,200 bytes"
    assert tried == [
        BatchSizeTrial(8, 80.0, 800, True),
        BatchSizeTrial(16, 160.0, 1600, True),
        BatchSizeTrial(32, None, 3200, False),
    ]
    assert largest(tried) == tried[1]
    alone = measure_batch_sizes([8, 16], attempt, room=700)
    assert [each.fits for each in alone] == [False] and largest(alone) is None


def test_a_device_that_refuses_ends_it() -> None:
    def attempt(size: int) -> tuple[float, int]:
        if size > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0, 10

    tried = measure_batch_sizes([8, 16, 32, 64], attempt, room=1e9)
    assert [(each.size, each.fits) for each in tried] == [(8, True), (16, True), (32, False)]


def test_the_peak_is_that_of_all_tensors_together() -> None:
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        first = torch.ones(1000)
        del first
        second, third = torch.ones(2000), torch.ones(3000)
    assert peak_of(profile) == 4 * (len(second) + len(third))


@pytest.mark.parametrize("attempt", [try_language_model, try_classifier])
def test_real_steps_take_memory_by_their_size_and_leave_the_random_state(
    attempt: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    state = torch.get_rng_state()
    config = override(TINY, {"vocabulary.max_size": 2000, "lm.emb_size": 64})
    found = {size: attempt(config, size) for size in (256, 4, 8)}
    assert all(speed > 0 for speed, _ in found.values())
    taken = {size: taken for size, (_, taken) in found.items()}
    weights = 4 * 2000 * 64
    assert 4 * weights < taken[4] < taken[8] < taken[256], "weights, gradients and two numbers of Adam's, at least"
    assert taken[256] - taken[8] > 20 * (taken[8] - taken[4]), "62 times as many documents more, or streams"
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", ""), "torch's profiler is silent"


def test_plan_tells_the_options_to_paste(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    options = ["word2vec_vs_lm", "--scale", "tiny", "--home", str(tmp_path), "--fit-batch", "--seeds", "1"]
    options += ["--target.path", str(reviews), "--general.path", str(reviews)]
    options += ["--pretraining.batch-size", "256", "--classifier.batch-size", "512"]
    assert main(["plan", *options]) == 0
    out = capsys.readouterr().out
    assert "256 (now)" in out and "512 (now)" in out
    assert "Largest batch sizes that fit: --pretraining.batch-size 512 --classifier.batch-size 512" in out
