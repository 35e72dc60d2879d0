"""The doctor names whatever was damaged in a home, repairs it, and then finds nothing; what lives it leaves alone."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from rich.console import Console

from ulmfit_lab.cli import main
from ulmfit_lab.doctor.checks import Diagnosis, examine, repair
from ulmfit_lab.doctor.installation import features, installation, missing_packages
from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.pipeline.store import Observer, Stage, StageStore
from ulmfit_lab.report.publish import publish
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.optuna_study import open_study
from ulmfit_lab.sweep.runner import cell_lock, sweep
from ulmfit_lab.tracking.tracker import RunLog, open_tracker
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import Home

VARIANTS = {"random": {"classifier.init": "random"}, "tf-idf": {"classifier.model": "tf-idf"}}
SOURCE = "from ulmfit_lab.experiment.declaration import Experiment\n\nEXPERIMENT = Experiment(**{fields!r})\n"


@pytest.fixture(scope="module")
def quick(experiment: Experiment) -> Experiment:
    """Two runs of a second."""
    return replace(experiment, variants=VARIANTS, seeds=(0,))


@pytest.fixture(scope="module")
def swept(new_lab: Callable[[str], Any], quick: Experiment) -> Home:
    """A home with a finished sweep."""
    lab = new_lab("swept")
    lab.sweep(quick)
    return lab.home


@pytest.fixture(scope="module")
def declared(quick: Experiment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The experiment as a user's file."""
    path = tmp_path_factory.mktemp("experiment") / "starts.py"
    fields = {name: getattr(quick, name) for name in ("name", "question", "baseline", "variants", "scales", "seeds")}
    path.write_text(SOURCE.format(fields=fields))
    return str(path)


class Patient:
    """A copy of the home, to be damaged."""

    def __init__(self, home: Home, declared: str) -> None:
        self.home, self.declared = home, declared
        self.tracker = open_tracker(home)

    def examine(self) -> Diagnosis:
        return examine(self.home, self.tracker, [self.declared], None)

    def told(self, *words: str) -> None:
        """There is one problem, in one line with these words; it is repaired, and then there is none."""
        (finding,) = self.examine().findings
        assert all(word in str(finding) for word in words), str(finding)
        assert "\n" not in str(finding)
        assert list(repair([finding], self.home)) == []
        assert self.examine().findings == []

    def run(self, variant: str) -> Any:
        return next(run for run in self.tracker.runs("starts", "tiny") if run.variant == variant)

    def start(self, name: str, cell: str) -> RunLog:
        """A further run of the variant "random", with another cell."""
        run = self.run("random")
        tags = {key: value for key, value in run.tags.items() if not key.startswith("mlflow.")}
        return self.tracker.start_cell(run.parent, name, {}, {**tags, "lab.cell": cell})

    def stage(self, kind: str) -> Path:
        return sorted((self.home.stages / kind).iterdir())[0]

    @property
    def aside(self) -> list[str]:
        return [path.name for path in (self.home.root / "aside").glob("*")]


def copy_database(source: Path, target: Path, *, killed: bool = False) -> None:
    """Copy a database, as it is or as a process that was killed in the midst of migrating it leaves it."""
    with closing(sqlite3.connect(source)) as whole, closing(sqlite3.connect(target)) as copy:
        whole.backup(copy)
        if killed:  # tables are there already, and the version says that they are to be made
            copy.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
            copy.commit()


@pytest.fixture
def patient(swept: Home, declared: str, tmp_path: Path) -> Patient:
    """A copy of the finished home; artifacts, whose address MLflow knows, stay where they are."""
    home = Home(tmp_path / "home")
    shutil.copytree(swept.root, home.root, ignore=shutil.ignore_patterns("mlflow.db*", "artifacts"))
    copy_database(swept.root / "mlflow.db", home.root / "mlflow.db")
    return Patient(home, declared)


def test_nothing_is_amiss_in_a_home_after_a_sweep(patient: Patient) -> None:
    found = patient.examine()
    assert found == Diagnosis([], ["starts (tiny): 2 of 2 declared runs are finished."])


def test_a_run_of_a_dead_process_is_closed_and_one_of_a_live_process_is_left(patient: Patient) -> None:
    patient.start("a cell", cell="f" * 16)
    with FileLock(cell_lock(patient.home, "starts", "tiny", "f" * 16)):
        assert patient.examine().findings == []
    patient.told("a cell, is RUNNING in MLflow, but its process has ended", "--fix")
    assert "KILLED" in {run.status for run in patient.tracker.runs("starts", "tiny")}


