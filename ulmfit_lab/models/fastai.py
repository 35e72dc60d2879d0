"""Language models of fastai 0.7, 1 and 2: reading their files, and writing files of fastai 2.

Names of a language model begin with `0.` (encoder) and `1.` (decoder), those of an encoder alone have no prefix. The
raw recurrent weights belong to the wrapped module in fastai 0.7 and to the wrapper since. fastai 1 also saves weights
after dropout, and all versions save the embedding twice; these are ignored. fastai 0.7's decoder has no bias.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ulmfit_lab.data.rules import BOS, CAPITAL, FIELD, PAD, PAD_ID, REPEAT, SPECIALS, UNK, UPPER, WORD_REPEAT
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.heads import LanguageModel
from ulmfit_lab.models.sizes import Sizes
from ulmfit_lab.models.transfer import move_language_model
from ulmfit_lab.utils.errors import DataError, MismatchError
from ulmfit_lab.utils.files import write_output

OLD_MARKERS = {
    "_unk_": UNK, "_pad_": PAD, "xbos": BOS, "xfld": FIELD, "t_up": UPPER, "tk_rep": REPEAT, "tk_wrep": WORD_REPEAT,
}  # fmt: skip
"""fastai 0.7's markers -> ours; those of fastai 1 and 2 have our names."""
FILLER = "xxfake"
"""Padding of fastai 2's vocabularies to a multiple of eight."""
UNMARKED = tuple(FILLER if word == CAPITAL else word for word in SPECIALS)
"""First words of an exported vocabulary whose texts have no `xxmaj`."""
RECURRENT = re.compile(r"rnns\.(\d{1,2})\.(?:module\.)?(weight_ih|weight_hh|bias_ih|bias_hh)_l0(_raw)?")
COPIES = frozenset({"encoder_dp.emb.weight", "encoder_with_dropout.embed.weight"})
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
NAMED = 3
"""Names that a message lists."""


def read_fastai(weights: Path, vocabulary: Sequence[str]) -> tuple[LanguageModel, tuple[str, ...], Sizes]:
    """Read a language model from a fastai file and vocabulary; return it with its words and sizes.

    Our markers come first in the words; a marker that fastai lacks gets the mean row. An encoder alone uses its
    embedding as decoder. Raises DataError for a file without such a model and MismatchError for a vocabulary of another
    size.
    """
    tensors = map_tensor_names(read_tensors(weights), weights)
    sizes = check_shapes(tensors, weights)
    if sizes.words != len(vocabulary):
        raise MismatchError(
            f"{weights} has rows for {sizes.words} words, but the vocabulary has {len(vocabulary)}; "
            "use the vocabulary that was saved with it."
        )
    encoder = AWDLSTM(
        sizes.words,
        emb_size=sizes.emb_size,
        hidden_size=sizes.hidden_size,
        n_layers=sizes.n_layers,
        dropouts=Dropouts(),
        pad=PAD_ID,
    )
    model = LanguageModel(encoder, tie_weights=sizes.tie_weights)
    model.load_state_dict(tensors)
    old, new = rename_tensors(vocabulary)
    return move_language_model(model, old, new, "mean", torch.Generator()), new, sizes


