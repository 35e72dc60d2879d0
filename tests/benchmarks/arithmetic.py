"""What a language model's training step must cost: floating-point operations and bytes, by arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from ulmfit_lab.models.sizes import layer_sizes, training_flops


@dataclass(frozen=True)
class Model:
    """Sizes of an AWD-LSTM language model with tied weights."""

    words: int
    emb: int
    hidden: int
    layers: int

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Inputs and units of each LSTM layer, bottom to top."""
        return layer_sizes(self.emb, self.hidden, self.layers)

    @property
    def parameters(self) -> int:
        """Numbers that are trained: embedding (which is the decoder's weight), decoder bias, LSTM layers."""
        lstm = sum(4 * units * (inputs + units + 2) for inputs, units in self.shapes)
        return self.words * (self.emb + 1) + lstm

    @property
    def training_flops(self) -> int:
        """Floating-point operations a token, matrix products alone."""
        return training_flops(self.words, self.emb, self.hidden, self.layers)

    def step_bytes(self, tokens: int, corpus: int) -> int:
        """Bytes that training needs beside the libraries' own.

        Weight, gradient and Adam's two moments of each parameter, 4 bytes each; of each of a step's tokens the layers'
        inputs, gates, states and cells; one block of 256 rows of logits; and of each token of the corpus 20 bytes
        while it is laid out in columns (int32 once, int64 twice).
        """
        kept = sum(inputs + 6 * units for inputs, units in self.shapes)
        return 16 * self.parameters + 4 * tokens * kept + 4 * 256 * self.words + 20 * corpus