def test_a_sweep_of_a_dead_process_is_closed(patient: Patient) -> None:
    parent = patient.run("random").parent
    patient.tracker.client.update_run(parent, status="RUNNING")
    with FileLock(patient.home.locks / "some.lock"):
        assert patient.examine().findings == []
    patient.told(f"Sweep {parent[:8]} of starts (tiny) is RUNNING")


def test_a_trial_of_a_dead_process_is_failed(patient: Patient) -> None:
    study = open_study(patient.home, "starts-tiny")
    number = study.begin("f" * 16, {"variant": "random", "seed": 0})
    with FileLock(cell_lock(patient.home, "starts", "tiny", "f" * 16)):
        assert patient.examine().findings == []
    patient.told(f"Trial {number} of the study starts-tiny is running in Optuna", "--fix")


def test_a_finished_run_without_a_trial_is_added_to_the_study(patient: Patient) -> None:
    (patient.home.studies / "starts-tiny.journal").unlink()
    findings = patient.examine().findings
    assert len(findings) == 2
    assert all("is FINISHED in MLflow, but has no complete trial" in str(finding) for finding in findings)
    assert list(repair(findings, patient.home)) == []
    assert patient.examine().findings == []
    values = {trial.value for trial in open_study(patient.home, "starts-tiny").study.get_trials()}
    assert values == {run.metrics["final/error"] for run in patient.tracker.runs("starts", "tiny")}


def test_a_trial_without_a_finished_run_leads_to_a_new_study(patient: Patient) -> None:
    patient.tracker.client.delete_run(patient.run("tf-idf").run_id)
    patient.told("is complete in the study starts-tiny, but not FINISHED in MLflow", "sweep again")
    assert any(name.endswith("starts-tiny.journal") for name in patient.aside)
    assert open_study(patient.home, "starts-tiny").finished() == {patient.run("random").fingerprint}


def test_a_torn_journal_is_moved_aside_and_made_again(patient: Patient) -> None:
    journal = patient.home.studies / "starts-tiny.journal"
    journal.write_bytes(b'{"torn\n' + journal.read_bytes())
    patient.told("starts-tiny.journal cannot be read", "--fix")
    assert len(patient.aside) == 1
    assert len(open_study(patient.home, "starts-tiny").finished()) == 2


def test_a_cell_with_two_finished_runs_is_told(patient: Patient) -> None:
    patient.start("twice", patient.run("random").fingerprint).finish("FINISHED")
    found = patient.examine()
    assert found.findings == []
    assert "twice, is one of 2 equal finished runs; reports use the newest" in found.notes[-1]


@pytest.mark.parametrize("name", ["stage.json", "samples.txt", "model.safetensors"])
@pytest.mark.parametrize("damage", ["changed", "cut", "removed"])
def test_a_stage_that_is_not_what_was_recorded_is_moved_aside(patient: Patient, name: str, damage: str) -> None:
    folder = next(path for path in (patient.home.stages / "classifier").iterdir() if (path / "samples.txt").exists())
    whole = (folder / name).read_bytes()
    if damage == "removed":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(whole[:-9] if damage == "cut" else bytes([whole[0] ^ 1]) + whole[1:])
    with FileLock(patient.home.stages / f"classifier-{folder.name}.lock"):
        assert patient.examine().findings == [], "a process is making it anew"
    with FileLock(patient.home.locks / "some.lock"):
        (finding,) = patient.examine().findings
        assert "a process is using this home" in next(repair([finding], patient.home))[1]
    patient.told(str(folder), "--fix moves the stage aside")
    assert len(patient.aside) == 1
    assert not folder.exists()
    assert "1 finished runs refer to deleted stages" in " ".join(patient.examine().notes)


def test_a_stage_in_anothers_place_is_moved_aside(patient: Patient) -> None:
    folder = patient.stage("tokens")
    shutil.copytree(folder, folder.with_name("0" * 16))
    patient.told("0" * 16, f"its manifest belongs to tokens {folder.name}")


def test_a_stage_without_digests_is_taken_as_it_is(patient: Patient) -> None:
    path = patient.stage("tokens") / "stage.json"
    path.write_text(path.read_text().replace('"sha256"', '"md5"'))
    (path.parent / "ids.npy").write_bytes(bytes((path.parent / "ids.npy").stat().st_size))
    assert patient.examine().findings == []


