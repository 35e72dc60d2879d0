"""What is measured on a device: its text, rows of sides that fail, a training that goes on, and packages it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import on_device, wikitext_run
from benchmarks import run as running
from benchmarks import sides as processes
from benchmarks.our_side import TASKS
from benchmarks.rows import Row, cells, tables
from benchmarks.setting import QUICK, Bench
from benchmarks.sides import TESTS, Side, answers_or_errors, started
from ulmfit_lab.cli import main
from ulmfit_lab.utils.errors import LabError

READY = 'read task; echo "{}"; '
LINES = "= A Title =\n\nthe cat the\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(replace(QUICK, threads=1), None, None, tmp_path, tmp_path / "home")


def test_wikitext_is_split_at_blanks_with_a_mark_for_each_line(tmp_path: Path) -> None:
    for part in on_device.PARTS:
        (tmp_path / f"wiki.{part}.tokens").write_text(LINES if part == "train" else "the dog\n")
    words = list(on_device.words_of(tmp_path / "wiki.train.tokens"))
    assert words == ["=", "A", "Title", "=", "<eos>", "<eos>", "the", "cat", "the", "<eos>"]
    found = on_device.wikitext(tmp_path)
    # the commonest word, the end of a line, comes first behind the two reserved ids; a dog was never seen
    assert found["train"].tolist() == [3, 5, 6, 3, 2, 2, 4, 7, 4, 2]
    assert found["valid"].tolist() == [4, 0, 2]


def test_the_published_perplexity_is_of_as_many_words_and_tokens(data_dir: Path) -> None:
    """Merity et al. 2017, table 1: 33,278 words; 2,088,628, 217,646 and 245,569 tokens."""
    found = on_device.wikitext(data_dir / "wikitext-2")
    assert [len(found[part]) for part in on_device.PARTS] == [2_088_628, 217_646, 245_569]
    assert len(np.unique(found["train"])) == 33_278 and max(ids.max() for ids in found.values()) == 33_279
    assert running.Sizes().paper.words == 33_280
    assert not any((ids < on_device.RESERVED).any() for ids in found.values())


def test_a_text_that_is_made_up_is_like_words(bench: Bench) -> None:
    counts = Counter(on_device.made_up(300)["train"].tolist())
    assert min(counts) == on_device.RESERVED and max(counts) == 299
    assert counts[2] / counts[11] == pytest.approx(10, rel=0.1)


def test_documents_are_as_long_as_reviews(bench: Bench) -> None:
    with np.load(on_device.documents(replace(bench, sizes=running.Sizes()), 300, 2000)) as file:
        lengths = np.diff(file["ends"], prepend=0)
    assert 190 < np.median(lengths) < 210 and lengths.min() >= 10 and lengths.max() == 400


def test_sides_that_fail_say_why_and_the_others_go_on(tmp_path: Path) -> None:
    commands = {
        "never ready": "echo broken >&2; exit 1",
        "once": READY + "read go; echo '{\"n\": 1}'; read go; echo tired >&2; exit 2",
        "always": READY + "while read go; do echo '{\"n\": 2}'; done",
    }
    wanted: Any = {name: (["bash", "-c", command], {}) for name, command in commands.items()}
    found, errors = answers_or_errors(wanted, 2, tmp_path)
    assert found == {"always": [{"n": 2}, {"n": 2}]}
    assert errors.keys() == {"never ready", "once"}
    assert errors["never ready"].endswith("status 1: broken") and errors["once"].endswith("status 2: tired")


def test_a_side_that_does_not_end_is_ended_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.1)
    side = Side(["bash", "-c", f"trap '' TERM; {READY} exec sleep 1000"], {}, tmp_path / "log")
    side.hear()
    side.close()
    assert side.process.returncode == -9


def test_an_interrupt_leaves_no_process(tmp_path: Path) -> None:
    wanted: Any = {str(n): (["bash", "-c", "exec sleep 1000"], {}) for n in range(3)}
    with pytest.raises(KeyboardInterrupt), started(wanted, tmp_path) as sides:
        raise KeyboardInterrupt
    assert [side.process.poll() for side in sides.values()] == [-15, -15, -15]


def test_rows_tell_what_failed_and_show_what_did_not() -> None:
    ours, theirs = (
        {"units": 30, "seconds": 2.0, "peak_bytes": 2**21},
        {"units": 20, "seconds": 2.0, "peak_bytes": 2**20},
    )
    found: Any = {"tf32": [ours], "float32": [ours], "fastai float32": [theirs]}
    errors = {"bfloat16": "no such type", "fastai tf32": "out of memory"}
    low, middle, high = on_device.beside("Training", "tokens/s", found, errors)
    assert cells(low.as_json())[3] == "not measured: no such type"
    assert middle.ours == 15.0 and middle.note == "fastai: out of memory"
    assert cells(middle.as_json())[1] == "15" and cells(middle.as_json())[3] == "nothing beside it"
    assert high.value == 1.5 and high.against == "fastai in float32"
    assert [(row.ours, row.value) for row in on_device.memory("Memory", found, errors)] == [(2.0, 2.0), (2.0, 2.0)]


@pytest.mark.parametrize("part", ["lstm_layer", "output_layer"])
def test_parts_are_measured_in_all_their_ways(bench: Bench, part: str) -> None:
    facts: dict[str, Any] = {"part": part, "precisions": ["float32"], "batch_size": 4, "blocks": (16, 64)}
    ways = TASKS["part"](bench.spec("part", bench.sizes.paper, **facts))()["ways"]["float32"]
    assert all(way["ms"] > 0 for way in ways.values())
    if part == "lstm_layer":
        assert ways.keys() == {"ours", "ours without weight dropout", "nn.LSTM"}
        assert all(way["output"] == "float32" for way in ways.values())
    else:
        assert list(ways) == ["16 rows at once", "64 rows at once", "256 rows at once, as by default"]


def test_a_training_goes_on_where_it_was_interrupted(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wikitext_run, "RESUMED_MINUTES", 0.0)
    text = on_device.text(bench, bench.sizes.paper.words)
    whole = wikitext_run.train(replace(bench, kept=tmp_path / "whole"), text, known=False)
    assert [epoch["epoch"] for epoch in whole["history"]] == [1, 2]
    assert whole["history"][1]["perplexity"] < whole["history"][0]["perplexity"] < bench.sizes.paper.words
    assert "epoch 2/2: perplexity" in capsys.readouterr().err

    def interrupt(line: str) -> None:
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    halved = replace(bench, kept=tmp_path / "halved")
    monkeypatch.setattr(wikitext_run, "tell", interrupt)
    with pytest.raises(KeyboardInterrupt):
        wikitext_run.train(halved, text, known=False)
    assert len(json.loads((tmp_path / "halved" / "wikitext2.json").read_text())["history"]) == 1
    monkeypatch.setattr(wikitext_run, "tell", lambda line: None)
    resumed = wikitext_run.train(halved, text, known=False)
    assert resumed == json.loads((tmp_path / "halved" / "wikitext2.json").read_text())
    same = ("loss", "perplexity", "accuracy")
    assert [[e[n] for n in same] for e in resumed["history"]] == [[e[n] for n in same] for e in whole["history"]]
    assert resumed["test_perplexity"] == whole["test_perplexity"]
    assert not list((tmp_path / "home").rglob("*.pt"))


def test_the_perplexity_stands_beside_the_published_one(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    valid, test = on_device.awd_lstm_wikitext2(bench)
    assert (valid.other, test.other) == (68.6, 65.8) and valid.ours and valid.value == valid.ours / 68.6
    assert valid.name.startswith("AWD-LSTM on a made-up text after 2 epochs")


def measure(tmp_path: Path, *wanted: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    told: list[str] = []
    facts: Any = {"quick": True, "fastai": None, "data": None, "home": tmp_path, "results": tmp_path / "results"}
    return running.run(wanted, **facts, tell=told.append, device="cpu", **options), told


def test_what_was_measured_is_kept_and_what_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def subject(bench: Bench) -> list[Row]:
        calls.append(bench.device)
        return [Row("A row", value=2.0)]

    def failing(bench: Bench) -> list[Row]:
        raise LabError("no memory left")

    monkeypatch.setattr(on_device, "training_paper", subject)
    monkeypatch.setattr(on_device, "lstm_layer", failing)
    found, told = measure(tmp_path, "lstm_layer", "training_paper")
    assert list(found["subjects"]) == ["training_paper"] and "lstm_layer failed: no memory left" in told
    assert any("| A row |" in text for text in told)
    assert json.loads((tmp_path / "results" / "benchmarks.json").read_text())["subjects"] == found["subjects"]
    again, told = measure(tmp_path, "training_paper")
    assert again["subjects"] == found["subjects"] and calls == ["cpu"] and "measured before" in told[0]
    measure(tmp_path, "training_paper", again=True)
    assert calls == ["cpu", "cpu"]
    _, told = measure(tmp_path, "training_paper", again=True, budget=1.0)
    assert calls == ["cpu", "cpu"] and "left out" in told[0]


def test_the_committed_table_is_what_was_measured_on_a_card() -> None:
    folder = Path(__file__).resolve().parents[2] / "results" / "benchmarks" / "gpu"
    known = running.read(folder)
    assert (folder / "table.md").read_text() == tables(known)
    assert all(subject["facts"]["GPU"] for subject in known["subjects"].values())
    run = json.loads((folder / "wikitext2.json").read_text())
    rows = known["subjects"]["awd_lstm_wikitext2"]["rows"]
    assert [row["ours"] for row in rows] == [run["history"][-1]["perplexity"], run["test_perplexity"]]


def test_the_command_measures_on_a_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "--device", "cpu", "--quick", "--only", "output_layer", "--results", str(tmp_path / "results")]
    assert main([*command, "--home", str(tmp_path / "home")]) == 0
    rows = json.loads((tmp_path / "results" / "benchmarks.json").read_text())["subjects"]["output_layer"]["rows"]
    values = [row["value"] for row in rows if ", float32, " in row["name"]]
    assert len(values) == 6 and min(values) > 0
    assert "The output layer over 300 words forward and back, float32, 16 rows at once" in capsys.readouterr().err
    assert main(["bench", "--device", "cpu", "--only", "training", "--home", str(tmp_path / "home")]) == 2
    assert "There is no benchmark 'training'" in capsys.readouterr().err


def test_nothing_but_torch_and_numpy_is_asked_for() -> None:
    """A machine with a GPU may have neither a registry nor these; each costs seconds to import besides."""
    own = ("run", "on_device", "our_side", "device_side", "wikitext_run")
    absent = ("mlflow", "optuna", "spacy", "gensim", "tyro", "shtab", "ray", "statsmodels")
    names = ", ".join(["ulmfit_lab.cli", *(f"benchmarks.{name}" for name in own)])
    code = [
        f"import sys; sys.path.append({str(TESTS)!r})",
        f"import {names}",
        f"print([name for name in {absent} if name in sys.modules])",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
