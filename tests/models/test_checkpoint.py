"""A checkpoint gives back what was saved, and refuses to be what it is not."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.checkpoint import (
    Stamp,
    load_checkpoint,
    load_resume_state,
    read_stamp,
    save_checkpoint,
    save_resume_state,
)
from ulmfit_lab.models.heads import Classifier, Features, LanguageModel
from ulmfit_lab.utils.errors import DataError, MismatchError

STAMP = Stamp(kind="language-model", vocabulary="0123abcd", direction="forwards")


def encoder(seed: int = 0, words: int = 9, n_layers: int = 2) -> AWDLSTM:
    torch.manual_seed(seed)
    return AWDLSTM(words, emb_size=3, hidden_size=4, n_layers=n_layers, dropouts=Dropouts())


def language_model(seed: int = 0, tie: bool = True, **sizes: int) -> LanguageModel:
    return LanguageModel(encoder(seed, **sizes), tie_weights=tie)


def classifier(seed: int = 0, features: Features = "last") -> Classifier:
    return Classifier(encoder(seed), 2, head_size=4, output_dropout=0.1, head_dropout=0.1, features=features)


def mixed(seed: int) -> Classifier:
    """A classifier with a mix of its own."""
    model = classifier(seed, "mix")
    torch.nn.init.normal_(model.head[1].scores)
    torch.nn.init.normal_(model.head[1].gamma)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, language_model(), STAMP)
    return path


MODULES: dict[str, tuple[str, Callable[[int], nn.Module]]] = {
    "tied language model": ("language-model", language_model),
    "untied language model": ("language-model", lambda seed: language_model(seed, tie=False)),
    "encoder": ("encoder", encoder),
    "classifier": ("classifier", classifier),
    "classifier of mixed layers": ("classifier", mixed),
    "classifier of embeddings": ("classifier", lambda seed: classifier(seed, "embeddings")),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_is_loaded_is_what_was_saved(name: str, tmp_path: Path) -> None:
    kind, make = MODULES[name]
    path, stamp = tmp_path / "model.safetensors", replace(STAMP, kind=kind)
    trained, fresh = make(0), make(1)
    for buffer in trained.buffers():
        buffer.add_(1)
    save_checkpoint(path, trained, stamp)
    load_checkpoint(path, fresh, stamp)
    state = fresh.state_dict()
    assert state.keys() == trained.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in trained.state_dict().items())
    assert read_stamp(path) == stamp


class Shared(nn.Module):
    """Two names of one matrix, and another one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight


def test_a_matrix_with_two_names_is_written_once_and_stays_shared(tmp_path: Path) -> None:
    path, trained, fresh = tmp_path / "shared.safetensors", Shared(), Shared()
    save_checkpoint(path, trained, STAMP)
    assert list(load_file(path)) == ["first.weight"]
    load_checkpoint(path, fresh, STAMP)
    assert torch.equal(fresh.second.weight, trained.first.weight)
    assert fresh.second.weight is fresh.first.weight


@pytest.mark.parametrize(
    ("field", "value"), [("kind", "encoder"), ("vocabulary", "ffff0000"), ("direction", "backwards")]
)
def test_another_kind_vocabulary_or_direction_is_refused_with_both_values(saved: Path, field: str, value: str) -> None:
    with pytest.raises(MismatchError) as caught:
        load_checkpoint(saved, language_model(), replace(STAMP, **{field: value}))
    message = str(caught.value)
    assert all(part in message for part in (str(saved), field, value, getattr(STAMP, field)))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("other", "values"),
    [
        (lambda: language_model(1, words=10), ("decoder_bias", "9,", "10 ")),
        (lambda: language_model(1, n_layers=3), ("encoder.lstms.1.bias_hh", "12,", "16 ")),
        (lambda: language_model(1, tie=False), ("untied_weight", "absent", "9 x 3")),
    ],
)
def test_other_sizes_are_refused_with_both_values_and_nothing_is_loaded(
    saved: Path, other: Callable[[], LanguageModel], values: tuple[str, ...]
) -> None:
    model = other()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(MismatchError) as caught:
        load_checkpoint(saved, model, STAMP)
    assert all(value in str(caught.value) for value in (str(saved), *values))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def refuses(path: Path, *words: str) -> None:
    """Both ways to read the file end in a one-line DataError that names it."""
    for read in (read_stamp, lambda path: load_checkpoint(path, language_model(), STAMP)):
        with pytest.raises(DataError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert all(word in str(caught.value) for word in (str(path), *words))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    refuses(saved, "damaged")


@pytest.mark.parametrize("content", [b"\x80\x04\x95garbage\n" * 9, b"PK\x03\x04" + bytes(100), b"{}"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refuses(path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path / "model.safetensors", "no file")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"kind": "language-model"}])
def test_a_file_without_a_stamp_is_refused(saved: Path, metadata: dict[str, str] | None) -> None:
    save_file(load_file(saved), saved, metadata=metadata)
    refuses(saved, "stamp")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(Exception):  # noqa: B017 (whichever safetensors raises)
        save_checkpoint(saved, language_model(1), replace(STAMP, vocabulary=3))  # type: ignore[arg-type]
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


STATE: dict[str, Any] = {
    "model": {"weight": torch.arange(6.0).view(2, 3)},
    "carry": [(torch.ones(2), torch.zeros(2, dtype=torch.bfloat16))],
    "random": {"cpu": torch.get_rng_state()},
    "position": {"epoch": 3, "loss": 0.25, "history": [{"loss": 1.5}], "note": "text", "none": None},
}


def test_a_resume_state_comes_back_with_its_types(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    save_resume_state(path, STATE)
    found = load_resume_state(path)
    assert os.listdir(tmp_path) == ["resume.pt"]
    assert found.keys() == STATE.keys()
    assert found["position"] == STATE["position"]
    assert torch.equal(found["model"]["weight"], STATE["model"]["weight"])
    assert torch.equal(found["random"]["cpu"], STATE["random"]["cpu"])
    (h, c), (mine_h, mine_c) = found["carry"][0], STATE["carry"][0]
    assert isinstance(found["carry"][0], tuple)
    assert torch.equal(h, mine_h)
    assert torch.equal(c, mine_c)
    assert c.dtype == torch.bfloat16


def test_saving_again_replaces_the_state(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    save_resume_state(path, {"step": 1})
    save_resume_state(path, {"step": 2})
    assert load_resume_state(path) == {"step": 2}


def refuses_resume(path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_resume_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_torn_resume_state_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "resume.pt"
    save_resume_state(path, STATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refuses_resume(path)


def test_garbage_is_no_resume_state(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    refuses_resume(path)
    path.write_bytes(random.Random(0).randbytes(2000))
    refuses_resume(path)
    torch.save([1, 2], path)
    refuses_resume(path)


class Payload:
    """What an attacker would put into a pickle."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_resume_state_is_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "resume.pt", tmp_path / "ran"
    torch.save({"step": Payload(marker)}, path)
    refuses_resume(path)
    assert not marker.exists()


def test_a_failed_save_leaves_the_old_state(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    save_resume_state(path, {"step": 1})
    with pytest.raises(Exception):  # noqa: B017 (whichever pickle raises)
        save_resume_state(path, {"step": lambda: 2})
    assert load_resume_state(path) == {"step": 1}
    assert os.listdir(tmp_path) == ["resume.pt"]
