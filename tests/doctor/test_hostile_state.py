"""Whatever bytes the lab's own files hold, and whatever a config is given: a result, or one line."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import reads_or_refuses

from ulmfit_lab.analysis.run_table import read_runs
from ulmfit_lab.config.paths import fingerprint, flatten, override
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.data.corpus import write_corpus
from ulmfit_lab.data.formats import Document
from ulmfit_lab.experiment.plan import Throughput
from ulmfit_lab.pipeline.labelled_data import MOST_CLASSES, load_labelled_data
from ulmfit_lab.pipeline.store import Observer, Stage, StageContext, StageResult, StageStore
from ulmfit_lab.runs.transfer import read_export
from ulmfit_lab.training.progress import Point
from ulmfit_lab.utils.errors import ConfigError, DataError

# a run has torch set denormal numbers to zero, for the whole process; hypothesis would refuse to draw any
FLOATS = st.floats(allow_subnormal=False)
RUN = {
    "run_id": "a1", "status": "FINISHED", "name": "n", "experiment": "e", "scale": "tiny", "variant": "v", "level": "",
    "seed": 0, "cell": "c1", "declaration": "d1", "params": {"lm.lr": "1"}, "metrics": {"final/error": 0.5}, "tags": {},
    "inputs": [["a", "b", "c", "d"]], "start": 1, "end": 2, "histories": {"a/loss": [[1, 0.5, 3], [2, "nan", 4]]},
}  # fmt: skip
HEAD = {"format": "ulmfit-lab runs", "version": 1, "experiment": "e", "scale": "tiny", "runs": 1}
EXPORT = f"{json.dumps(HEAD)}\n{json.dumps(RUN)}\n".encode()
TABLE = (
    b"run_id,status,experiment,scale,variant,level,seed,commit,dirty,cell,computed_seconds,reused_seconds,final/error\n"
    b"a1,FINISHED,e,tiny,v,,0,abc,false,c1,1.5,0,0.25\n"
)
PAINTS = [
    b"\0",
    b"\xff",
    b"\n",
    b'"',
    b"{",
    b"[" * 3000,
    b"1e999",
    b"9" * 30,
    b"-1",
    b"NaN",
    b"Infinity",
    b"null",
    b",",
]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Any bytes, a part of the file, or the file with some bytes replaced by others."""
    kind = draw(st.sampled_from(["any", "cut", "painted", "painted"]))
    if kind == "any":
        return draw(st.binary(max_size=100))
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 3))] = draw(st.sampled_from(PAINTS) | st.binary(max_size=2))
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "whole", "read"),
    [
        ("runs.jsonl", EXPORT, read_export),
        ("runs.jsonl.gz", gzip.compress(EXPORT, mtime=0), read_export),
        ("runs.csv", TABLE, read_runs),
    ],
)
def test_any_bytes_are_runs_or_one_line(name: str, whole: bytes, read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(whole)
    assert len(read(path)) == 1

    @settings(max_examples=200)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reads_or_refuses(lambda: read(path), path)

    check()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(RUN)), json_values, min_size=1, max_size=2))
def test_any_values_in_an_exported_run_are_a_run_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.jsonl"
    path.write_text(f"{json.dumps(HEAD)}\n{json.dumps({**RUN, **changes})}\n")
    reads_or_refuses(lambda: read_export(path), path)


def test_an_export_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulmfit_lab.utils.files.INFLATED", 2**12)
    path = tmp_path / "runs.jsonl.gz"
    path.write_bytes(gzip.compress(EXPORT + b" " * 10**6, mtime=0))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_export(path)


def stage() -> Stage:
    def compute(work: StageContext) -> dict[str, Any]:
        (work.folder / "file.txt").write_text("content")
        work.record(Point(1, 0.5, {"loss": 2.0}))
        work.record(Point(2, 1.0, {"loss": math.inf}))
        return {"value": 1}

    return Stage("classifier", {"seed": 0}, {}, compute, lambda: 10.0)


@pytest.mark.parametrize("name", ["points.jsonl", "stage.json"])
def test_any_bytes_in_a_stage_are_read_told_or_make_it_absent(name: str, tmp_path: Path) -> None:
    store = StageStore(tmp_path / "stages")
    stored = store.get_or_compute(stage(), Observer())
    path = stored.folder / name
    whole = path.read_bytes()
    assert len(stored.points()) == 2

    def use() -> None:
        Throughput(store)
        found = store.find(stage())
        if found:
            assert f"{found.kind}{found.fingerprint}" and found.seconds is not None and found.summary is not None
        StageResult(stored.folder, {}, reused=True).points()

    @settings(max_examples=200)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reads_or_refuses(use, path)

    check()


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": "b"}', b"[" * 100_000, b"\xff"])
def test_torn_rates_are_timed_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rates.json").write_bytes(content)
    assert Throughput(StageStore(tmp_path / "stages"))._timed == {}


FIELDS = sorted(flatten(RunConfig()))
odd_values = (
    st.integers(-(2**70), 2**70) | FLOATS | st.text(max_size=5) | st.none() | st.booleans() | st.sampled_from(
        [2**64, -1, 0, 1e308, math.nan, -0.5, "\ud800", "a\0b", 10**5000]
    )
)  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(FIELDS), odd_values)
def test_any_value_of_any_field_is_a_config_or_a_line_that_names_the_field(path: str, value: Any) -> None:
    try:
        config = override(RunConfig(), {path: value})
    except ConfigError as error:
        told = str(error)
    else:
        assert fingerprint(config)
        return
    assert path in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("lm.input_dropout", -0.1),
        ("pretraining.bptt", 0),
        ("pretraining.seed", 2**64),
        ("classifier.epochs", -1),
        ("target.max_length", -1),
        ("target.test_share", 1.5),
        ("compute.threads", 0),
        ("classifier.lr", math.nan),
    ],
)
def test_a_number_out_of_range_is_told_with_its_bounds(path: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^{path} = .* must be .* and "):
        override(RunConfig(), {path: value})


def labelled(folder: Path, names: list[str]) -> dict[str, StageResult]:
    write_corpus((Document("some words", name) for name in names), "en", folder)
    return {"texts": StageResult(folder, {}, reused=True)}


def test_a_column_of_ids_is_no_label(tmp_path: Path) -> None:
    config = override(RunConfig(), {"target.n_valid": 1})
    many = labelled(tmp_path / "many", [f"id {n}" for n in range(MOST_CLASSES + 1)])
    with pytest.raises(DataError, match=r"10001 different labels, such as 'id 0', .* at most 10000"):
        load_labelled_data(many, config)
    few = labelled(tmp_path / "few", [f"id {n % 5}" for n in range(100)])
    assert len(load_labelled_data(few, config).classes) == 5
    assert np.issubdtype(load_labelled_data(few, config).pool.dtype, np.integer)


@pytest.mark.parametrize("seeds", [(2**64,), (-1,), (0.5,), (), (1, 1), range(2000), ("0",)])
def test_seeds_that_cannot_be_used_are_refused_when_an_experiment_is_read(experiment: Any, seeds: Any) -> None:
    with pytest.raises(ConfigError, match="starts: seed"):
        replace(experiment, seeds=seeds)


def test_a_negative_number_of_retries_is_refused(lab: Any, experiment: Any) -> None:
    with pytest.raises(ConfigError, match="--retries -1"):
        lab.sweep(experiment, retries=-1)
