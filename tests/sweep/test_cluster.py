"""A real Ray cluster of two nodes on loopback: sweeps whose workers and nodes are killed end as plain ones do.

Those that are killed have their runs and studies in a real PostgreSQL.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from rich.console import Console

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.sweep.display import ProgressDisplay
from ulmfit_lab.sweep.optuna_study import open_study
from ulmfit_lab.utils.errors import ConfigError

# not imported here: Ray reads how nodes know each other once, when it is imported
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'ulmfit_lab[cluster]'"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]

CONNECTION = ExitStack()
"""Of the driver with the cluster, from the first sweep to the last."""
LONGEST = 900.0
"""Seconds after which a worker is taken never to begin a cell; a busy machine needs minutes to start Ray's workers."""


@pytest.fixture(scope="module")
def longer(experiment: Experiment) -> Experiment:
    """Cells that take a few seconds each, so that a kill comes while one runs."""
    scales = {"tiny": {**experiment.scales["tiny"], "classifier.epochs": 25, "compute.threads": 1}}
    return replace(experiment, scales=scales)


@pytest.fixture(scope="module")
def plain(new_lab: Callable[[str], Any], longer: Experiment) -> dict[tuple[str, int], float]:
    """The numbers of a sweep without a cluster."""
    lab = new_lab("plain")
    lab.sweep(longer)
    found: dict[tuple[str, int], float] = lab.results(longer)
    assert len(found) == CELL_COUNT
    return found


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head that has no CPU to give, so that it runs no cell, and two nodes with one each; with a token of its own."""
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex * 2, "RAY_USAGE_STATS_ENABLED": "0"}
    own["RAY_worker_niceness"] = "0"  # not 15, with which other tests leave them next to nothing
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)

        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
            cluster.wait_for_nodes()
            yield cluster, workers
        finally:
            CONNECTION.close()
            cluster.shutdown()


CELL_COUNT, DIED = 4, "its worker died"
CELLS, STAGES = r"ray::(random|fine-tuned), seed", r"ray::(classifier|pretrained|fine-tuned) of .*, seed"


def at_work(raylet: int, task: str = f"{CELLS}|{STAGES}") -> list[psutil.Process]:
    """The workers of a node that run a cell or train a model now: Ray names a process after its task."""
    found = []
    for process in psutil.Process(raylet).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if re.match(task, " ".join(process.cmdline())):
                found.append(process)
    return found


def raylet_of(node: Any) -> int:
    """Process id of a node's raylet."""
    return int(node.all_processes["raylet"][0].process.pid)


def swept(
    lab: Any,
    experiment: Experiment,
    cluster: Any,
    kill: Callable[[], None] | None = None,
    shown: StringIO | None = None,
) -> tuple[Any, str]:
    """Sweep on a cluster, killing something once a run is under way; the outcome and what was shown."""
    file = shown or StringIO()
    display = ProgressDisplay(Console(file=file, width=200))
    with connected_once(cluster.address, lab.tracker, display) as there:
        killer = threading.Thread(target=kill) if kill else None
        if killer:
            killer.start()
        outcome = lab.sweep(experiment, display, engine=there.run)
        if outcome.in_other_processes:
            outcome = lab.sweep(experiment, display, engine=there.run)
        if killer:
            killer.join()
    return outcome, file.getvalue()


@contextmanager
def connected_once(address: str, tracker: Any, display: ProgressDisplay) -> Iterator[Any]:
    """As `connect`, but the connection stays for the next sweep, and its workers, which have imported all they need.

    An interrupted sweep ends it, as the command does: a cancellation that comes late would hit a worker's next task.
    """
    import ray

    from ulmfit_lab.sweep.cluster import RayCluster, is_connected

    if not ray.is_initialized():
        CONNECTION.enter_context(is_connected(address))
    cluster = RayCluster(ray, None, tracker, display)
    try:
        yield cluster
    except BaseException:
        cluster.leave()
        CONNECTION.close()
        raise


