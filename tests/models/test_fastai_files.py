"""Files of fastai 0.7, 1 and 2 give the models that fastai itself would run, and go back without loss."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ulmfit_lab.data.rules import SPECIALS
from ulmfit_lab.models.fastai import read_fastai, write_fastai
from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.utils.errors import DataError, LabError, MismatchError

NEW = ["xxunk", "xxpad", "xxbos", "xxeos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj", "the", "film", "."]
OLD = ["_unk_", "_pad_", "the", "film", ".", "xbos", "xfld", "t_up", "tk_rep", "tk_wrep", "<eos>", "\n"]


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "fastai_awd_lstm.json").read_text())
    return recorded


@pytest.fixture(scope="module")
def weights(record: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.tensor(values) for name, values in record["weights"].items()}


def state(weights: dict[str, Tensor], version: str) -> dict[str, Tensor]:
    """The recorded weights as a version of fastai names them."""
    embedding = weights["encoder.embedding.weight"]
    copy = "0.encoder_with_dropout.embed.weight" if version == "0.7" else "0.encoder_dp.emb.weight"
    found = {"0.encoder.weight": embedding, copy: embedding, "1.decoder.weight": embedding.clone()}
    if version != "0.7":
        found["1.decoder.bias"] = weights["decoder_bias"]
    for layer in range(3):
        where, ours = f"0.rnns.{layer}.", f"encoder.lstms.{layer}."
        raw = weights[ours + "weight_hh"]
        found[where + ("module." if version == "0.7" else "") + "weight_hh_l0_raw"] = raw
        if version == "1":
            found[where + "module.weight_hh_l0"] = raw * 0.5  # what dropout left of them
        for part in ("weight_ih", "bias_ih", "bias_hh"):
            found[f"{where}module.{part}_l0"] = weights[ours + part]
    return found


def logits(model: LanguageModel, ids: Tensor, words: tuple[str, ...], theirs: list[str]) -> Tensor:
    """Logits of both windows over fastai's words, in fastai's order."""
    place = torch.tensor([words.index(word) for word in theirs])
    model.eval()
    carried, found = None, []
    for window in ids:
        dropped, _, carried = model(place[window], carried)
        found.append(model.logits(dropped)[..., place])
    return torch.stack(found)


@pytest.mark.parametrize("version", ["0.7", "1", "2"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_layouts_of_all_versions_give_fastais_logits(
    record: dict[str, Any], weights: dict[str, Tensor], version: str, wrapped: bool, tmp_path: Path
) -> None:
    path, saved = tmp_path / "lm.pth", state(weights, version)
    torch.save({"model": saved, "opt": {"state": []}} if wrapped else saved, path)
    itos = OLD if version == "0.7" else NEW
    model, words, sizes = read_fastai(path, itos)
    assert (sizes.words, sizes.emb_size, sizes.hidden_size, sizes.n_layers) == tuple(record["sizes"].values())
    assert sizes.tie_weights and words[: len(SPECIALS)] == SPECIALS
    named = {"_unk_": "xxunk", "_pad_": "xxpad", "xbos": "xxbos", "xfld": "xxfld"}
    theirs = [{**named, "t_up": "xxup", "tk_rep": "xxrep", "tk_wrep": "xxwrep"}.get(word, word) for word in itos]
    recorded = torch.tensor(record["evaluation"]["logits"])
    if version == "0.7":  # its decoder has no bias
        recorded = recorded - weights["decoder_bias"]
    found = logits(model, torch.tensor(record["ids"]), words, theirs)
    torch.testing.assert_close(found, recorded, rtol=0, atol=1e-4)


def test_an_encoder_alone_decodes_with_its_embedding(weights: dict[str, Tensor], tmp_path: Path) -> None:
    encoder = {name[2:]: tensor for name, tensor in state(weights, "2").items() if name.startswith("0.")}
    torch.save(encoder, tmp_path / "encoder.pth")
    model, words, sizes = read_fastai(tmp_path / "encoder.pth", NEW)
    assert sizes.tie_weights and not model.decoder_bias.any()
    row = model.encoder.embedding.weight[words.index("film")]
    assert torch.equal(row, weights["encoder.embedding.weight"][NEW.index("film")])


def test_words_that_fill_up_are_left_out_and_a_marker_that_lacks_gets_the_mean_row(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(state(weights, "2"), tmp_path / "lm.pth")
    vocabulary = ["xxunk", "xxpad", "a", "b", "c", "d", "e", "f", "g", "h", "xxfake", "xxfake"]
    model, words, _ = read_fastai(tmp_path / "lm.pth", vocabulary)
    assert words == (*SPECIALS, *"abcdefgh")
    mean = weights["encoder.embedding.weight"].mean(0)
    torch.testing.assert_close(model.encoder.embedding.weight[words.index("xxmaj")], mean)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_that_is_written_and_read_again_is_the_same_to_the_last_bit(
    weights: dict[str, Tensor], tied: bool, tmp_path: Path
) -> None:
    saved = state(weights, "2") | ({} if tied else {"1.decoder.weight": torch.rand(12, 4)})
    torch.save(saved, tmp_path / "lm.pth")
    model, words, sizes = read_fastai(tmp_path / "lm.pth", NEW)
    assert sizes.tie_weights == tied
    write_fastai(model, tmp_path / "again.pth")
    again, same, _ = read_fastai(tmp_path / "again.pth", words)
    assert same == words
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    names = set(torch.load(tmp_path / "again.pth", weights_only=True))
    assert names == set(state(weights, "2"))


def broken(weights: dict[str, Tensor], **changes: Any) -> dict[str, Any]:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in {**state(weights, "2"), **named}.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"0__rnns__1__weight_hh_l0_raw": None}, "lacks 0.rnns.1.weight_hh_l0_raw"),
        ({"0__encoder__weight": None}, "lacks 0.encoder.weight"),
        ({"0__rnns__0__module__bias_ih_l0": torch.zeros(5)}, "0.rnns.0.module.bias_ih_l0 is 5, but the other weights"),
        ({"0__rnns__2__weight_hh_l0_raw": torch.zeros(24, 6)}, "0.rnns.2.weight_hh_l0_raw is 24 x 6, but the"),
        ({"1__decoder__bias": torch.zeros(11)}, "1.decoder.bias is 11, but the other weights need 12"),
        ({"0__rnns__0__module__weight_ih_l0_reverse": torch.zeros(1)}, "an AWD-LSTM does not"),
        ({"0__encoder__weight": torch.zeros(())}, "0.encoder.weight is scalar"),
        ({"0__encoder__weight": torch.full((12, 4), torch.nan)}, "finite"),
        ({"0__encoder__weight": torch.zeros(1).expand(2**30, 4)}, "finite numbers"),
        ({"0__encoder__weight": torch.zeros(12, 4, dtype=torch.int64)}, "finite numbers"),
        ({"\x1b[31mred\nname": torch.zeros(1)}, "red"),
        ({"0__encoder__weight": 3}, "no named weights"),
    ],
)
def test_weights_that_do_not_fit_are_named_in_one_line(
    weights: dict[str, Tensor], changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    torch.save(broken(weights, **changes), tmp_path / "lm.pth")
    with pytest.raises(DataError, match=says) as caught:
        read_fastai(tmp_path / "lm.pth", NEW)
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_vocabulary_of_another_model_is_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state(weights, "2"), tmp_path / "lm.pth")
    with pytest.raises(MismatchError, match="rows for 12 words, but the vocabulary has 11"):
        read_fastai(tmp_path / "lm.pth", NEW[:-1])
    with pytest.raises(DataError, match="'film' twice"):
        read_fastai(tmp_path / "lm.pth", [*NEW[:-1], "film"])


class Calls:
    """Unpickled by pickle, it would call print."""

    def __reduce__(self) -> Any:
        return print, ("called",)


def test_files_that_hold_code_or_nothing_are_refused_and_not_run(tmp_path: Path, capsys: Any) -> None:
    torch.save({"0.encoder.weight": Calls()}, tmp_path / "code.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(Calls()))
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("code", "pickle", "torn", "list", "absent"):
        with pytest.raises(LabError, match=f"{name}.pth"):
            read_fastai(tmp_path / f"{name}.pth", NEW)
    assert "called" not in capsys.readouterr().out
