"""Inference: class probabilities, explanations, text generation, nearest words.

Texts are converted to documents, tokenized and truncated as in training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.files import NO_COLUMNS, find_own
from ulmfit_lab.data.formats import Columns, Document, make_document
from ulmfit_lab.data.named_sets import NAMED_SETS
from ulmfit_lab.data.rules import BOS, PAD_ID, SPECIALS, UNK_ID
from ulmfit_lab.data.subwords import END
from ulmfit_lab.data.tokenizer import has_words, tokenize
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.models.attributions import integrated_gradients
from ulmfit_lab.models.checkpoint import load_checkpoint, reading
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.models.word_vectors import WordVectors
from ulmfit_lab.pipeline.build_models import build_classifier, new_language_model, stamp
from ulmfit_lab.pipeline.devices import configure_torch
from ulmfit_lab.pipeline.training_stages import EVALUATION_BATCH, make_document_batches
from ulmfit_lab.report.explanations import Explanation
from ulmfit_lab.runs.lookup import find_classifiers, find_language_model, find_stage
from ulmfit_lab.runs.reproduce import config_of
from ulmfit_lab.tracking.records import TrackedRun
from ulmfit_lab.training.evaluation import evaluate_classifier
from ulmfit_lab.utils.errors import ConfigError, DataError, LabError
from ulmfit_lab.utils.home import Home


@dataclass(frozen=True)
class TrainedLanguageModel:
    """A run's language model, vocabulary and config."""

    model: LanguageModel
    vocabulary: Vocabulary
    config: RunConfig


@dataclass(frozen=True)
class TrainedClassifier:
    """A run's classifiers, one or one per direction, with their configs."""

    members: tuple[tuple[Classifier, RunConfig], ...]
    vocabulary: Vocabulary
    classes: tuple[str, ...]

    @property
    def config(self) -> RunConfig:
        """Config of the first member."""
        return self.members[0][1]

    @property
    def columns(self) -> Columns:
        """Text columns of the run, without label; empty rows are kept."""
        target = self.config.target
        text = target.text_column if target.path else NAMED_SETS[target.name].text_columns
        return Columns(text, None, keep_empty=True)


@dataclass(frozen=True)
class EmbeddingTable:
    """Words of a model and their vectors (n, d)."""

    name: str
    words: tuple[str, ...]
    matrix: np.ndarray


def load_language_model(run: TrackedRun, home: Home) -> TrainedLanguageModel:
    """Load the last language model of a run, in evaluation mode; raises LabError if it is missing."""
    stored, config = find_language_model(run, home), config_of(run)
    vocabulary = Vocabulary.load(stored.folder / "vocabulary.json")
    model = new_language_model(config, len(vocabulary))
    load_checkpoint(stored.folder / "model.safetensors", model, stamp("language-model", vocabulary, config))
    return TrainedLanguageModel(model.eval(), vocabulary, config)


def load_classifier(run: TrackedRun, home: Home) -> TrainedClassifier:
    """Load the classifiers of a run, in evaluation mode; raises LabError if they are missing."""
    members = []
    for stored, config in find_classifiers(run, home):
        classes = tuple(stored.summary["classes"])
        model, vocabulary = load_member(stored.folder, config, len(classes))
        members.append((model, config))
    return TrainedClassifier(tuple(members), vocabulary, classes)


def load_member(folder: Path, config: RunConfig, n_classes: int) -> tuple[Classifier, Vocabulary]:
    """Load a classifier, in evaluation mode, and its vocabulary from a folder."""
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    model = build_classifier(vocabulary, {}, config, n_classes)
    load_checkpoint(folder / "model.safetensors", model, stamp("classifier", vocabulary, config))
    return model.eval(), vocabulary


def read_file(trained: TrainedClassifier, path: str, text_column: str = "") -> list[Document]:
    """Read a file, one document per row or line, from the run's text columns or from `text_column`.

    Raises DataError if the file cannot be read or lacks the columns.
    """
    own = trained.columns
    columns = replace(own, text=text_column) if text_column else own
    texts = find_own(path, columns)
    if len(columns.names) != len(own.names) or (len(own.names) > 1 and texts.files[0].suffix.lower() in NO_COLUMNS):
        raise _wants_columns(own, path)
    return list(texts.read())


