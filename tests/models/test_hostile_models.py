"""Whatever bytes a file of vectors or weights holds, it is read or refused in one line; no code in it is run."""

from __future__ import annotations

import gzip
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import reads_or_refuses
from torch import nn

from ulmfit_lab.models.checkpoint import (
    Stamp,
    load_checkpoint,
    load_resume_state,
    read_stamp,
    save_checkpoint,
    save_resume_state,
)
from ulmfit_lab.models.word_vectors import WordVectors, load_vectors
from ulmfit_lab.utils.errors import DataError

STAMP = Stamp("encoder", "abcd", "forwards")
TEXT = b"3 2\nthe 1 2\nof -0.5 1e-3\ncaf\xc3\xa9 3 4\n"
BINARY = b"2 2\nthe " + struct.pack("<2f", 1, 2) + b"\nof " + struct.pack("<2f", 3, 4) + b"\n"
VECTORS = {
    "v.txt": TEXT,
    "glove.txt": TEXT[4:],
    "v.txt.gz": gzip.compress(TEXT, mtime=0),
    "v.bin": BINARY,
    "v.bin.gz": gzip.compress(BINARY, mtime=0),
}


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Any bytes, a part of the file, or the file with some bytes replaced."""
    kind = draw(st.sampled_from(["any", "cut", "replaced"]))
    if kind == "any":
        return draw(st.binary(max_size=100))
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255) | st.sampled_from(b"0 \n9."))
    return bytes(content)


@pytest.mark.parametrize("name", VECTORS)
def test_any_bytes_are_vectors_or_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(VECTORS[name])
    assert load_vectors(path).matrix.shape[1] == 2

    @settings(max_examples=200)
    @given(damaged(VECTORS[name]))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reads_or_refuses(lambda: load_vectors(path), path)

    check()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.txt", b"2 99999999999999999999\na 1 2\n"),
        ("v.txt", b"a" * 3 * 2**20),
        ("v.txt.gz", gzip.compress(b"a" * 3 * 2**20, mtime=0)),
        ("v.bin", b"200000000 300\nthe " + bytes(1200)),
        ("v.bin.gz", gzip.compress(b"20000000 300\nthe " + bytes(1200), mtime=0)),
        ("v.bin", b"\x00" * 3 * 2**20),
    ],
)
def test_no_more_memory_is_taken_than_a_file_of_vectors_is_worth(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=name):
            load_vectors(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_vectors_that_unpack_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulmfit_lab.utils.files.INFLATED", 2**12)
    path = tmp_path / "v.txt.gz"
    path.write_bytes(gzip.compress(b"the 1 2\n" * 10**5, mtime=0))
    with pytest.raises(DataError, match="unpacks to far more than its size"):
        load_vectors(path)


@pytest.mark.parametrize("name", ["words.json", "vectors.safetensors"])
def test_any_bytes_in_saved_vectors_are_read_or_refused(name: str, tmp_path: Path) -> None:
    WordVectors(("a", "b"), torch.ones(2, 3).numpy()).save(tmp_path)
    whole = (tmp_path / name).read_bytes()

    @settings(max_examples=150)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        reads_or_refuses(lambda: WordVectors.load(tmp_path), tmp_path)

    check()


def test_a_checkpoint_cut_at_any_byte_or_changed_in_any_is_refused_or_read(tmp_path: Path) -> None:
    path, module = tmp_path / "model.safetensors", nn.Linear(3, 2)
    save_checkpoint(path, module, STAMP)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=str(path)):
            load_checkpoint(path, module, STAMP)

    @settings(max_examples=200)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reads_or_refuses(lambda: read_stamp(path), path)
        reads_or_refuses(lambda: load_checkpoint(path, module, STAMP), path)

    check()


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.place,)


def test_a_pickle_in_place_of_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path, place = tmp_path / "model.safetensors", tmp_path / "made"
    torch.save({"weight": Bomb(place)}, path)
    for content in (path.read_bytes(), pickle.dumps(Bomb(place))):
        path.write_bytes(content)
        with pytest.raises(DataError, match=str(path)):
            load_checkpoint(path, nn.Linear(3, 2), STAMP)
    assert not place.exists()


def test_any_bytes_are_a_resume_state_or_one_line(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    save_resume_state(path, {"model": {"weight": torch.ones(2, 3)}, "position": {"epoch": 1}})
    whole = path.read_bytes()

    @settings(max_examples=100)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reads_or_refuses(lambda: load_resume_state(path), path)

    check()
