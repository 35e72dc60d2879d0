"""Trained models put to use: labels of texts and the words they rest on, text that goes on, words that lie close.

Texts become documents as they do in training (`data.formats.make_document`), and go through the tokenizer, the rules
and the cut of the run's training.
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
    """A run's language model, its words, and the run's config."""

    model: LanguageModel
    vocabulary: Vocabulary
    config: RunConfig


@dataclass(frozen=True)
class TrainedClassifier:
    """A run's classifier with its config, or one for each direction; all share words and classes."""

    members: tuple[tuple[Classifier, RunConfig], ...]
    vocabulary: Vocabulary
    classes: tuple[str, ...]

    @property
    def config(self) -> RunConfig:
        """The run's config, but for the direction in which a member reads."""
        return self.members[0][1]

    @property
    def columns(self) -> Columns:
        """The columns that the run's texts came from; of texts to classify every row counts, and no label is read."""
        target = self.config.target
        return Columns(target.text_column if target.path else Columns().text, None, keep_empty=True)


@dataclass(frozen=True)
class EmbeddingTable:
    """Words and their vectors (n, d) of one model."""

    name: str
    words: tuple[str, ...]
    matrix: np.ndarray


def load_language_model(run: TrackedRun, home: Home) -> TrainedLanguageModel:
    """The last language model of a run, in evaluation mode; raises LabError where it is not there any more."""
    stored, config = find_language_model(run, home), config_of(run)
    vocabulary = Vocabulary.load(stored.folder / "vocabulary.json")
    model = new_language_model(config, len(vocabulary))
    load_checkpoint(stored.folder / "model.safetensors", model, stamp("language-model", vocabulary, config))
    return TrainedLanguageModel(model.eval(), vocabulary, config)


def load_classifier(run: TrackedRun, home: Home) -> TrainedClassifier:
    """The classifier of a run, in evaluation mode; raises LabError where it is not there any more, or keeps none."""
    members = []
    for stored, config in find_classifiers(run, home):
        classes = tuple(stored.summary["classes"])
        model, vocabulary = load_member(stored.folder, config, len(classes))
        members.append((model, config))
    return TrainedClassifier(tuple(members), vocabulary, classes)


def load_member(folder: Path, config: RunConfig, n_classes: int) -> tuple[Classifier, Vocabulary]:
    """A classifier in evaluation mode, and its words, from the folder that holds both."""
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    model = build_classifier(vocabulary, {}, config, n_classes)
    load_checkpoint(folder / "model.safetensors", model, stamp("classifier", vocabulary, config))
    return model.eval(), vocabulary


def read_file(trained: TrainedClassifier, path: str, text_column: str = "") -> list[Document]:
    """The documents of a file, one for each row or line, by the columns of the run's texts or by as many others.

    Raises DataError for a file that cannot be read or has not these columns.
    """
    own = trained.columns
    columns = replace(own, text=text_column) if text_column else own
    texts = find_own(path, columns)
    if len(columns.names) != len(own.names) or (len(own.names) > 1 and texts.files[0].suffix.lower() in NO_COLUMNS):
        raise _wants_columns(own, path)
    return list(texts.read())


def read_plain(trained: TrainedClassifier, texts: Sequence[str]) -> list[Document]:
    """Documents of one text each; raises DataError where the run reads several columns, and for what is no text."""
    if len(trained.columns.names) > 1:
        raise _wants_columns(trained.columns, "A plain text")
    return [make_document([text], None, f"text {number}", keep_empty=True) for number, text in enumerate(texts, 1)]


def read_rows(trained: TrainedClassifier, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Document]:
    """Documents of the rows of a table whose columns have these names; None is a missing text.

    Raises DataError where the table has not the columns of the run's texts, and for what is no text.
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
    return DataError(f"{what}: the run's texts have the column(s) {names}; give a table with as many, by these names.")


def tokens_of(documents: Sequence[Document], config: RunConfig) -> list[list[str]]:
    """The words of each document, cut after the config's number."""
    texts = (document.text for document in documents)
    return [words[: config.target.max_words] for words in tokenize(texts, config.language)]


def predict(trained: TrainedClassifier, texts: Sequence[str] | Sequence[Document]) -> np.ndarray:
    """Probabilities (n, C) of the classes for each text or document; nan where markup is all that it holds.

    Plain texts are for runs that were trained on one column (see `read_plain`).
    """
    words = tokens_of(_documents(trained, texts), trained.config)
    places = [place for place, tokens in enumerate(words) if has_words(tokens)]
    found = np.full((len(words), len(trained.classes)), np.nan, np.float32)
    if places:
        found[places] = _classify(trained, [words[place] for place in places])
    return found


def labels_of(trained: TrainedClassifier, scores: np.ndarray) -> list[str | None]:
    """The likeliest class of each row of `predict`, None where nothing was left to read."""
    return [None if np.isnan(row).any() else trained.classes[int(row.argmax())] for row in scores]


def _documents(trained: TrainedClassifier, texts: Sequence[str] | Sequence[Document]) -> list[Document]:
    plain = [text for text in texts if isinstance(text, str)]
    return read_plain(trained, plain) if plain else [text for text in texts if isinstance(text, Document)]


def _classify(trained: TrainedClassifier, words: Sequence[Sequence[str]]) -> np.ndarray:
    """Probabilities (n, C) of the words of documents, the mean over the members."""
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
    """What each word of a text adds to the probability of the likeliest class (see `integrated_gradients`).

    Raises DataError where nothing is left to read.
    """
    document = text if isinstance(text, Document) else read_plain(trained, [text])[0]
    (words,) = tokens_of([document], trained.config)
    if not has_words(words):
        raise DataError(f"Of {document.text[:50]!r} nothing is left to read once its markup is removed.")
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
    """Text that goes on from a prompt, word by word, until a document would begin or there are so many tokens.

    temperature  what the logits are divided by; 0 takes the likeliest word. Unknown words are never drawn. Of a model
                 that reads backwards it is the text before the prompt.
    """
    if not 0 <= temperature < math.inf or tokens < 1:
        raise ConfigError(
            f"temperature = {temperature} must be a finite number from 0, and tokens = {tokens} at least 1."
        )
    backwards = trained.config.lm.backwards
    (words,) = tokenize([prompt], trained.config.language)
    first, *rest = [*words[:1], *words[:0:-1]] if backwards else words
    found = list(_continue(trained, [first, *rest], tokens, temperature, seed))
    text = ("" if trained.vocabulary.merges else " ").join(found[::-1] if backwards else found)
    return text.strip(" ")


def _continue(
    trained: TrainedLanguageModel, words: Sequence[str], tokens: int, temperature: float, seed: int
) -> Iterator[str]:
    """The words (or pieces) that follow, in the order in which the model reads."""
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
    """The word vectors of a run and the embedding of its last model, as far as it has them; raises LabError if none."""
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
        raise LabError(f"Run {run.origin} ({run.name}) has neither word vectors nor an LSTM; name one that has.")
    return found


def nearest_words(space: EmbeddingTable, word: str, n: int, language: str = "en") -> list[tuple[str, float]]:
    """The n words whose vectors have the largest cosine with that of a word, markers left out; none if it is unknown.

    The word is looked up as texts are read: in lower case, and without its ending where words are pieces.
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