def rename_tensors(vocabulary: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return fastai's words with our markers' names, and our vocabulary: markers first, without fillers.

    Raises DataError for a duplicate word.
    """
    if tuple(vocabulary[: len(UNMARKED)]) == UNMARKED:
        vocabulary = (*SPECIALS, *vocabulary[len(UNMARKED) :])
    present = set(vocabulary)
    old = [ours if (ours := OLD_MARKERS.get(word, word)) not in present else word for word in vocabulary]
    new = (*SPECIALS, *(word for word in old if word not in SPECIALS and word != FILLER))
    if len(set(new)) < len(new):
        ((twice, _),) = Counter(new).most_common(1)
        raise DataError(f"The vocabulary contains {twice!r} twice; each word must occur once.")
    return old, new


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a torch file by name, without executing anything in it.

    Raises DataError if it is missing, damaged, or contains anything but plain values.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle of a file that is refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types
        raise DataError(
            f"{path} is damaged or has more than weights ({type(error).__name__}); save it with with_opt=False."
        ) from error
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        found = found["model"]
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise DataError(f"{path} has no named weights; give a language model or encoder saved by fastai.")
    return {str(name): tensor for name, tensor in found.items()}


def map_tensor_names(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return fastai's weights under the names of `LanguageModel`, as float32, with a decoder bias.

    Raises DataError for weights that an AWD-LSTM does not have, or that are not finite.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not is_sound(tensor):
            raise DataError(f"{path}: {format_shapes(name)} has values that are not finite numbers; use another file.")
        plain = name.removeprefix("0.").removeprefix("module.")
        recurrent = RECURRENT.fullmatch(plain)
        if recurrent:
            layer, part, raw = recurrent.groups()
            ours = f"encoder.lstms.{int(layer)}.{part}"
            if raw or ours not in found:
                found[ours] = tensor.float()
        elif plain == "encoder.weight":
            found["encoder.embedding.weight"] = tensor.float()
        elif name == "1.decoder.weight":
            found["untied_weight"] = tensor.float()
        elif name == "1.decoder.bias":
            found["decoder_bias"] = tensor.float()
        elif plain not in COPIES:
            raise DataError(f"{path} has {format_shapes(name)}, which an AWD-LSTM does not; give an AWD-LSTM.")
    embedding = found.get("encoder.embedding.weight")
    if embedding is not None:
        found.setdefault("decoder_bias", torch.zeros(embedding.shape[:1]))
        if torch.equal(found.get("untied_weight", embedding), embedding):
            found.pop("untied_weight", None)
    return found


def is_sound(tensor: Tensor) -> bool:
    """Return whether a tensor consists of finite floats, all of them stored."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.is_floating_point()
    whole = plain and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
    return whole and bool(torch.isfinite(tensor).all())


def format_shapes(name: str) -> str:
    """Return a name from a file in ASCII, cut."""
    return ascii(name[:80])


def check_shapes(tensors: Mapping[str, Tensor], path: Path) -> Sizes:
    """Return the sizes of a language model's weights; raises DataError if weights are missing or do not fit."""
    layers = {int(name.split(".")[2]) for name in tensors if name.startswith("encoder.lstms.")}
    n_layers = max(layers, default=0) + 1
    names = ["encoder.embedding.weight", *(f"encoder.lstms.{i}.{part}" for i in range(n_layers) for part in PARTS)]
    missing = [fastai_name(name) for name in names if name not in tensors]
    if missing:
        raise DataError(f"{path} lacks {format_names(missing)}; give a complete language model or encoder of fastai.")
    embedding, recurrent = tensors["encoder.embedding.weight"], tensors["encoder.lstms.0.weight_hh"]
    words, emb_size = embedding.shape if embedding.dim() == 2 else (0, 0)
    hidden_size = recurrent.shape[-1] if recurrent.dim() == 2 else 0
    wanted: dict[str, tuple[int, ...]] = {"encoder.embedding.weight": (words, emb_size), "decoder_bias": (words,)}
    wanted["untied_weight"] = (words, emb_size)
    below = emb_size
    for layer in range(n_layers):
        above = emb_size if layer == n_layers - 1 else hidden_size
        shapes = ((4 * above, below), (4 * above, above), (4 * above,), (4 * above,))
        wanted |= {f"encoder.lstms.{layer}.{part}": shape for part, shape in zip(PARTS, shapes, strict=True)}
        below = above
    for name, shape in wanted.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            have, need = (" x ".join(map(str, each)) or "scalar" for each in (tensors[name].shape, shape))
            raise DataError(
                f"{path}: {fastai_name(name)} is {have}, but the other weights need {need}; use another file."
            )
    return Sizes(words, emb_size, hidden_size, n_layers, "untied_weight" not in tensors)


def fastai_name(name: str) -> str:
    """Return fastai 2's name of a weight."""
    own = {
        "encoder.embedding.weight": "0.encoder.weight",
        "decoder_bias": "1.decoder.bias",
        "untied_weight": "1.decoder.weight",
    }
    if name in own:
        return own[name]
    _, _, layer, part = name.split(".")
    return f"0.rnns.{layer}.weight_hh_l0_raw" if part == "weight_hh" else f"0.rnns.{layer}.module.{part}_l0"


def write_fastai(model: LanguageModel, path: Path) -> None:
    """Write a language model's weights in fastai 2's format; raises DataError if the file cannot be written."""
    state: dict[str, Any] = {fastai_name(name): tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    state["0.encoder_dp.emb.weight"] = state["0.encoder.weight"]
    state["1.decoder.weight"] = model.decoder_weight.detach().cpu()
    with write_output(path) as temporary:
        torch.save(state, temporary)


def format_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
