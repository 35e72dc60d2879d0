"""Trained runs put to use: labels, explanations, text, neighbours and comparisons come from what was trained."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ulmfit_lab.analysis.statistics import compare_paired
from ulmfit_lab.cli import main
from ulmfit_lab.config.paths import override
from ulmfit_lab.data.corpus import open_corpus
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.inference.predict import (
    EmbeddingTable,
    embedding_tables,
    explain,
    generate,
    labels_of,
    load_classifier,
    load_language_model,
    nearest_words,
    predict,
    read_file,
    read_rows,
)
from ulmfit_lab.pipeline.labelled_data import test_order as order_of_tests
from ulmfit_lab.runs.compare import compare_runs
from ulmfit_lab.runs.lookup import find_named_run, find_stage
from ulmfit_lab.runs.reproduce import reproduce
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.runner import sweep
from ulmfit_lab.tracking.tracker import open_tracker
from ulmfit_lab.utils.errors import ConfigError, DataError, LabError, MismatchError
from ulmfit_lab.utils.home import open_home

WHOLE = {
    "target.max_length": 0,
    "classifier.bptt": 5,
    "classifier.backprop_windows": 2,
    "classifier.max_positions": 8,
}
"""Whole documents in windows of five words, gradients through the last two, the last eight positions pooled."""
TEXT = "A wonderful film, funny and moving; the best of the year."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, sentences: Any, write_csv: Callable[..., Path]) -> dict[str, str]:
    """Real sentences to train on, and others to test on."""
    folder = tmp_path_factory.mktemp("data")
    train, test = write_csv(folder / "train.csv", sentences[:240]), write_csv(folder / "test.csv", sentences[240:])
    return {"target.path": str(train), "target.test_path": str(test), "general.path": str(train)}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, data: dict[str, str]) -> Any:
    """A home, and the finished runs of an experiment in it by variant and seed."""
    experiment = Experiment(
        name="used",
        question="?",
        baseline="word2vec",
        variants={
            "word2vec": {"classifier.init": "word2vec"},
            "fine-tuned": {"classifier.epochs": 3},
            "backwards": {"lm.backwards": True},
            "both": {"classifier.both_directions": True},
            "two models": {"classifier.second_model": 10, "pretraining.seed": None, "fine_tuning.seed": None},
            "TF-IDF": {"classifier.model": "tf-idf"},
            "whole": WHOLE,
            "whole, both": {**WHOLE, "classifier.both_directions": True},
            "frozen": {"classifier.unfreeze": "last", "classifier.init": "pretrained"},
        },
        scales={"tiny": {**data, "target.name": "", "general.name": ""}},
        seeds=(0, 1),
    )
    home = open_home(str(tmp_path_factory.mktemp("home")))
    tracker = open_tracker(home)
    outcome = sweep(
        experiment, "tiny", home=home, data=None, tracker=tracker, display=ProgressDisplay(Console(file=io.StringIO()))
    )
    assert not outcome.failures
    runs = {(run.variant, run.seed): run for run in tracker.runs("used", "tiny", "FINISHED")}
    return home, tracker, runs


@pytest.fixture
def command(lab: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in the lab's home; returns status, stdout and stderr."""
    monkeypatch.setenv("ULMFIT_LAB_HOME", str(lab[0].root))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        return status, *capsys.readouterr()

    return run


def test_a_missing_text_keeps_its_row(lab: Any) -> None:
    home, _, runs = lab
    trained = load_classifier(runs["word2vec", 0], home)
    whole = predict(trained, [TEXT, TEXT])
    found = predict(trained, [TEXT, None, TEXT])  # type: ignore[list-item]
    assert found.shape == (3, 2) and np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], whole)
    with pytest.raises(DataError, match="text 2"):
        predict(trained, [TEXT, float("nan")])  # type: ignore[list-item]


def test_a_named_set_of_two_fields_wants_both(lab: Any) -> None:
    home, _, runs = lab
    trained = load_classifier(runs["word2vec", 0], home)
    (model, config), *_ = trained.members
    news = replace(trained, members=((model, override(config, {"target.path": "", "target.name": "ag-news"})),))
    assert news.columns.names == ("title", "description")
    with pytest.raises(DataError, match="title, description"):
        predict(news, [TEXT])
    header, rows = ["description", "title"], [["They fly.", "Comets"]]
    assert [document.text for document in read_rows(news, header, rows)] == ["Comets\x1fThey fly."]


