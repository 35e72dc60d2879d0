"""The command line: what it prints, how it exits, and one clear line for every mistake."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.cli import main
from ulmfit_lab.cli.commands import parser
from ulmfit_lab.tracking.server import LOOPBACK

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in an empty folder; returns status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ULMFIT_LAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def command(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(arguments)
        except SystemExit as exit:  # argparse and tyro leave this way
            status = int(exit.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return command


def test_the_server_listens_on_loopback_unless_told_otherwise() -> None:
    assert parser().parse_args(["ui"]).host in LOOPBACK
    assert parser().parse_args(["ui", "--host", "0.0.0.0"]).host == "0.0.0.0"


@pytest.fixture
def csv(tmp_path: Path, sentences: Any, write_csv: Callable[..., Path]) -> str:
    """A user's own file."""
    return str(write_csv(tmp_path / "reviews.csv", sentences))


OWN = ("sweep", "word2vec_vs_lm", "--scale", "tiny", "--seeds", "1", "--levels", "30")


def test_list_names_every_experiment_with_its_question(run: Run) -> None:
    status, out, _ = run("list")
    assert status == 0
    assert "word2vec_vs_lm" in out and "?" in out


def test_list_imports_no_library_that_it_has_no_use_for(tmp_path: Path) -> None:
    """Each of them takes longer to import than all declarations to check."""
    code = "import sys; from ulmfit_lab.cli.commands import main; main(['list']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    slow = {"matplotlib", "mlflow", "numpy", "optuna", "pandas", "scipy", "statsmodels", "torch"}
    assert not slow & set(done.stderr.split())


def test_own_data_in_one_line_runs_every_variant_and_reports(run: Run, csv: str, tmp_path: Path) -> None:
    status, out, _ = run(*OWN, "--target.path", csv, "--general.path", csv, "--lm.drop-mult", "0.5")
    assert status == 0
    assert "8 runs finished" in out and "too few seeds" in out
    status, out, _ = run("runs", "word2vec_vs_lm", "--scale", "tiny", "--format", "json")
    runs = json.loads(out)
    assert len(runs) == 8
    status, out, _ = run("runs", "word2vec_vs_lm", "--scale", "tiny", "--export", str(tmp_path / "runs.jsonl.gz"))
    assert status == 0 and "8 finished runs" in out
    again = ("runs", *OWN[1:], "--target.path", csv, "--general.path", csv, "--lm.drop-mult", "0.5", "--import")
    status, out, _ = run(*again, str(tmp_path / "runs.jsonl.gz"))
    assert status == 0 and "0 runs imported; 8 were already present." in out
    assert "8 runs in runs.jsonl.gz match the current declaration, 0 do not." in out
    fast = next(r["run_id"] for r in runs if r["variant"] == "TF-IDF")
    status, out, _ = run("reproduce", fast, "--reuse-stages")
    assert status == 0 and "Reproduced: all" in out
    status, _, err = run(*again, csv.replace("reviews.csv", "nothing.jsonl"))
    assert status == 2 and "nothing.jsonl: no such file" in err
    assert {r["status"] for r in runs} == {"FINISHED"}
    assert {r["params"]["lm.drop_mult"] for r in runs} == {"0.5"}
    assert len(list((tmp_path / "results" / "custom").glob("*/figure.png"))) == 1


def test_a_language_that_needs_a_package_is_told_before_anything_runs(run: Run, csv: str) -> None:
    if importlib.util.find_spec("pythainlp"):
        pytest.skip("Thai's package is installed")
    for command in ("plan", "sweep"):
        status, out, err = run(command, *OWN[1:], "--target.path", csv, "--general.path", csv, "--language", "th")
        assert status == 2 and not out and "pip install pythainlp" in err and "FAILED" not in err


def test_failures_of_one_reason_are_told_once(run: Run, csv: str) -> None:
    other = Path(csv).with_name("other.csv")
    other.write_text(Path(csv).read_text(encoding="utf-8") + "one more,0\n", encoding="utf-8")
    few = ("--unlabelled.path", str(other), "--unlabelled.max-tokens", "1")
    status, _, err = run(*OWN, "--target.path", csv, "--general.path", csv, *few)
    (told,) = [line for line in err.splitlines() if line.startswith("FAILED random @ 30, seed 0; word2vec")]
    assert status == 1 and "more than max_tokens = 1; raise it, for example with --unlabelled.max-tokens" in told
    assert "7 runs failed" in err