def read_plain(trained: TrainedClassifier, texts: Sequence[str]) -> list[Document]:
    """Convert plain texts to documents; None is a missing text.

    Raises DataError if the run has several text columns, or for another type.
    """
    if len(trained.columns.names) > 1:
        raise _wants_columns(trained.columns, "A plain text")
    return [make_document([text], None, f"text {number}", keep_empty=True) for number, text in enumerate(texts, 1)]


def read_rows(trained: TrainedClassifier, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Document]:
    """Convert rows of a table to documents; None is a missing text.

    Raises DataError if the table lacks the run's text columns, or for values that are not text.
    """
    try:
        names, _ = trained.columns.found(header, "The table")
    except DataError as error:
        raise DataError(f"{error} The model reads {', '.join(trained.columns.names)}.") from None
    places = [header.index(name) for name in names]
    return [
        make_document([row[place] for place in places], None, f"row {number}", keep_empty=True)
        for number, row in enumerate(rows, 1)
    ]


def _wants_columns(columns: Columns, what: str) -> DataError:
    names = ", ".join(columns.names)
    return DataError(f"{what}: the run reads the column(s) {names}; give a table with these columns.")


def tokens_of(documents: Sequence[Document], config: RunConfig) -> list[list[str]]:
    """Tokenize documents and truncate them to `target.max_words`."""
    texts = (document.text for document in documents)
    found = tokenize(texts, config.language, mark_capitals=config.mark_capitals)
    return [words[: config.target.max_words] for words in found]


def predict(trained: TrainedClassifier, texts: Sequence[str] | Sequence[Document]) -> np.ndarray:
    """Class probabilities (n, C) of texts or documents; nan for rows without words.

    Raises DataError for plain texts if the run has several text columns.
    """
    words = tokens_of(_documents(trained, texts), trained.config)
    places = [place for place, tokens in enumerate(words) if has_words(tokens)]
    found = np.full((len(words), len(trained.classes)), np.nan, np.float32)
    if places:
        found[places] = _classify(trained, [words[place] for place in places])
    return found


def labels_of(trained: TrainedClassifier, scores: np.ndarray) -> list[str | None]:
    """Most probable class of each row of `predict`, None for nan."""
    return [None if np.isnan(row).any() else trained.classes[int(row.argmax())] for row in scores]


def _documents(trained: TrainedClassifier, texts: Sequence[str] | Sequence[Document]) -> list[Document]:
    documents = [text for text in texts if isinstance(text, Document)]
    return documents if len(documents) == len(texts) else read_plain(trained, texts)  # type: ignore[arg-type]


def _classify(trained: TrainedClassifier, words: Sequence[Sequence[str]]) -> np.ndarray:
    """Mean probabilities (n, C) over the members."""
    ids = [trained.vocabulary.encode(tokens) for tokens in words]
    scores = []
    for model, config in trained.members:
        device = configure_torch(replace(config.compute, device="auto"))
        batches = make_document_batches(ids, np.zeros(len(ids), np.int64), config, "sorted", EVALUATION_BATCH)
        tested = evaluate_classifier(model.to(device), batches, device=device, precision=config.compute.precision)
        scores.append(tested.probabilities)
    mean: np.ndarray = np.mean(scores, axis=0)
    return mean


def explain(trained: TrainedClassifier, text: str | Document) -> Explanation:
    """Attribute the probability of the most probable class to words (see `integrated_gradients`).

    Raises DataError for a text without words.
    """
    document = text if isinstance(text, Document) else read_plain(trained, [text])[0]
    (words,) = tokens_of([document], trained.config)
    if not has_words(words):
        raise DataError(f"{document.text[:50]!r} contains no words besides markup; give another text.")
    label = int(_classify(trained, [words])[0].argmax())
    ids = np.array(trained.vocabulary.encode(words), dtype=np.int64)
    found = []
    for model, config in trained.members:
        device = next(model.parameters()).device
        step = -1 if config.lm.backwards else 1
        read = torch.from_numpy(ids[::step].copy()).to(device)
        one = integrated_gradients(model, read, label)
        found.append((one.values.cpu().numpy()[::step], one.probability, one.baseline, one.gap))
    values, *numbers = zip(*found, strict=True)
    probability, baseline, gap = (float(np.mean(each)) for each in numbers)
    shown = words if trained.vocabulary.merges is None else trained.vocabulary.decode(ids)
    return Explanation(tuple(shown), np.mean(values, axis=0), trained.classes[label], probability, baseline, gap)