@pytest.mark.parametrize("variant", ["word2vec", "fine-tuned", "backwards", "whole", "frozen"])
def test_texts_get_the_probabilities_that_they_got_in_training(lab: Any, sentences: Any, variant: str) -> None:
    home, _, runs = lab
    run = runs[variant, 0]
    stored = find_stage(run, "classifier", home)
    assert stored is not None
    tested = np.load(stored.folder / "test_predictions.npy")
    folders = [path.parent for path in home.stages.glob("tokens/*/corpus.json")]
    (corpus,) = [c for c in map(open_corpus, folders) if c.n_documents == 60]
    texts = [sentences[240 + int(number)][0] for number in order_of_tests(corpus)[: len(tested)]]
    np.testing.assert_allclose(predict(load_classifier(run, home), texts), tested, atol=1e-5)


@pytest.mark.parametrize(("variant", "backwards"), [("both", [False, True]), ("two models", [False, False])])
def test_two_classifiers_are_averaged(lab: Any, variant: str, backwards: list[bool]) -> None:
    home, _, runs = lab
    both = load_classifier(runs[variant, 0], home)
    assert [config.lm.backwards for _, config in both.members] == backwards
    alone = [predict(replace(both, members=(member,)), [TEXT, "bad"]) for member in both.members]
    np.testing.assert_allclose(predict(both, [TEXT, "bad"]), (alone[0] + alone[1]) / 2, atol=1e-6)
    assert not np.allclose(*alone)


@pytest.mark.parametrize("variant", ["fine-tuned", "backwards", "both", "whole", "whole, both", "frozen"])
def test_explanations_add_up_and_follow_the_text(lab: Any, variant: str) -> None:
    home, _, runs = lab
    trained = load_classifier(runs[variant, 0], home)
    found = explain(trained, TEXT)
    assert found.words[:4] == ("xxbos", "a", "wonderful", "film") and len(found.values) == len(found.words)
    (scores,) = predict(trained, [TEXT])
    assert found.label == trained.classes[int(scores.argmax())]
    assert found.probability == pytest.approx(float(scores.max()), abs=1e-5)
    assert float(found.values.sum()) == pytest.approx(found.probability - found.baseline, abs=2e-3)


@pytest.mark.parametrize("text", ["", "  \n", "<br />", "&nbsp;"])
def test_of_a_text_without_words_nothing_is_guessed(lab: Any, text: str) -> None:
    home, _, runs = lab
    trained = load_classifier(runs["word2vec", 0], home)
    found = predict(trained, [TEXT, text, "bad"])
    assert np.isnan(found[1]).all() and labels_of(trained, found)[1] is None
    np.testing.assert_allclose(found[[0, 2]], predict(trained, [TEXT, "bad"]), atol=1e-6)
    with pytest.raises(DataError, match="no words besides markup"):
        explain(trained, text)


def test_what_is_no_text_is_named(lab: Any) -> None:
    home, _, runs = lab
    with pytest.raises(DataError, match="text 2"):
        predict(load_classifier(runs["word2vec", 0], home), [TEXT, "\ud800"])


def test_generated_text_is_that_of_the_seed_and_holds_no_unknown_word(lab: Any) -> None:
    home, _, runs = lab
    for variant in ("fine-tuned", "backwards"):
        trained = load_language_model(runs[variant, 0], home)
        texts = {seed: generate(trained, "The film", tokens=30, temperature=2.0, seed=seed) for seed in range(4)}
        assert texts[0] == generate(trained, "The film", tokens=30, temperature=2.0, seed=0)
        assert len(set(texts.values())) > 1
        words = " ".join(texts.values()).split(" ")
        assert not {"xxunk", "xxpad", "xxbos"} & set(words) and set(words) <= set(trained.vocabulary.words)
        assert all(len(text.split(" ")) <= 30 for text in texts.values())
        cold = [generate(trained, "The film", tokens=5, temperature=t, seed=s) for t, s in ((0, 0), (0, 1), (1e-6, 2))]
        assert len(set(cold)) == 1, "without temperature the likeliest word is taken"
    for options in ({"tokens": 0}, {"temperature": -1.0}, {"temperature": np.nan}, {"temperature": np.inf}):
        with pytest.raises(ConfigError):
            generate(trained, "The film", **options)