def test_plan_says_what_it_will_do_and_trains_nothing(run: Run, csv: str, tmp_path: Path) -> None:
    status, out, _ = run("plan", *OWN[1:], "--target.path", csv, "--general.path", csv)
    assert status == 0
    assert "8 runs, 0 of them finished" in out and "Predicted time" in out
    assert not list((tmp_path / "home").glob("stages/*/*/stage.json"))


def test_a_report_without_runs_says_how_to_make_them(run: Run, csv: str) -> None:
    status, _, err = run("report", *OWN[1:], "--target.path", csv, "--general.path", csv)
    assert status == 2
    assert "ulmfit-lab sweep word2vec_vs_lm --scale tiny" in err


def rows(labels: str, n: int = 60) -> list[tuple[str, str]]:
    """Sentences whose labels go round these letters."""
    return [(f"this film number {i} is good , or so they say", labels[i % len(labels)]) for i in range(n)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sweep", "word2vec_vs_ml"), "Did you mean 'word2vec_vs_lm'"),
        (("sweep", "word2vec_vs_lm", "--scale", "smal"), "Did you mean 'small'"),
        ((*OWN, "--target.path", "no_such.csv"), "no_such.csv"),
        ((*OWN, "--lm.dropmult", "0.5"), "lm.drop-mult"),
        ((*OWN, "--lm.drop-mult", "-1"), "lm.drop_mult = -1"),
        (("list", "--nonsense"), "--nonsense"),
        (("sweep", "word2vec_vs_lm", "--levels", "many"), "whole numbers, the type of target.n_labels"),
        (("sweep", "word2vec_vs_lm", "--levels", "0.5"), "whole numbers, the type of target.n_labels"),
        (("sweep", "word2vec_vs_lm", "--levels", "-5"), "target.n_labels = -5"),
        (("plan", "word2vec_vs_lm", "--seeds", "1000000000"), "at most 1000"),
        ((*OWN, "--target.path", "x" * 5000), "cannot be opened"),
        (("report", "--seeds", "1"), "need an EXPERIMENT"),
        (("reproduce", "not hex"), "is not a run id"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(run: Run, arguments: tuple[str, ...], says: str) -> None:
    status, out, err = run(*arguments)
    assert status == 2
    assert says in " ".join((out + err).split())
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (rows("ab"), ("--target.text-column", "txt"), "txt"),
        (rows("a", 120), (), "two classes are needed"),
        ([*rows("ab"), ("", "a")], (), "reviews.csv"),
        (rows("ab", 20), (), "20 labelled texts leave 0 for training"),
    ],
)
def test_bad_data_is_told_in_one_line_and_leaves_no_stage_or_finished_run(
    run: Run, tmp_path: Path, write_csv: Callable[..., Path], content: Any, options: tuple[str, ...], says: str
) -> None:
    path = str(write_csv(tmp_path / "reviews.csv", content))
    status, out, err = run(*OWN, "--target.path", path, "--general.path", path, *options)
    assert status != 0
    assert says in err
    assert "Traceback" not in out + err
    assert not list((tmp_path / "home").glob("stages/*/*/stage.json")), "told before anything runs"


def test_undecodable_bytes_name_file_and_row(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_bytes(b"text,label\ngood film,a\n" + b"b\xe4d film,b\n" * 70)
    status, _, err = run(*OWN, "--target.path", str(path), "--general.path", str(path))
    assert status != 0
    assert "reviews.csv" in err and "row 2" in err.replace("line 3", "row 2")


def test_a_test_label_that_training_never_saw_is_named(
    run: Run, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    train = str(write_csv(tmp_path / "train.csv", rows("ab", 120)))
    test = str(write_csv(tmp_path / "test.csv", rows("abz", 30)))
    status, _, err = run(*OWN, "--target.path", train, "--target.test-path", test, "--general.path", train)
    assert status != 0
    assert "'z'" in err


def test_plan_says_in_what_each_variant_differs_from_the_baseline(run: Run, csv: str) -> None:
    status, out, _ = run("plan", *OWN[1:], "--target.path", csv, "--general.path", csv, "--classifier.epochs", "1")
    assert status == 0
    assert "  word2vec: the baseline\n" in out
    assert "  random: classifier.init 'word2vec' -> 'random'\n" in out
    assert "classifier.epochs" not in out  # replaced for all variants alike