def generate(
    trained: TrainedLanguageModel, prompt: str, *, tokens: int = 50, temperature: float = 0.8, seed: int = 0
) -> str:
    """Continue a prompt by up to `tokens` tokens, or until the end of the document.

    temperature  divides the logits; 0 is greedy. Unknown words are never generated.

    A backward model generates the text before the prompt. Raises ConfigError for invalid numbers.
    """
    if not 0 <= temperature < math.inf or tokens < 1:
        raise ConfigError(f"temperature = {temperature} must be finite and at least 0, tokens = {tokens} at least 1.")
    config = trained.config
    backwards = config.lm.backwards
    (words,) = tokenize([prompt], config.language, mark_capitals=config.mark_capitals)
    first, *rest = [*words[:1], *words[:0:-1]] if backwards else words
    found = list(_continue(trained, [first, *rest], tokens, temperature, seed))
    text = ("" if trained.vocabulary.merges else " ").join(found[::-1] if backwards else found)
    return text.strip(" ")


def _continue(
    trained: TrainedLanguageModel, words: Sequence[str], tokens: int, temperature: float, seed: int
) -> Iterator[str]:
    """Generate tokens in the reading order of the model."""
    generator = torch.Generator().manual_seed(seed)
    window = torch.from_numpy(trained.vocabulary.encode(words).astype(np.int64))[:, None]
    state = None
    for _ in range(tokens):
        with torch.inference_mode():
            output, _, state = trained.model(window, state)
            scores = trained.model.logits(output[-1, 0]).float()
            scores[[UNK_ID, PAD_ID]] = -torch.inf
            if temperature:
                number = int(torch.multinomial((scores / temperature).softmax(0), 1, generator=generator))
            else:
                number = int(scores.argmax())
        word = trained.vocabulary.words[number]
        if word == BOS:
            return
        yield word
        window = torch.tensor([[number]])


def embedding_tables(run: TrackedRun, home: Home) -> list[EmbeddingTable]:
    """Word vectors of a run, and the embedding of its last model; raises LabError if it has neither."""
    found = []
    if stored := find_stage(run, "vectors", home):
        vectors = WordVectors.load(stored.folder)
        found.append(EmbeddingTable("word vectors", vectors.words, vectors.matrix))
    for kind in ("classifier", "fine-tuned", "pretrained"):
        stored = find_stage(run, kind, home)
        path = stored.folder / "model.safetensors" if stored else None
        if stored and path and path.is_file():
            with reading(path):
                matrix = load_file(path)["encoder.embedding.weight"].numpy()
            found.append(EmbeddingTable(kind, Vocabulary.load(stored.folder / "vocabulary.json").words, matrix))
            break
    if not found:
        raise LabError(f"Run {run.origin} ({run.name}) has neither word vectors nor an LSTM; name another run.")
    return found


def nearest_words(space: EmbeddingTable, word: str, n: int, language: str = "en") -> list[tuple[str, float]]:
    """The n words with the largest cosine similarity to a word, without markers; empty if the word is unknown.

    The word is tokenized as in training; of a subword vocabulary its last piece is used.
    """
    (tokens,) = tokenize([word], language)
    places = {known: place for place, known in enumerate(space.words)}
    own = next((places[form] for form in (tokens[-1], tokens[-1] + END) if form in places), None)
    if own is None or space.words[own] in SPECIALS:
        return []
    lengths = np.linalg.norm(space.matrix, axis=1)
    cosines = space.matrix @ space.matrix[own] / np.maximum(lengths * lengths[own], 1e-12)
    ranked = (int(place) for place in np.argsort(-cosines, kind="stable"))
    others = [place for place in ranked if place != own and space.words[place] not in SPECIALS]
    return [(space.words[place].strip(END), float(cosines[place])) for place in others[:n]]
