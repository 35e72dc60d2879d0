"""An archive takes finished stages from one home to another as they are, and nothing else."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import ones

from ulmfit_lab.cli import main
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.pipeline import store as stores
from ulmfit_lab.pipeline.stage_archive import export_stages, import_stages, with_inputs
from ulmfit_lab.pipeline.store import Observer, Stage, StageContext, StageResult, StageStore
from ulmfit_lab.training.progress import Point
from ulmfit_lab.utils.errors import DataError, LabError, MismatchError


def made(number: int) -> Callable[[StageContext], dict[str, Any]]:
    """Writes an array, weights and a curve, as real stages do."""

    def compute(work: StageContext) -> dict[str, Any]:
        np.save(work.folder / "ids.npy", np.arange(number))
        save_file({"weight": ones(number)}, work.folder / "model.safetensors")
        work.record(Point(1, 0.5, {"loss": 1.25}))
        return {"final": {"valid_loss": 1.0}}

    return compute


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    """A store with a stage and one made from it."""
    store = StageStore(tmp_path / "stages")
    tokens = Stage("tokens", {"digest": "a"}, {}, made(3))
    store.get_or_compute(Stage("pretrained", {"seed": 1}, {"corpus": tokens}, made(4)), Observer())
    return store


@pytest.fixture
def archive(store: StageStore, tmp_path: Path) -> Path:
    """Both stages, exported."""
    assert export_stages(store.finished(), tmp_path / "stages.zip") == 2
    return tmp_path / "stages.zip"


def content(stage: StageResult) -> dict[str, bytes]:
    """The files of a stage."""
    return {path.name: path.read_bytes() for path in stage.folder.iterdir()}


def test_imported_stages_are_what_they_were(store: StageStore, archive: Path, tmp_path: Path) -> None:
    other = StageStore(tmp_path / "elsewhere")
    found = import_stages(archive, other)
    assert (len(found.added), found.known) == (2, 0)
    for before, after in zip(store.finished(), other.finished(), strict=True):
        assert (before.fingerprint, content(before)) == (after.fingerprint, content(after))
    again = import_stages(archive, other)
    assert (again.added, again.known) == ((), 2)
    assert {path.name for path in other.root.iterdir()} == {"tokens", "pretrained"}, "nothing temporary is left"


def test_the_same_stages_give_the_same_bytes_and_no_path_of_the_machine(
    store: StageStore, archive: Path, tmp_path: Path
) -> None:
    other = StageStore(tmp_path / "elsewhere")
    import_stages(archive, other)
    export_stages(other.finished(), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert str(tmp_path).encode() not in archive.read_bytes()


def test_a_torn_stage_is_replaced(store: StageStore, archive: Path) -> None:
    stage = next(store.finished())
    (stage.folder / "ids.npy").write_bytes(b"torn")
    assert [each.fingerprint for each in import_stages(archive, store).added] == [stage.fingerprint]
    assert np.load(stage.folder / "ids.npy").tolist() == [0, 1, 2]


def test_a_stage_goes_with_what_it_was_made_from_but_not_with_texts(store: StageStore) -> None:
    words = Stage("vocabulary", {}, {"corpus": Stage("tokens", {"digest": "a"}, {}, made(3))}, made(2))
    last = Stage("pretrained", {"seed": 2}, {"vocabulary": words}, made(4))
    stage = store.get_or_compute(last, Observer())
    assert [each.kind for each in with_inputs([stage], store)] == ["pretrained", "vocabulary"]


def test_nothing_to_export_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No finished stage was selected"):
        export_stages([], tmp_path / "stages.zip")


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> Path:
    """A copy of an archive with other members."""
    with zipfile.ZipFile(archive) as file:
        members = {name: file.read(name) for name in file.namelist()}
    path = archive.with_name("changed.zip")
    with zipfile.ZipFile(path, "w") as file:
        for name, data in change(members).items():
            file.writestr(name, data)
    return path


def with_manifest(members: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """The members with other values in each manifest."""
    return {
        name: json.dumps({**json.loads(data), **changes}).encode() if name.endswith("stage.json") else data
        for name, data in members.items()
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: {**m, "../../evil.json": b"{}"}, "is not a valid member"),
        (lambda m: {**m, "/etc/evil.json": b"{}"}, "is not a valid member"),
        (lambda m: {**m, "unheard/0123456789abcdef/a.json": b"{}"}, "is not a valid member"),
        (lambda m: {**m, next(iter(m)).replace("stage.json", "code.pkl"): b""}, "has an unknown extension"),
        (lambda m: {**m, next(iter(m)).replace("stage.json", "more.json"): b""}, "differ from those in stage.json"),
        (lambda m: {k: v for k, v in m.items() if not k.endswith("ids.npy")}, "differ from those in stage.json"),
        (lambda m: {k: v for k, v in m.items() if not k.endswith("stage.json")}, "has no stage.json"),
        (lambda m: {k: v + b"x" if k.endswith("ids.npy") else v for k, v in m.items()}, "is damaged: its content"),
        (lambda m: with_manifest(m, key={"seed": 2}), "belongs to another stage"),
        (lambda m: with_manifest(m, files=3), "is damaged"),
    ],
)
def test_an_archive_that_was_changed_is_refused_and_nothing_is_added(
    archive: Path, tmp_path: Path, change: Any, says: str
) -> None:
    other = StageStore(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=says):
        import_stages(rewritten(archive, change), other)
    assert not list(other.finished())
    assert not list(other.root.rglob("*.json"))


def test_a_stage_of_another_version_is_refused(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stores.VERSIONS, "pretrained", 99)  # type: ignore[arg-type]
    with pytest.raises(MismatchError, match="has version 3 of pretrained stages, but this code uses version 99"):
        import_stages(archive, StageStore(tmp_path / "elsewhere"))


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive) as file, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in file.namelist():
            bomb.writestr(name, bytes(2**29) if name.endswith("ids.npy") else file.read(name))
    with pytest.raises(DataError, match="unpacks to"):
        import_stages(path, StageStore(tmp_path / "elsewhere"))


def test_damaged_bytes_are_reported_in_one_line_or_change_nothing(archive: Path, store: StageStore) -> None:
    draw, whole = random.Random(0), archive.read_bytes()
    expected = {stage.fingerprint: content(stage) for stage in store.finished()}
    for number in range(150):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[draw.randrange(len(data)) :]
        else:
            for _ in range(draw.choice([1, 1, 8])):
                data[draw.randrange(len(data))] = draw.randrange(256)
        damaged = archive.with_name("damaged.zip")
        damaged.write_bytes(bytes(data))
        other = StageStore(archive.parent / f"other-{number}")
        with suppress(LabError):  # any other error fails the test
            import_stages(damaged, other)
        for stage in other.finished():
            assert content(stage)["model.safetensors"] == expected[stage.fingerprint]["model.safetensors"]
            assert content(stage)["ids.npy"] == expected[stage.fingerprint]["ids.npy"]


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"text", io.BytesIO().getvalue()])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="not an archive of stages"):
        import_stages(tmp_path / "a.zip", StageStore(tmp_path / "stages"))
    with pytest.raises(DataError, match="no such file"):
        import_stages(tmp_path / "none.zip", StageStore(tmp_path / "stages"))


def test_a_sweep_elsewhere_goes_on_from_an_experiments_language_models(
    new_lab: Callable[[str], Any],
    experiment: Experiment,
    write_module: Callable[[Path, Experiment], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = new_lab("first"), new_lab("second")
    module = write_module(tmp_path / "starts.py", experiment)
    first.sweep(experiment)
    path = str(tmp_path / "lms.zip")
    where = ("--scale", "tiny", "--home", str(first.home.root))
    assert main(["stages", "--export", path, "--for", str(module), "--kind", "pretrained", *where]) == 0
    assert "2 stages written" in capsys.readouterr().out
    assert main(["stages", "--import", path, "--home", str(second.home.root)]) == 0
    assert main(["stages", "--home", str(second.home.root)]) == 0
    assert "pretrained" in capsys.readouterr().out
    outcome = second.sweep(experiment)
    assert not outcome.failures
    numbers = [
        {run.name: run.metrics["final/error"] for run in lab.tracker.runs("starts", "tiny", "FINISHED")}
        for lab in (first, second)
    ]
    assert numbers[0] == numbers[1]
    (stage,) = second.home.stages.glob("pretrained/*/stage.json")
    (original,) = first.home.stages.glob("pretrained/*/stage.json")
    assert stage.read_bytes() == original.read_bytes(), "it was not computed again: its time would differ"


def test_all_stages_of_an_experiment_travel_classifiers_with_their_samples_too(finished: Any, tmp_path: Path) -> None:
    module, options = finished
    path, home = str(tmp_path / "all.zip"), tmp_path / "elsewhere"
    assert main(["stages", "--export", path, "--for", str(module), *options]) == 0
    assert main(["stages", "--import", path, "--home", str(home)]) == 0
    original, imported = (
        {stage.fingerprint: stage for stage in StageStore(folder / "stages").finished()}
        for folder in (Path(options[-1]), home)
    )
    for name, stage in imported.items():
        files = content(stage)  # not the file that names the runs of the other home
        assert files == {file: data for file, data in content(original[name]).items() if file in files}
        assert files.keys() == {*stage.manifest["files"], "stage.json"}
    kinds = {stage.kind for stage in imported.values()}
    assert kinds == {"vocabulary", "pretrained", "fine-tuned", "classifier"}, "all but tokens of texts"
    assert any("samples.txt" in stage.manifest["files"] for stage in imported.values())


def test_options_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", str(tmp_path))
    assert main(["stages", "--kind", "pretraned", *home]) == 2
    assert "Did you mean 'pretrained'" in capsys.readouterr().err
    assert main(["stages", "--lm.drop-mult", "0.5", *home]) == 2
    assert "add --for EXPERIMENT" in capsys.readouterr().err