def until_a_run_is_tracked(lab: Any, condition: Callable[[], Any]) -> None:
    """Wait until a cell's run is open and the condition holds."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        if lab.tracker.runs("starts", "tiny", "RUNNING") and condition():
            return
        if len(lab.tracker.runs("starts", "tiny", "FINISHED")) == CELL_COUNT:
            raise AssertionError("all cells were finished before the condition held")
        time.sleep(0.05)
    raise AssertionError("no cell began")


def assert_whole(lab: Any, experiment: Experiment, plain: dict[tuple[str, int], float]) -> None:
    """Every cell finished once with the plain sweep's numbers, no stage made twice, nothing left open."""
    assert lab.results(experiment) == plain
    runs = lab.tracker.runs("starts", "tiny")
    assert {run.status for run in runs} <= {"FINISHED", "KILLED"}
    study = open_study(lab.home, "starts-tiny")
    finished = [run for run in runs if run.status == "FINISHED"]
    assert study.running() == {} and study.finished() == {run.fingerprint for run in finished}
    how = [(run.tags[key.removesuffix(".how")], value) for run in finished for key, value in run.tags.items()
           if key.endswith(".how")]  # fmt: skip
    computed = Counter(stage for stage, value in how if value == "computed")
    assert computed and set(computed.values()) == {1}, "a stage was trained twice"
    assert not list(lab.home.locks.glob("*.shared"))


def test_a_cluster_ends_with_the_cells_and_numbers_of_a_plain_sweep(
    lab: Any, longer: Experiment, nodes: Any, plain: dict[tuple[str, int], float]
) -> None:
    outcome, shown = swept(lab, longer, nodes[0])
    assert outcome.finished == 4 and not outcome.failures
    assert all(f"{variant}, seed {seed}: " in shown for variant, seed in plain)  # results come as they end
    assert_whole(lab, longer, plain)
    assert {run.status for run in lab.tracker.runs("starts", "tiny")} == {"FINISHED"}