def test_the_nearest_words_are_those_of_the_largest_cosine() -> None:
    rows = np.array([[9, 9], [0, 0], [1, 0], [3, 0.3], [0, 2], [-1, 0]], np.float32)
    space = EmbeddingTable("two", ("xxunk", "xxpad", "good", "great", "film", "bad"), rows)
    found = nearest_words(space, "GOOD", 2)
    assert [word for word, _ in found] == ["great", "film"]
    assert found[0][1] == pytest.approx(1 / np.sqrt(1.01), abs=1e-6) and found[1][1] == 0
    assert nearest_words(space, "awful", 2) == []


def test_a_run_has_the_spaces_that_it_learnt(lab: Any) -> None:
    home, _, runs = lab
    assert [space.name for space in embedding_tables(runs["word2vec", 0], home)] == ["word vectors", "classifier"]
    assert [space.name for space in embedding_tables(runs["fine-tuned", 0], home)] == ["classifier"]
    with pytest.raises(LabError, match="has neither word vectors nor an LSTM"):
        embedding_tables(runs["TF-IDF", 0], home)


def test_runs_are_named_by_id_or_by_place(lab: Any, tmp_path: Path) -> None:
    _, tracker, runs = lab
    wanted = runs["fine-tuned", 1]
    for name in (wanted.run_id[:12], "used/fine-tuned/1"):
        assert find_named_run(name, tracker, tmp_path) == wanted
    for name in ("used/fine-tuned/7", "used/nothing/1", "unused/fine-tuned/1", "used/1", "used/fine-tuned/one"):
        with pytest.raises(LabError, match=name):
            find_named_run(name, tracker, tmp_path)


def test_what_keeps_no_model_is_told(lab: Any) -> None:
    home, _, runs = lab
    with pytest.raises(LabError, match="stores no classifier"):
        load_classifier(runs["TF-IDF", 0], home)
    with pytest.raises(LabError, match="has no language model"):
        load_language_model(runs["word2vec", 0], home)


def test_a_stage_that_has_gone_is_made_again_and_kept(lab: Any) -> None:
    home, tracker, runs = lab
    run = runs["fine-tuned", 1]
    stored = find_stage(run, "classifier", home)
    assert stored is not None
    before = predict(load_classifier(run, home), [TEXT])
    shutil.rmtree(stored.folder)
    with pytest.raises(MismatchError, match=f"ulmfit-lab reproduce {run.run_id} --keep-stages"):
        load_classifier(run, home)
    found = reproduce(run, home, None, tracker, ProgressDisplay(Console(file=io.StringIO())), keep_stages=True)
    assert found.reproduced
    np.testing.assert_array_equal(predict(load_classifier(run, home), [TEXT]), before)


def test_runs_are_compared_over_the_seeds_that_their_variants_share(lab: Any) -> None:
    _, tracker, runs = lab
    found = compare_runs([runs["word2vec", 0], runs["fine-tuned", 1]], tracker)
    assert found.fields["classifier.init"] == ("word2vec", "fine-tuned")
    assert found.fields["classifier.epochs"] == ("2", "3") and found.fields["seed"] == ("0", "1")
    assert "lm.emb_size" not in found.fields
    assert found.metrics["final/error"] == tuple(
        runs[name].metrics["final/error"] for name in (("word2vec", 0), ("fine-tuned", 1))
    )
    assert found.metrics["final/lm_perplexity"][0] is None
    (row,) = found.rows
    assert (row.variant, row.against, row.verdict, row.result.n) == ("fine-tuned", "word2vec", "not replicated", 1)
    assert (row.why, row.pairs) == ("1 word-vector table", 2), "as in a report"
    (row,) = compare_runs([runs["whole", 0], runs["fine-tuned", 0]], tracker).rows
    errors = [[100 * runs[v, s].metrics["final/error"] for s in (0, 1)] for v in ("fine-tuned", "whole")]
    assert row.result == compare_paired(*errors)
    assert (row.verdict, row.result.n, row.why) == ("too few seeds", 2, ""), "both sides have the language model"
    assert not compare_runs([runs["word2vec", 0], runs["word2vec", 1]], tracker).rows
    with pytest.raises(LabError, match="needs two different runs"):
        compare_runs([runs["word2vec", 0]] * 2, tracker)


