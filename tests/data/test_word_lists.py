"""Lists of words that others pickled are read, and what else a pickle can hold is refused and never run."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit_lab.data import word_lists
from ulmfit_lab.data.word_lists import pickled_words, read_word_list
from ulmfit_lab.utils.errors import DataError

WORDS = ["xxunk", "the", "naïve", "\n", "", "the"]


class Calls:
    """Unpickled by pickle, it would call print."""

    def __reduce__(self) -> Any:
        return print, ("called",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@settings(max_examples=25)
@given(words=st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_what_pickle_wrote_is_read_back(protocol: int, words: list[str]) -> None:
    assert pickled_words(pickle.dumps(words, protocol)) == tuple(words)
    if protocol and words:
        assert pickled_words(pickle.dumps(tuple(words), protocol)) == tuple(words)


def test_lists_are_read_by_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "itos.pkl").write_bytes(pickle.dumps(WORDS))
    (tmp_path / "words.json").write_text('["a", "b"]')
    (tmp_path / "words.txt").write_text("a\nb\n")
    assert read_word_list(tmp_path / "itos.pkl") == tuple(WORDS)
    assert read_word_list(tmp_path / "words.json") == read_word_list(tmp_path / "words.txt") == ("a", "b")


@pytest.mark.parametrize(
    "value",
    [Calls(), [Calls()], ["a", 1], [["a"]], {"a": 1}, "a", 3, None, OrderedDict(a=1), [b"a"], ["a", ("b",)], {"a"}],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_anything_else_is_refused_and_not_run(value: Any, protocol: int, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "itos.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(DataError, match=r"itos.pkl cannot be read as a list of words"):
        read_word_list(path)
    assert "called" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        b"\x80\x04.",
        b"\x80\x04]e.",
        b"\x80\x04h\x05.",
        b"\x80\x04](]e.",
        pickle.dumps(WORDS)[:-4],
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_a_damaged_or_hostile_pickle_is_one_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        pickled_words(content)


def test_a_place_far_out_takes_no_room() -> None:
    far = struct.pack("<I", 2**31)  # pickle itself would make room for so many
    assert pickled_words(b"\x80\x04](\x8c\x01ar" + far + b"j" + far + b"e.") == ("a", "a")


def test_a_file_too_large_for_a_list_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_lists, "LARGEST", 10)
    path = tmp_path / "itos.pkl"
    path.write_bytes(pickle.dumps(WORDS))
    with pytest.raises(DataError, match="more than 10 bytes"):
        read_word_list(path)


def test_a_file_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_word_list(tmp_path / "itos.pkl")