def test_cells_are_run_again_whose_worker_is_killed_or_a_stage_or_a_node(
    shared: Any,
    longer: Experiment,
    nodes: Any,
    plain: dict[tuple[str, int], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sweep loses the workers of its cells, then those of stages, then a node."""
    monkeypatch.setattr("ulmfit_lab.sweep.cluster.DEATHS", 9)  # one cell may be hit every time
    cluster, workers = nodes
    shown, deaths = StringIO(), [0]

    def busy(task: str) -> list[psutil.Process]:
        return [process for worker in workers for process in at_work(raylet_of(worker), task)]

    def death_is_told() -> bool:
        return shown.getvalue().count(DIED) > deaths[-1]

    def kill() -> None:
        for task in (CELLS, STAGES):
            until_a_run_is_tracked(shared, partial(busy, task))
            for process in busy(task):
                os.kill(process.pid, signal.SIGKILL)
            until_a_run_is_tracked(shared, death_is_told)
            deaths.append(shown.getvalue().count(DIED))
        until_a_run_is_tracked(shared, lambda: bool(at_work(raylet_of(workers[1]))))
        cluster.remove_node(workers[1], allow_graceful=False)

    swept(shared, longer, cluster, kill, shown)
    workers[1] = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    assert len(deaths) == 3 and shown.getvalue().count(DIED) > deaths[-1]
    assert_whole(shared, longer, plain)
    assert any(run.status == "KILLED" for run in shared.tracker.runs("starts", "tiny"))


def test_an_interrupted_sweep_leaves_no_task_and_goes_on(
    lab: Any, longer: Experiment, nodes: Any, plain: dict[tuple[str, int], float]
) -> None:
    cluster, workers = nodes

    def interrupt() -> None:
        until_a_run_is_tracked(lab, lambda: any(at_work(raylet_of(each), STAGES) for each in workers))
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        swept(lab, longer, cluster, interrupt)
    assert "KILLED" in {run.status for run in lab.tracker.runs("starts", "tiny")}
    end = time.monotonic() + LONGEST
    while any(at_work(raylet_of(each)) for each in workers):
        assert time.monotonic() < end, "a task goes on without its sweep"
        time.sleep(0.1)
    swept(lab, longer, cluster)
    assert_whole(lab, longer, plain)


def test_a_failing_stage_fails_its_cell_with_the_reason_and_where(lab: Any, longer: Experiment, nodes: Any) -> None:
    short = {"classifier.init": "random", "classifier.epochs": 1}
    diverging = {"classifier.optimizer": "nt-asgd", "classifier.lr": 1e6, "classifier.weight_decay": 1e3}
    variants = {"random": short, "diverging": {**short, **diverging}}
    outcome, shown = swept(lab, replace(longer, baseline="random", variants=variants, seeds=(0,)), nodes[0])
    assert outcome.finished == 1 and [name for name, _ in outcome.failures] == ["diverging, seed 0"]
    assert outcome.failures[0][1].startswith("TrainingError: The loss is nan at step") and "died" not in shown
    (failed,) = lab.tracker.runs("starts", "tiny", "FAILED")
    assert failed.tags["lab.reason"] == outcome.failures[0][1]
    trace = Path(lab.tracker.client.download_artifacts(failed.run_id, "traceback.txt")).read_text(encoding="utf-8")
    assert "in check_finite" in trace


def test_a_stage_asks_for_a_gpu_where_its_network_computes_on_one() -> None:
    from ulmfit_lab.config.schema import ComputeConfig
    from ulmfit_lab.pipeline.store import Stage
    from ulmfit_lab.sweep.ray_tasks import stage_needs

    def made(**key: Any) -> Stage:
        return Stage("classifier", key, {}, lambda work: {})

    compute = ComputeConfig(device="cpu", threads=3)  # as `auto` is read in a task without a GPU
    assert stage_needs(made(compute={"device": "cuda"}), compute, None) == {"CPU": 3.0, "GPU": 1.0}
    assert stage_needs(made(compute={"device": "cuda"}), compute, 0.25) == {"CPU": 3.0, "GPU": 0.25}
    assert stage_needs(made(compute={"device": "cpu"}), compute, 0.25) == {"CPU": 3.0}
    assert stage_needs(made(digest="words"), compute, None) == {"CPU": 3.0}


def test_cells_wait_for_a_stage_that_another_is_making(lab: Any, longer: Experiment) -> None:
    from ulmfit_lab.pipeline.store import Observer, StageStore
    from ulmfit_lab.sweep.cluster import RayCluster
    from ulmfit_lab.sweep.runner import plan_sweep

    class Roomy(RayCluster):
        """Nodes for ten."""

        def room(self, compute: Any) -> int:
            return 10

    cluster, store = Roomy(None, None, lab.tracker, lab.display), StageStore(lab.home.stages)
    waiting = list(plan_sweep(longer, "tiny", None, lab.home, None, lab.tracker).todo)
    (first,) = cluster.next_ones(waiting, store)  # all four read the same tokens, which are not there yet
    cluster.running["first"] = first
    assert len(waiting) == 3 and list(cluster.next_ones(waiting, store)) == []
    for each in first.stage.inputs.values():
        store.get_or_compute(each, Observer())
    begun = [first, *cluster.next_ones(waiting, store)]
    # both seeds of "random" need no more; one "fine-tuned" makes the language model, for which the other one waits
    assert sorted(each.run_spec.variant for each in begun) == ["fine-tuned", "random", "random"]
    assert [each.run_spec.variant for each in waiting] == ["fine-tuned"]


def test_a_worker_that_does_not_see_the_home_is_an_error_that_names_it(lab: Any, longer: Experiment) -> None:
    from ulmfit_lab.sweep.ray_tasks import CellTask, compute_in_worker, run_in_worker
    from ulmfit_lab.sweep.runner import SweepContext, plan_sweep
    from ulmfit_lab.utils.errors import DataError

    planned = plan_sweep(longer, "tiny", None, lab.home, None, lab.tracker).todo[0]
    task = CellTask(
        planned, SweepContext(longer, "parent", lab.home), lab.tracker.uri, lab.home.locks / "absent", "cpu", None
    )
    with pytest.raises(DataError, match="does not share the home"):
        run_in_worker(task)
    with pytest.raises(DataError, match="does not share the home"):
        compute_in_worker(planned.stage, "run", task)
    mark = lab.home.root / "here.shared"
    mark.touch()
    with pytest.raises(DataError, match="computes on cpu, not on cuda; give --compute.device cuda"):
        compute_in_worker(planned.stage, "run", replace(task, mark=mark, device="cuda"))
    mark.unlink()


def test_no_room_no_answer_and_odd_shares_are_errors_of_one_line(lab: Any, longer: Experiment, nodes: Any) -> None:
    import ray

    from ulmfit_lab.config.schema import ComputeConfig
    from ulmfit_lab.sweep.cluster import connect

    CONNECTION.close()
    assert not ray.is_initialized()
    with connect(nodes[0].address, None, lab.tracker, lab.display, most=1) as there:
        assert there.check(ComputeConfig(device="cpu", threads=1)) == 1
    with connect(nodes[0].address, None, lab.tracker, lab.display) as there:
        assert there.check(ComputeConfig(device="cpu", threads=1)) == 2
        with pytest.raises(ConfigError, match="No node has 2 CPU"):
            there.check(ComputeConfig(device="cpu", threads=2))
        with pytest.raises(ConfigError, match="Ray chooses the GPU"):
            there.check(ComputeConfig(device="cuda:1", threads=1))
    with (
        pytest.raises(ConfigError, match="Cannot connect to a Ray cluster"),
        connect("127.0.0.1:1", None, lab.tracker, lab.display),
    ):
        pass
    with pytest.raises(ConfigError, match="fraction of one GPU"), connect("auto", 1.5, lab.tracker, lab.display):
        pass
