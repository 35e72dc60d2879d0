"""A stage is computed once, is whole or absent, and says what it is made from."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from ulmfit_lab.pipeline.store import VERSIONS, Observer, Stage, StageContext, StageStore
from ulmfit_lab.training.progress import Point


class Counting:
    """A computation that counts how often it runs."""

    def __init__(self, fail: bool = False) -> None:
        self.runs, self.fail = 0, fail

    def __call__(self, work: StageContext) -> dict[str, Any]:
        self.runs += 1
        (work.folder / "half.txt").write_text("half")
        if self.fail:
            raise KeyboardInterrupt
        upstream = sum(stored.summary["value"] for stored in work.inputs.values())
        work.record(Point(step=1, epoch=0.5, values={"loss": 2.0}))
        return {"value": 1 + upstream}


def stage(compute: Counting, inputs: dict[str, Stage] | None = None, **key: Any) -> Stage:
    return Stage("tokens", key, inputs or {}, compute, lambda: 10.0)


def test_a_stage_is_computed_once_and_found_by_another_store(tmp_path: Path) -> None:
    compute = Counting()
    first = StageStore(tmp_path).get_or_compute(stage(compute, a=1), Observer())
    second = StageStore(tmp_path).get_or_compute(stage(compute, a=1), Observer())
    assert compute.runs == 1
    assert (first.reused, second.reused) == (False, True)
    assert second.summary == {"value": 1}
    assert second.points() == [Point(step=1, epoch=0.5, values={"loss": 2.0})]


def test_a_fingerprint_changes_with_key_and_with_anything_upstream() -> None:
    compute = Counting()
    plain = stage(compute, a=1)
    assert plain.fingerprint == stage(Counting(), a=1).fingerprint
    above = [stage(compute, {"in": stage(compute, a=a)}).fingerprint for a in (1, 2)]
    assert len({plain.fingerprint, stage(compute, a=2).fingerprint, *above}) == 4


@pytest.mark.parametrize("kind", VERSIONS)
def test_a_stage_of_an_older_version_is_not_taken_for_one_of_this(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same key, which leaves defaults out."""
    store, compute = StageStore(tmp_path), Counting()
    monkeypatch.setitem(cast(dict[str, int], VERSIONS), kind, VERSIONS[kind] - 1)
    old = store.get_or_compute(Stage(kind, {"a": 1}, {}, compute), Observer())
    monkeypatch.undo()
    now = Stage(kind, {"a": 1}, {}, compute)
    assert store.find(now) is None and now.fingerprint != old.fingerprint


def test_inputs_are_computed_before_and_shared(tmp_path: Path) -> None:
    below, left, right = Counting(), Counting(), Counting()
    base = stage(below, a=1)
    top = stage(Counting(), {"left": stage(left, {"in": base}, a=2), "right": stage(right, {"in": base}, a=3)})
    assert StageStore(tmp_path).get_or_compute(top, Observer()).summary["value"] == 1 + 2 + 2
    assert (below.runs, left.runs, right.runs) == (1, 1, 1)
    assert [s.fingerprint for s in top.ancestry()][0] == base.fingerprint


def test_an_interrupted_stage_is_absent_and_its_folder_is_handed_on(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.get_or_compute(stage(Counting(fail=True), a=1), Observer())
    assert store.find(stage(Counting(), a=1)) is None

    def go_on(work: StageContext) -> dict[str, Any]:
        return {"found": (work.folder / "half.txt").read_text()}

    again = Stage("tokens", {"a": 1}, {}, go_on, lambda: 10.0)
    assert store.get_or_compute(again, Observer()).summary == {"found": "half"}


@pytest.mark.parametrize("name", ["stage.json.tmp", "stage.json"])
def test_what_a_killed_process_left_is_no_part_of_the_stage(tmp_path: Path, name: str) -> None:
    """Killed as it wrote the manifest, or before it moved the whole stage to its place."""
    made = stage(Counting(), a=1)
    left = tmp_path / "partial" / f"{made.kind}-{made.fingerprint}"
    left.mkdir(parents=True)
    (left / name).write_text("{")
    stored = StageStore(tmp_path).get_or_compute(made, Observer())
    assert stored.manifest["files"].keys() == {"half.txt", "points.jsonl"}
    assert StageStore(tmp_path).get_or_compute(made, Observer()).reused


def test_a_stage_with_a_torn_file_is_computed_again(tmp_path: Path) -> None:
    store, compute = StageStore(tmp_path), Counting()
    stored = store.get_or_compute(stage(compute, a=1), Observer())
    (stored.folder / "half.txt").write_text("h")
    assert store.find(stage(compute, a=1)) is None
    store.get_or_compute(stage(compute, a=1), Observer())
    assert compute.runs == 2


def test_what_lies_below_a_finished_stage_is_not_missing(tmp_path: Path) -> None:
    store, below = StageStore(tmp_path), stage(Counting(), a=1)
    middle = stage(Counting(), {"in": below}, a=2)
    top = stage(Counting(), {"in": middle}, a=3)
    assert store.missing(top) == [below, middle, top]
    store.get_or_compute(middle, Observer())
    assert store.missing(top) == [top]


def test_two_threads_that_want_one_stage_compute_it_once(tmp_path: Path) -> None:
    compute, found = Counting(), []

    def want() -> None:
        found.append(StageStore(tmp_path).get_or_compute(stage(compute, a=1), Observer()).summary["value"])

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (compute.runs, found) == (1, [1] * 8)
