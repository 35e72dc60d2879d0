"""Every document is read once an epoch, in an order that wastes little on padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit_lab.data.document_batches import (
    MEGABATCH,
    DocumentBatch,
    DocumentBatches,
    collate,
    padding_share,
    sort_order,
    sortish_order,
)
from ulmfit_lab.utils.errors import ConfigError, DataError

PAD = 1


def documents(n: int, seed: int = 0, longest: int = 60) -> list[np.ndarray]:
    """Documents of random length whose ids tell which document they are of."""
    rng = np.random.default_rng(seed)
    return [np.full(length, 10 + number) for number, length in enumerate(rng.integers(1, longest, n))]


def make(n: int, **options: object) -> DocumentBatches:
    return DocumentBatches(documents(n), np.arange(n), **{"batch_size": 8, **options})  # type: ignore[arg-type]


def test_documents_are_padded_at_the_end_only() -> None:
    ids, lengths = collate([np.array([5, 6, 7]), np.array([8])], PAD)
    assert ids.tolist() == [[5, 8], [6, PAD], [7, PAD]]
    assert lengths.tolist() == [3, 1]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 500),
    batch_size=st.integers(1, 9),
    sampler=st.sampled_from(["sortish", "shuffled", "sorted"]),
    epoch=st.integers(0, 3),
)
def test_every_document_comes_once_an_epoch_with_its_own_label(
    n: int, batch_size: int, sampler: str, epoch: int
) -> None:
    batches = make(n, batch_size=batch_size, sampler=sampler)
    read = list(batches.epoch(epoch))
    assert sorted(torch.cat([b.index for b in read]).tolist()) == list(range(n))
    assert len(read) == batches.count(epoch)
    for batch in read:
        assert torch.equal(batch.labels, batch.index)
        for column, (number, length) in enumerate(zip(batch.index.tolist(), batch.lengths.tolist(), strict=True)):
            assert batch.ids[:length, column].tolist() == batches.documents[number].tolist()
            assert (batch.ids[length:, column] == PAD).all()


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 500), batch_size=st.integers(2, 9))
def test_no_batch_holds_one_document_alone(n: int, batch_size: int) -> None:
    """Batch normalisation learns nothing of one; the last joins the batch before it."""
    sizes = [len(batch.labels) for batch in make(n, batch_size=batch_size).epoch(0)]
    assert min(sizes) >= 2
    assert set(sizes[:-1]) <= {batch_size}


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    epoch_size=st.integers(1, 200),
    batch_size=st.integers(2, 9),
    sampler=st.sampled_from(["sortish", "shuffled", "sorted"]),
)
def test_epochs_of_a_given_size_read_all_documents_equally_often(
    n: int, epoch_size: int, batch_size: int, sampler: str
) -> None:
    """Epochs are parts of repeated passes: at any time two documents were read equally often, or one once more."""
    batches = make(n, batch_size=batch_size, sampler=sampler, epoch_size=epoch_size)
    read = np.zeros(n, int)
    for epoch in range(3):
        numbers = list(batches.numbers(epoch))
        assert len(numbers) == batches.count(epoch)
        assert sum(map(len, numbers)) == epoch_size
        np.add.at(read, np.concatenate(numbers), 1)
        assert read.max() - read.min() <= 1
        assert [part.tolist() for part in batches.numbers(epoch, 1)] == [part.tolist() for part in numbers[1:]]


def test_sets_of_different_sizes_have_equally_many_steps_of_the_same_size() -> None:
    counts = [[len(batch.labels) for batch in make(n, epoch_size=96).epoch(0)] for n in (7, 96, 1000)]
    assert counts[0] == counts[1] == counts[2] == [8] * 12


def test_sorted_is_strictly_by_length_longest_first_and_stable() -> None:
    assert sort_order(np.array([3, 9, 3, 1, 9])).tolist() == [1, 4, 0, 2, 3]
    lengths = torch.cat([batch.lengths for batch in make(100, sampler="sorted").epoch(5)])
    assert torch.equal(lengths, lengths.sort(descending=True).values)


@pytest.mark.parametrize("seed", range(5))
def test_sortish_begins_with_the_longest_document(seed: int) -> None:
    batches = make(1000, seed=seed)
    for epoch in range(3):
        assert next(batches.epoch(epoch)).lengths.max() == batches.lengths.max()


def test_sortish_pads_far_less_than_shuffled_and_little_more_than_sorted() -> None:
    shares = {s: padding_share(make(2000, sampler=s).epoch(0)) for s in ("sorted", "sortish", "shuffled")}
    assert shares["sorted"] < shares["sortish"] < shares["shuffled"] / 4


@pytest.mark.parametrize("extra", [0, 1, 3, 7])
def test_sortish_batches_are_of_neighbours_in_length_even_if_the_longest_document_is_left_over(extra: int) -> None:
    """Of distinct lengths 1 .. n, a batch cut where a sorted megabatch was cut spans about 8 in 50 of a megabatch."""
    n = 8 * MEGABATCH + extra
    for seed in range(300):
        lengths = np.random.default_rng(seed).permutation(n) + 1
        order = sortish_order(lengths, 8, np.random.default_rng(seed))
        spans = [np.ptp(lengths[order[first : first + 8]]) for first in range(0, n, 8)]
        # one megabatch is nothing but the sorted documents, cut into batches
        assert max(spans) == 7, f"seed {seed}"


def test_sortish_changes_with_the_epoch_and_sorted_does_not() -> None:
    def orders(sampler: str, epoch: int, seed: int = 0) -> list[int]:
        return [int(i) for i in make(200, sampler=sampler, seed=seed).order(epoch)]

    for sampler in ("sortish", "shuffled"):
        assert orders(sampler, 1) == orders(sampler, 1)
        assert orders(sampler, 0) != orders(sampler, 1)
        assert orders(sampler, 0) != orders(sampler, 0, seed=1)
    assert orders("sorted", 0) == orders("sorted", 1)


@pytest.mark.parametrize("sampler", ["sortish", "shuffled", "sorted"])
def test_a_run_resumes_at_any_batch_by_slicing(sampler: str) -> None:
    batches = make(105, sampler=sampler)
    whole = [b.index.tolist() for b in batches.epoch(2)]
    for start in (0, 1, 7, len(whole)):
        assert [b.index.tolist() for b in batches.epoch(2, start)] == whole[start:]


def test_backwards_reads_each_document_from_its_end_and_still_pads_last() -> None:
    batches = DocumentBatches([np.array([5, 6, 7]), np.array([8, 9])], np.array([0, 1]), batch_size=2, backwards=True)
    batch = next(batches.epoch(0))
    assert batch.ids.t().tolist() == [[7, 6, 5], [9, 8, PAD]]


def test_tokens_and_padding_are_counted_by_hand() -> None:
    """3 + 1 tokens in a block of 3 x 2: a third is padding."""
    ids, lengths = collate([np.array([5, 6, 7]), np.array([8])], PAD)
    batch = DocumentBatch(ids, lengths, torch.zeros(2), torch.arange(2))
    assert batch.n_tokens == 4
    assert padding_share([batch]) == pytest.approx(1 / 3)


def test_documents_that_cannot_be_batched_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="no documents"):
        DocumentBatches([], np.array([]), batch_size=2)
    with pytest.raises(DataError, match="2 documents have 1 labels"):
        DocumentBatches(documents(2), np.array([0]), batch_size=2)
    with pytest.raises(DataError, match="Document 1 .* has no tokens"):
        DocumentBatches([np.array([5]), np.array([], dtype=int)], np.array([0, 1]), batch_size=2)
    with pytest.raises(ConfigError, match="Did you mean 'sortish'"):
        make(5, sampler="sortisch")


def test_marks_stand_around_each_document_as_it_is_read() -> None:
    documents = [np.array([5, 6, 7]), np.array([8])]
    batches = DocumentBatches(documents, np.array([0, 1]), batch_size=2, sampler="sorted", backwards=True, mark=(2, 3))
    (batch,) = batches.epoch(0)
    assert batch.ids.t().tolist() == [[2, 7, 6, 5, 3], [2, 8, 3, 1, 1]]
    assert batch.lengths.tolist() == [5, 3]