def test_unfinished_stages_and_files_that_nobody_works_on_are_removed(patient: Patient) -> None:
    folder = patient.home.stages / "partial" / f"classifier-{'a' * 16}"
    folder.mkdir(parents=True)
    (folder / "resume.pt").write_bytes(bytes(2_000_000))
    with FileLock(patient.home.stages / f"{folder.name}.lock"):
        assert patient.examine().findings == []
    patient.told(f"{folder} (2.0 MB) is an unfinished stage", "a sweep that needs it resumes it")
    assert not folder.exists()
    torn = patient.stage("vocabulary") / "vocabulary.json.tmp"
    torn.write_text("half")
    patient.told(str(torn), "incomplete")
    assert not torn.exists()


def test_stages_that_nothing_refers_to_are_told_with_their_size(patient: Patient) -> None:
    def compute(work: Any, size: int) -> dict[str, Any]:
        (work.folder / "file").write_bytes(bytes(size))
        return {}

    sizes = [9_000_000, *[1_000_000] * 6]
    stages = [Stage("vectors", {"a": n}, {}, partial(compute, size=size)) for n, size in enumerate(sizes)]
    stored = [StageStore(patient.home.stages).get_or_compute(stage, Observer()) for stage in stages]
    found = patient.examine()
    assert found.findings == []
    _, largest, *_, others = found.notes
    assert f"Stage {stored[0].folder} (9.0 MB) is used by no finished run" in largest
    assert others.startswith("2 smaller stages (2.0 MB)")


def test_a_database_whose_making_was_killed_is_told_in_one_line_and_moved_aside(
    migrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path)
    copy_database(migrated, home.root / "mlflow.db", killed=True)
    with pytest.raises(LabError, match="cannot be opened: .*; see ulmfit-lab doctor"):
        open_tracker(home)
    options = ["doctor", "--home", str(home.root)]
    assert main(options) == 1
    assert "is incomplete" in capsys.readouterr().out
    assert main([*options, "--fix"]) == 0
    assert any(path.name.endswith("mlflow.db") for path in (home.root / "aside").iterdir())
    assert not (home.root / "mlflow.db").exists()


def test_a_database_with_runs_is_never_moved(swept: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = tmp_path / "mlflow.db"
    copy_database(swept.root / "mlflow.db", database, killed=True)
    assert main(["doctor", "--home", str(tmp_path), "--fix"]) == 1
    told = capsys.readouterr()
    assert "holds 3 runs, but cannot be opened" in told.out
    assert "it cannot be repaired automatically" in told.err
    assert database.exists()


def test_the_command_tells_of_the_installation_and_its_status_is_whether_all_is_well(
    patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["doctor", patient.declared, "--home", str(patient.home.root)]
    assert main(options) == 0
    told = capsys.readouterr().out
    parts = ("Python 3", "torch 2", "CPU features", "Matrix products", "GPU", "GB free", "No problems found.")
    assert all(part in told for part in parts)
    torn = patient.stage("tokens") / "x.tmp"
    torn.write_text("")
    assert main(options) == 1
    assert f"PROBLEM {torn} is incomplete; --fix deletes it." in capsys.readouterr().out
    assert main([*options, "--fix"]) == 0
    assert "1 of 1 problems repaired." in capsys.readouterr().out
    assert main(options) == 0


def test_the_installation_is_told_without_a_guess(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t: fpu avx2 avx512f amx_bf16\n")
    assert features(tmp_path / "cpuinfo") == ["avx2", "avx512f", "amx_bf16"]
    assert features(tmp_path / "absent") == []
    assert len(installation(Home(tmp_path))) == 6
    assert missing_packages(Home(tmp_path)) == []


def written(folder: Path) -> dict[Path, int]:
    """Every file below a folder, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_home_that_was_copied_is_told_of_and_sweeps_on_in_itself(
    swept: Home, quick: Experiment, tmp_path: Path
) -> None:
    home = Home(tmp_path / "copied")
    shutil.copytree(swept.root, home.root)
    before = written(swept.root)
    tracker = open_tracker(home, moved=False)
    (found,) = examine(home, tracker, [], None).findings
    assert swept.artifacts.as_uri() in found.problem and "--fix" in found.fix
    assert list(repair([found], home)) == []
    assert examine(home, tracker, [], None).findings == []
    display = ProgressDisplay(Console(file=StringIO()))
    more = replace(quick, seeds=(0, 1))
    outcome = sweep(more, "tiny", home=home, data=None, tracker=open_tracker(home), display=display)
    assert outcome.finished == 2
    publish(more, "tiny", None, home, None, open_tracker(home), tmp_path / "results")
    assert written(swept.root) == before
    assert [*home.artifacts.rglob("figure.png")]
