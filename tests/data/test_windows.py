"""A stream is read in order, in every column, whatever the windows are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit_lab.data.stream_batches import StreamBatches, batchify, plan_windows
from ulmfit_lab.utils.errors import DataError


def test_a_stream_laid_out_by_hand() -> None:
    """11 ids in 2 columns: 5 steps each, and the first id of column 2 is also the last target of column 1."""
    columns = batchify(np.arange(11), 2)
    assert columns.tolist() == [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9], [5, 10]]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 400), batch_size=st.integers(1, 9))
def test_every_id_but_the_first_is_predicted_once_and_fewer_than_a_batch_are_left_out(n: int, batch_size: int) -> None:
    if n - 1 < batch_size:
        with pytest.raises(DataError, match="too few"):
            batchify(np.arange(n), batch_size)
        return
    targets = batchify(np.arange(n), batch_size)[1:]
    read = targets.t().reshape(-1).tolist()
    assert read == list(range(1, len(read) + 1))
    assert n - 1 - len(read) < batch_size


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(50, 2000),
    batch_size=st.integers(1, 8),
    bptt=st.integers(5, 70),
    stochastic=st.booleans(),
    epoch=st.integers(0, 5),
)
def test_windows_of_a_counting_stream_are_the_stream_read_in_order(
    n: int, batch_size: int, bptt: int, stochastic: bool, epoch: int
) -> None:
    batches = StreamBatches(np.arange(n), batch_size=batch_size, bptt=bptt, stochastic=stochastic, seed=3)
    windows = list(batches.epoch(epoch))
    for before, after in itertools.pairwise(windows):
        assert torch.equal(after.ids[0], before.ids[-1] + 1)  # a batch goes on where the one before ended
    ids, targets = torch.cat([w.ids for w in windows]), torch.cat([w.targets for w in windows])
    assert torch.equal(targets, ids + 1)
    n_steps = (n - 1) // batch_size
    assert torch.equal(ids, torch.arange(n_steps * batch_size).view(batch_size, n_steps).t())
    assert len(windows) == batches.count(epoch)
    assert sum(w.n_tokens for w in windows) == n_steps * batch_size


def test_fixed_windows_are_all_of_length_bptt_but_the_last() -> None:
    plan = plan_windows(25, 10, stochastic=False, rescale_lr=False, seed=0, epoch=0)
    assert [(w.start, w.length, w.lr_scale) for w in plan] == [(0, 10, 1.0), (10, 10, 1.0), (20, 5, 1.0)]


@pytest.mark.parametrize("epoch", [0, 4])
def test_a_run_resumes_at_any_window_by_slicing(epoch: int) -> None:
    batches = StreamBatches(np.arange(3000), batch_size=3, bptt=20, seed=1)
    whole = list(batches.epoch(epoch))
    for start in (0, 1, len(whole) // 2, len(whole)):
        rest = list(batches.epoch(epoch, start))
        assert [w.ids.tolist() for w in rest] == [w.ids.tolist() for w in whole[start:]]


def test_the_plan_is_that_of_seed_and_epoch() -> None:
    def plan(seed: int, epoch: int) -> list[int]:
        return [w.length for w in plan_windows(5000, 70, stochastic=True, rescale_lr=False, seed=seed, epoch=epoch)]

    assert plan(0, 1) == plan(0, 1)
    assert plan(0, 0) != plan(0, 1)
    assert plan(0, 0) != plan(1, 0)


def test_stochastic_lengths_have_the_mean_and_spread_of_merity() -> None:
    """Mean .95 * 70 + .05 * 35 = 68.25 (truncating to whole steps takes half a step off); about one in 20 is short."""
    plan = plan_windows(2_000_000, 70, stochastic=True, rescale_lr=True, seed=0, epoch=0)[:-1]
    lengths = np.array([w.length for w in plan])
    assert np.mean(lengths) == pytest.approx(67.75, abs=0.2)
    assert np.mean(lengths < 52) == pytest.approx(0.05, abs=0.005)
    assert np.std(lengths[lengths > 52]) == pytest.approx(5, abs=0.2)
    assert np.mean([w.lr_scale for w in plan]) == pytest.approx(67.75 / 70, abs=0.003)


def test_no_stochastic_window_is_shorter_than_five_steps_but_the_last() -> None:
    plan = plan_windows(5000, 6, stochastic=True, rescale_lr=False, seed=0, epoch=0)
    assert min(w.length for w in plan[:-1]) == 5


def test_rescaling_is_a_factor_of_its_own() -> None:
    """Jitter without rescaling leaves the rate alone; rescaling follows each window's own length."""
    jitter = plan_windows(5000, 70, stochastic=True, rescale_lr=False, seed=0, epoch=0)
    both = plan_windows(5000, 70, stochastic=True, rescale_lr=True, seed=0, epoch=0)
    assert {w.lr_scale for w in jitter} == {1.0}
    assert [w.lr_scale for w in both] == [w.length / 70 for w in jitter]


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.int64])
def test_backwards_is_the_stream_reversed_for_any_type_of_ids(kind: type) -> None:
    stream = np.arange(61).astype(kind)
    backwards = StreamBatches(stream, batch_size=2, bptt=7, seed=1, backwards=True)
    reversed_first = StreamBatches(stream[::-1].copy(), batch_size=2, bptt=7, seed=1)
    assert torch.equal(backwards.columns, reversed_first.columns)
    assert backwards.columns[0, 0] == 60


def test_a_read_only_stream_can_be_read() -> None:
    stream = np.arange(61)
    stream.flags.writeable = False
    assert StreamBatches(stream, batch_size=2, bptt=7).columns[0].tolist() == [0, 30]


def test_a_batch_is_a_view_of_the_stream_not_a_copy() -> None:
    """What makes the loader fast."""
    batches = StreamBatches(np.arange(500), batch_size=4, bptt=10)
    storage = batches.columns.untyped_storage().data_ptr()
    for batch in batches.epoch(0):
        assert batch.ids.untyped_storage().data_ptr() == batch.targets.untyped_storage().data_ptr() == storage
