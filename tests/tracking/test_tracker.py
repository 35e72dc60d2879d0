"""Every run is found again with all it was given, and says truly how it ended."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from ulmfit_lab.config.paths import flatten
from ulmfit_lab.config.schema import RunConfig
from ulmfit_lab.tracking.names import metric_names, truncate
from ulmfit_lab.tracking.server import server_command
from ulmfit_lab.tracking.tracker import RunLog, Tracker, open_tracker
from ulmfit_lab.training.loop import POINTS
from ulmfit_lab.training.progress import Point
from ulmfit_lab.utils.errors import LabError
from ulmfit_lab.utils.home import Home, open_home
from ulmfit_lab.utils.provenance import provenance

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


FIRST_USE = """
import sys
from ulmfit_lab.utils.home import open_home
from ulmfit_lab.tracking.tracker import open_tracker
tracker = open_tracker(open_home(sys.argv[1]))
print(tracker.open_sweep("words", "tiny", "d1", "Which words?", {"lab.commit": "abc"}))
"""


def end_with(log: RunLog, error: BaseException) -> None:
    """Log a point, then end a run with an error."""
    with log:
        log.log_points("classifier", [Point(0, 0.0, {"loss": 1.0})])
        raise error


@dataclass
class Shared:
    """A store that two processes made at the same time, and the parent run that each of them got."""

    tracker: Tracker
    parents: list[str]

    def cell(self, fingerprint: str = "f1", experiment: str = "words", **tags: str) -> RunLog:
        """A new run for a cell."""
        facts = {"experiment": experiment, "scale": "tiny", "variant": "random", "level": "500", "seed": "3"}
        parent = self.tracker.open_sweep(experiment, "tiny", "d1", "", {})
        return self.tracker.start_cell(parent, "a cell", {"seed": 3}, {**facts, "lab.cell": fingerprint, **tags})

    def run(self, log: RunLog) -> Any:
        """MLflow's own record of a run."""
        return self.tracker.client.get_run(log.run_id)

    def artifact(self, log: RunLog, name: str) -> Path:
        """Where an artifact of a run lies."""
        return Path(urllib.parse.unquote(urllib.parse.urlsplit(self.run(log).info.artifact_uri).path)) / name

    def history(self, log: RunLog, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric."""
        return [(m.step, m.value) for m in self.tracker.client.get_metric_history(log.run_id, name)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A store in a home with a space in its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = open_home(str(tmp_path_factory.mktemp("lab") / "a home"))
        command = [sys.executable, "-c", FIRST_USE, str(home.root)]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        got = [process.communicate(timeout=300)[0].strip() for process in both]
        yield Shared(open_tracker(home), got)


def test_two_processes_that_start_at_once_share_one_sweep(shared: Shared) -> None:
    assert shared.parents[0] and shared.parents[0] == shared.parents[1]
    parent = shared.tracker.client.get_run(shared.parents[0])
    assert parent.data.tags["lab.kind"] == "sweep" and parent.data.tags["mlflow.source.git.commit"] == "abc"


def test_another_declaration_is_another_sweep_of_the_same_experiment(shared: Shared) -> None:
    other = shared.tracker.open_sweep("words", "tiny", "d2", "", {})
    runs = [shared.tracker.client.get_run(each) for each in (shared.parents[0], other)]
    assert runs[0].info.run_id != runs[1].info.run_id
    assert runs[0].info.experiment_id == runs[1].info.experiment_id


def test_an_experiment_is_listed_with_its_pages_in_the_ui(shared: Shared) -> None:
    number = shared.tracker.find_experiment("words", "tiny")
    assert shared.tracker.pages()["words (tiny)"] == {
        "runs": f"#/experiments/{number}/runs?workflowType=machine_learning"
    }


def test_a_shown_sweep_has_a_view_of_its_runs_and_a_verdict(shared: Shared) -> None:
    parent = shared.tracker.open_sweep("shown", "tiny", "d1", "Which?", {})
    shared.tracker.show(parent, "final/error", "Which?")
    number = shared.tracker.find_experiment("shown", "tiny")
    runs = f"#/experiments/{number}/runs"
    training = "workflowType=machine_learning"
    views = {key: f"{runs}?{training}&viewStateShareKey={key}" for key in ("means", "runs")}
    verdict = f"{runs}/{parent}/artifacts/verdict.html?{training}"
    pages = {"verdict": verdict, **views}
    assert shared.tracker.pages()["shown (tiny)"] == pages
    tags = shared.tracker.client.get_experiment(number).tags
    assert f"({verdict})" in tags["mlflow.note.content"]
    assert json.loads(tags["mlflow.sharedViewState.runs"])["orderByKey"] == "metrics.`final/error`"


@pytest.mark.parametrize(("measure", "ascending"), [("final/accuracy", False), ("final/perplexity", True)])
def test_the_best_runs_come_first_whichever_way_is_better(shared: Shared, measure: str, ascending: bool) -> None:
    parent = shared.tracker.open_sweep("ordered", "tiny", "d1", "Which?", {})
    shared.tracker.show(parent, measure, "Which?")
    tags = shared.tracker.client.get_experiment(shared.tracker.find_experiment("ordered", "tiny")).tags
    assert json.loads(tags["mlflow.sharedViewState.runs"])["orderByAsc"] is ascending


def test_a_summarised_sweep_is_reopened_by_a_restart_with_its_table_kept(shared: Shared, tmp_path: Path) -> None:
    parent = shared.tracker.open_sweep("summary", "tiny", "d1", "Question?", {})
    (tmp_path / "figure.png").write_bytes(b"picture")
    means = {"error/mean/random": 0.25, "error/mean/lr*2": 0.5, "error/mean/lr+2": 0.75}
    shared.tracker.summarise_sweep(parent, means, "| a table |", [tmp_path / "figure.png"], "FINISHED")
    ended = shared.tracker.client.get_run(parent)
    assert ended.info.status == "FINISHED"
    assert ended.data.metrics == {"error/mean/random": 0.25, "error/mean/lr_2": 0.5, "error/mean/lr_2_": 0.75}
    assert [file.path for file in shared.tracker.client.list_artifacts(parent)] == ["figure.png"]
    assert shared.tracker.open_sweep("summary", "tiny", "d1", "Question?", {}) == parent
    reopened = shared.tracker.client.get_run(parent)
    assert (reopened.info.status, reopened.data.tags["mlflow.note.content"]) == ("RUNNING", "| a table |")
    shared.tracker.finish_sweep(parent, "FAILED", "2 cells failed")
    assert shared.tracker.client.get_run(parent).data.tags["lab.reason"] == "2 cells failed"


def test_a_cell_is_found_again_with_all_it_was_given(shared: Shared) -> None:
    parent = shared.tracker.open_sweep("given", "tiny", "d1", "", {})
    params = {f"group.field{i}": i / 8 for i in range(250)} | {"unset": None}
    tags = {"experiment": "given", "scale": "tiny", "variant": "w/o, 10%", "level": "", "seed": "7", "lab.cell": "f7"}
    with shared.tracker.start_cell(parent, "the seventh", params, tags) as log:
        log.log_final({"final/error": 0.125})
    (run,) = shared.tracker.runs("given", "tiny")
    assert (run.name, run.variant, run.level, run.seed, run.fingerprint) == ("the seventh", "w/o, 10%", "", 7, "f7")
    assert (run.run_id, run.parent, run.status) == (log.run_id, parent, "FINISHED")
    assert run.params == {name: str(value) for name, value in params.items()}
    assert run.metrics["final/error"] == 0.125
    assert run.tags["mlflow.user"] and "w/o, 10%" in run.tags["mlflow.note.content"]
    assert run.end is not None and run.end >= run.start


def test_runs_are_listed_over_pages_by_status_and_without_sweeps(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ulmfit_lab.tracking.tracker.PAGE", 2)
    logs = [shared.cell(f"f{i}", "paged") for i in range(5)]
    logs[0].finish("FINISHED")
    assert {run.run_id for run in shared.tracker.runs("paged", "tiny")} == {log.run_id for log in logs}
    assert [run.run_id for run in shared.tracker.runs("paged", "tiny", "FINISHED")] == [logs[0].run_id]
    assert shared.tracker.runs("paged", "paper") == []


def test_points_are_written_when_a_batch_is_full_and_none_is_lost(shared: Shared) -> None:
    log = shared.cell()
    points = [Point(step, step / 10, {"loss": 1 / (step + 1), "rate": 0.5}) for step in range(700)]
    log.log_points("classifier", points[:449])
    assert shared.history(log, "classifier/loss") == []
    log.log_points("classifier", points[449:450])
    assert len(shared.history(log, "classifier/loss")) == 450
    log.log_points("classifier", points[450:])
    log.log_points("more", [Point(0, 0.0, {f"value{i}": float(i) for i in range(1500)})])  # more than a batch at once
    log.finish("FINISHED")
    assert shared.history(log, "more/value1499") == [(0, 1499.0)]
    assert shared.history(log, "classifier/loss") == [(p.step, p.values["loss"]) for p in points]


def test_points_are_written_after_a_while_even_if_few(shared: Shared) -> None:
    log = shared.cell()
    log.flushed -= 11  # seconds, as if the last batch had been that long ago
    log.log_points("classifier", [Point(0, 0.0, {"loss": math.inf})])
    assert len(shared.history(log, "classifier/loss")) == 1


def test_a_run_holds_its_data_sets_curves_and_files(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "confusion.csv").write_text("1,2\n")
    with shared.cell() as log:
        log.log_inputs([("imdb train", "d" * 64, "", "training", {"documents": 500})])
        log.log_points("classifier", [Point(1, 0.5, {"loss": 2.0, "valid_loss": 2.5})])
        log.log_artifact(tmp_path / "confusion.csv", "tables")
    (data,) = shared.run(log).inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest, data.tags[0].value) == ("imdb train", "d" * 36, "training")
    assert json.loads(data.dataset.profile) == {"documents": 500}
    assert shared.artifact(log, "tables/confusion.csv").read_text() == "1,2\n"


def test_runs_that_name_a_new_data_set_in_the_same_moment_all_get_it(shared: Shared) -> None:
    logs = [shared.cell(f"f{number}") for number in range(4)]
    together = Barrier(len(logs))

    def log_inputs(log: RunLog, number: int) -> None:
        data = [(f"texts {number}, {part}", "d" * 36, "", "training", {}) for part in range(3)]
        together.wait()
        log.log_inputs(data)

    with ThreadPoolExecutor(len(logs)) as pool:
        for number in range(10):
            list(pool.map(log_inputs, logs, [number] * len(logs)))
    assert [len(shared.run(log).inputs.dataset_inputs) for log in logs] == [30] * 4


def test_tracking_a_run_costs_less_than_one_percent_of_twenty_seconds(shared: Shared) -> None:
    # CPU time, so that a busy machine does not matter: 0.08 s here, for three models' curves and a whole config
    points = [Point(k, k / 40, {"loss": 1.0, "lr": 0.1}) for k in range(POINTS)]
    config = {**flatten(RunConfig()), "seed": 3}
    facts = {"experiment": "words", "scale": "tiny", "variant": "random", "level": "500", "seed": "3", "lab.cell": "f"}
    parent = shared.tracker.open_sweep("words", "tiny", "d1", "", {})
    seconds = []
    for _ in range(3):  # the least, since a garbage collection of the whole test run may fall into one
        began = time.process_time()
        with shared.tracker.start_cell(parent, "a cell", config, {**facts, **provenance()}) as log:
            log.log_inputs([(name, "d" * 36, "", "training", {}) for name in ("texts", "test", "corpus")])
            for stage in ("pretraining", "fine_tuning", "classifier"):
                log.log_points(stage, points)
            log.set_tags({f"stage.{n}": "f" for n in range(10)})
            log.log_final({f"final/{n}": 0.5 for n in range(20)})
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.2


def test_an_exception_fails_the_run_with_reason_and_traceback(shared: Shared) -> None:
    log = shared.cell()
    with pytest.raises(ValueError, match="no such word"):
        end_with(log, ValueError("no such word"))
    run = shared.run(log)
    assert (run.info.status, run.data.tags["lab.reason"]) == ("FAILED", "ValueError: no such word")
    assert "in end_with" in shared.artifact(log, "traceback.txt").read_text()
    assert shared.history(log, "classifier/loss") == [(0, 1.0)]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_kills_the_run_and_keeps_its_points(shared: Shared, interruption: type[BaseException]) -> None:
    log = shared.cell()
    with pytest.raises(interruption):
        end_with(log, interruption())
    assert shared.run(log).info.status == "KILLED"
    assert shared.history(log, "classifier/loss") == [(0, 1.0)]


def test_a_run_ends_even_if_its_last_values_cannot_be_written(shared: Shared) -> None:
    with pytest.raises(Exception, match="not/a//name"), shared.cell() as log:
        log.log_final({"not/a//name": 1.0})
    assert shared.run(log).info.status == "FAILED"


def test_runs_of_dead_processes_are_killed_and_those_of_live_ones_go_on(shared: Shared) -> None:
    logs = {cell: shared.cell(cell, "abandoned") for cell in ("dead", "alive")}
    shared.tracker.close_abandoned("abandoned", "tiny", lambda cell: cell == "alive")
    assert {cell: shared.run(log).info.status for cell, log in logs.items()} == {"dead": "KILLED", "alive": "RUNNING"}
    assert "its process ended" in shared.run(logs["dead"]).data.tags["lab.reason"]


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_status(shared: Shared) -> None:
    log = shared.cell(experiment="just ended")

    def ends_now(cell: str) -> bool:
        log.finish("FINISHED")
        return False

    shared.tracker.close_abandoned("just ended", "tiny", ends_now)
    assert shared.run(log).info.status == "FINISHED"


def test_the_machines_load_is_logged_while_a_run_goes_on_and_counted_on_by_whoever_goes_on(shared: Shared) -> None:
    log, name = shared.cell(), "system/cpu_utilization_percentage"
    with log:
        for times, writer in enumerate((log, shared.tracker.log_of(log.run_id)), 1):
            with writer.machine_load(every=0.2, go_on=writer is not log):
                deadline = time.monotonic() + 30
                before = len(shared.history(log, name))
                while len(shared.history(log, name)) < before + 2:
                    assert time.monotonic() < deadline, f"no load from writer {times}"
                    time.sleep(0.2)
    steps = [step for step, _ in shared.history(log, name)]
    assert steps == list(range(len(steps)))


def test_the_store_is_in_write_ahead_mode(shared: Shared) -> None:
    connection = sqlite3.connect(shared.tracker.artifacts.parent / "mlflow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_an_experiment_deleted_in_mlflow_is_an_error_that_says_how_to_restore_it(shared: Shared) -> None:
    where = shared.tracker.make_experiment("deleted", "tiny", "")
    shared.tracker.client.delete_experiment(where)
    with pytest.raises(LabError, match=rf"deleted \(tiny\) was deleted.*--experiment-id {where}"):
        shared.cell(experiment="deleted")


def test_a_store_that_cannot_be_opened_is_an_error_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"store nosuch://ann:\*\*\*@db/lab cannot") as caught:
        open_tracker(Home(tmp_path), "nosuch://ann:s3cret@db/lab")
    assert "s3cret" not in str(caught.value)


def test_metric_names_are_legal_distinct_and_keep_what_they_can() -> None:
    names = ["error/mean", "a, 10%/n", "a; 10%/n", "../x", "a//b", "ä", "/"]
    assert metric_names(names) == ["error/mean", "a_ 10_/n", "a_ 10_/n_", "x", "a/b", "ä", "_"]


def test_a_long_description_is_cut_at_a_line() -> None:
    lines = "| a row of the table |\n" * 500
    kept = truncate(lines)
    assert len(kept) <= 8000 and kept.startswith(lines[:7000])
    assert set(kept.splitlines()[:-2]) == {"| a row of the table |"}
    assert truncate("short") == "short"


def test_the_server_is_told_of_the_store_where_other_users_cannot_read_it(tmp_path: Path) -> None:
    uri = "postgresql://ann:s3cret@db/lab"
    command, environment = server_command(Home(tmp_path), uri, "127.0.0.1", 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert not any("s3cret" in argument for argument in command)
    hosts = command[command.index("--allowed-hosts") + 1].split(",")
    assert hosts == ["localhost:*", "127.0.0.1:*", "[::1]:*", "lab.localhost:*"], "loopback names only"
    open_to_all, _ = server_command(Home(tmp_path), uri, "0.0.0.0", 5001)
    assert "--allowed-hosts" not in open_to_all
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == (tmp_path / "artifacts").as_uri()