def test_predict_prints_a_table_or_lines_and_writes_a_page(
    command: Any, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = str(tmp_path / "page.html")
    status, out, _ = command("predict", "--run", "used/fine-tuned/0", TEXT, "--explain", "--html", page)
    assert status == 0 and "label" in out and "wonderful film" in out and "sum of attributions" in out
    assert "wonderful</span>" in Path(page).read_text(encoding="utf-8")
    (tmp_path / "texts.csv").write_text(f'text,other\n"{TEXT}",1\nbad,2\n')
    status, out, _ = command("predict", "--run", "used/both/0", "--file", str(tmp_path / "texts.csv"), "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [line["text"] for line in lines] == [TEXT, "bad"]
    for line in lines:
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert line["label"] == max(line["probabilities"], key=line["probabilities"].get)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TEXT}\n\nbad\n"))
    status, out, _ = command("predict", "--run", "used/both/0", "--json", "--explain")
    first, empty, last = [json.loads(line) for line in out.splitlines()]
    assert [first["probabilities"], last["probabilities"]] == [line["probabilities"] for line in lines]
    assert [word for word, _ in last["attributions"]] == ["xxbos", "bad"]
    assert empty == {"text": "", "label": None, "probabilities": None, "note": "nothing to read"}


FILES = {
    "a.csv": 'text,other\n"{0}",1\n"",2\n\n<br />,3\nbad,4\n',
    "a.tsv": "other\ttext\n1\t{0}\n2\t\n\n3\t&nbsp;\n4\tbad\n",
    "a.jsonl": '{{"text": "{0}"}}\n{{"text": ""}}\n\n{{"text": "<br><br/>"}}\n{{"text": "bad"}}\n',
    "a.txt": "{0}\n  \n\n<br />\nbad\n",
}


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_file_is_answered_in_its_place(command: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name].format(TEXT))
    ask = ("predict", "--run", "used/fine-tuned/0", "--file", str(tmp_path / name))
    status, out, _ = command(*ask, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [line["label"] is None for line in lines] == [False, True, True, True, False]
    assert (lines[0]["text"], lines[4]["text"]) == (TEXT, "bad")
    status, out, _ = command(*ask, "--explain", "--html", str(tmp_path / "page.html"))
    assert status == 0 and (tmp_path / "page.html").read_text().count("<h2>") == 5
    assert out.count("nothing to read") == 6, "in the table and among the explanations"


def test_the_columns_of_a_run_are_asked_for_by_name(command: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("review,label\nbad,[]\n")
    ask = ("predict", "--run", "used/fine-tuned/0", "--file", str(tmp_path / "a.csv"), "--json")
    status, _, err = command(*ask)
    assert status == 2 and "no column 'text'; found review, label" in err and len(err.splitlines()) == 1
    status, out, _ = command(*ask, "--text-column", "review")
    assert status == 0 and json.loads(out)["text"] == "bad"
    status, _, err = command(*ask, "--text-column", "review,label")
    assert status == 2 and "the column(s) text" in err and len(err.splitlines()) == 1


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, new_lab: Callable[[str], Any], sentences: Any) -> Any:
    """A lab, and finished runs on two columns of text, on one, and on one with markup; and their test file."""
    lab, folder = new_lab("columns"), tmp_path_factory.mktemp("columns")
    table = [
        {"title": text[:12], "label": label, "body": text, "marked": f"<br />{text} &amp; so on&nbsp;<br />\nNEVER"}
        for text, label in sentences
    ]
    train, test = folder / "train.csv", folder / "test.csv"
    pd.DataFrame(table[:200]).to_csv(train, index=False)
    pd.DataFrame(table[200:260]).to_csv(test, index=False)
    paths = {"target.path": str(train), "target.test_path": str(test), "target.name": "", "general.name": ""}
    experiment = Experiment(
        name="columns",
        question="?",
        baseline="one",
        variants={
            "two": {"target.text_column": "title, body"},
            "one": {"target.text_column": "body"},
            "marked": {"target.text_column": "marked"},
        },
        scales={
            "tiny": {**paths, "general.path": str(train), "general.text_column": "body", "classifier.init": "random"}
        },
        seeds=(0,),
    )
    assert not lab.sweep(experiment).failures
    return lab, {run.variant: run for run in lab.tracker.runs("columns", "tiny", "FINISHED")}, test


@pytest.mark.parametrize("variant", ["two", "one", "marked"])
def test_prediction_reads_the_test_rows_as_training_did(
    several: Any, variant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, runs, test = several
    run = runs[variant]
    stored = find_stage(run, "classifier", lab.home)
    assert stored is not None
    tested = np.load(stored.folder / "test_predictions.npy")
    asked = ["predict", "--run", run.run_id, "--file", str(test), "--json", "--home", str(lab.home.root)]
    assert main(asked) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = np.array([list(line["probabilities"].values()) for line in lines])
    order = np.random.default_rng(0).permutation(60)[: len(tested)]
    np.testing.assert_allclose(found[order], tested, atol=1e-6)
    accuracy = np.mean(found[order].argmax(1) == pd.read_csv(test)["label"].map({"neg": 0, "pos": 1})[order])
    assert accuracy == pytest.approx(run.metrics["final/accuracy"])


def test_a_run_of_two_columns_marks_them_and_refuses_one(several: Any) -> None:
    lab, runs, test = several
    trained = load_classifier(runs["two"], lab.home)
    (document, *_) = read_file(trained, str(test))
    assert explain(trained, document).words[:3] == ("xxbos", "xxfld", "1")
    frame = pd.read_csv(test)
    rows = frame[["label", "body", "title"]].itertuples(index=False, name=None)
    swapped = predict(trained, read_rows(trained, ["label", "body", "title"], rows))
    np.testing.assert_array_equal(swapped, predict(trained, read_file(trained, str(test))))
    with pytest.raises(DataError, match="title, body"):
        predict(trained, ["one text"])
    (lines := test.parent / "lines.txt").write_text("one text\n")
    for options in ((str(lines),), (str(test), "body")):
        with pytest.raises(DataError, match="title, body"):
            read_file(trained, *options)


def test_generate_neighbours_and_compare_print_what_they_found(command: Any, lab: Any) -> None:
    status, out, _ = command("generate", "--run", "used/fine-tuned/0", "--prompt", "The", "--tokens", "8")
    assert status == 0 and 1 <= len(out.split()) <= 8
    where = ("--run", "used/word2vec/0", "--run", "used/fine-tuned/0")
    status, out, _ = command("neighbours", "film", "qwxyv", *where, "--count", "3")
    assert status == 0 and "film: word vectors of word2vec" in out and "classifier of fine-tuned" in out
    assert out.count("unknown") == 3
    status, out, _ = command("compare", "used/word2vec/0", "used/fine-tuned/0")
    assert status == 0 and "classifier.init" in out and "final/error" in out and "1 word-vector" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("predict", "--run", "used/nothing/0", "text"), "No finished run"),
        (("predict", "--run", "used/TF-IDF/0", "text"), "stores no classifier"),
        (("predict", "--run", "used/both/0", "text", "--file", "x.csv"), "exclude each other"),
        (("predict", "--run", "used/both/0", "--file", "absent.csv"), "absent.csv"),
        (("predict", "--run", "used/both/0", "text", "--html", "/no/such/folder/x.html"), "cannot be written"),
        (("export-fastai", "--run", "used/word2vec/0", "--to", "x.pth"), "has no language model"),
        (("export-fastai", "--run", "used/fine-tuned/0", "--to", "/no/such/x.pth"), "cannot be written"),
        (("compare", "used/both/0"), "needs two different runs"),
        (("neighbours", "film", "--run", "used/word2vec/0", "--count", "0"), "--count 0 must be at least 1"),
        (("import-fastai", "--weights", "a.pth", "--vocab", "b.pkl", "--name", "x"), "b.pkl"),
    ],
)
def test_a_mistake_is_one_line(command: Any, arguments: tuple[str, ...], says: str) -> None:
    status, out, err = command(*arguments)
    assert status == 2 and err.startswith("error: ") and len(err.splitlines()) == 1
    assert says in err and "Traceback" not in out + err
