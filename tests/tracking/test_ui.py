"""MLflow's own pages show what a sweep found, in a real browser.

Needs a Chromium on the PATH and the Python package playwright, and is skipped without them.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ulmfit_lab.experiment.declaration import Experiment
from ulmfit_lab.report.publish import publish
from ulmfit_lab.tracking.server import PAGE_HOST, server_command

browsers = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium or google-chrome on the PATH"),
]
PATIENCE = 60.0
"""Seconds that a page may take on a busy machine."""


@dataclass
class Pages:
    """A browser's page on MLflow over a finished sweep."""

    page: Any
    address: str
    experiment: str
    parent: str
    runs: list[Any]

    def open(self, where: str, *texts: str) -> str:
        """Open a page of the experiment and wait until it shows these texts; returns all it shows."""
        return self.show(f"experiments/{self.experiment}/{where}", *texts)

    def show(self, where: str, *texts: str) -> str:
        """Open any page."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/#/{where}")
        for text in texts:
            self.page.get_by_text(text).first.wait_for(timeout=PATIENCE * 1000)
        return str(self.page.inner_text("body"))

    def keep(self, name: str) -> None:
        """Keep a picture of the page, to be looked at, where SCREENSHOTS names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png")


def free_port() -> int:
    """A port that nothing listens on."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Until the server answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"MLflow's server does not answer on {address}")


@pytest.fixture(scope="module")
def lab_of_pages(new_lab: Callable[[str], Any]) -> Any:
    """The lab whose sweep is looked at."""
    return new_lab("ui")


@pytest.fixture(scope="module")
def pages(lab_of_pages: Any, experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A finished sweep, MLflow's server on it, and a browser."""
    lab = lab_of_pages
    outcome = lab.sweep(experiment)
    results = tmp_path_factory.mktemp("results")
    publish(experiment, "tiny", {}, lab.home, None, lab.tracker, results)
    number = lab.tracker.find_experiment(experiment.name, "tiny")
    port = free_port()
    address = f"http://{PAGE_HOST}:{port}"
    command, environment = server_command(lab.home, lab.tracker.uri, "127.0.0.1", port)
    with (tmp_path_factory.mktemp("server") / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}", server)
        with browsers.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.set_default_timeout(PATIENCE * 1000)
            yield Pages(page, address, number, outcome.parent, lab.tracker.runs(experiment.name, "tiny"))
            browser.close()
    finally:
        server.terminate()
        server.communicate()


def test_the_list_of_runs_opens_on_what_was_measured(pages: Pages) -> None:
    """Every cell with its variant and its measure, best first, and no page of MLflow's to find first."""
    shown = pages.open(
        "runs?workflowType=machine_learning&viewStateShareKey=runs", "final/error", *(run.name for run in pages.runs)
    )
    pages.keep("runs")
    assert "4 matching runs" in shown
    order = sorted(pages.runs, key=lambda run: run.metrics["final/error"])
    best, worst = shown.index(order[0].name), shown.index(order[-1].name)
    assert best < worst or order[0].metrics["final/error"] == order[-1].metrics["final/error"]


def test_the_verdict_is_the_first_screen_with_table_and_figure(pages: Pages, experiment: Experiment) -> None:
    shown = pages.open(f"runs/{pages.parent}/artifacts/verdict.html?workflowType=machine_learning", "verdict.html")
    frame = pages.page.frame_locator("iframe")
    for text in (experiment.question, "are too few for a claim", "fine-tuned", "95% CI"):
        place = frame.get_by_text(text).first
        place.wait_for(timeout=PATIENCE * 1000)
        box = place.bounding_box()
        assert box and box["y"] + box["height"] < 900 and box["x"] + box["width"] <= 1400, text
    pages.keep("verdict")
    assert "Assistant" not in shown, "MLflow's assistant takes a quarter of the screen at the first visit"
    assert frame.locator("img").evaluate("picture => picture.naturalWidth") > 300
    pages.open(f"runs/{pages.parent}/artifacts", "figure.png", "runs.csv")


def test_the_page_of_the_parent_run_begins_with_the_verdict(pages: Pages, experiment: Experiment) -> None:
    page = f"runs/{pages.parent}?workflowType=machine_learning"
    pages.open(page, experiment.question, "are too few for a claim", *(run.name for run in pages.runs))
    boxes = [pages.page.get_by_text(text).first.bounding_box() for text in ("are too few for a claim", "Show more")]
    assert boxes[0] and boxes[1] and boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"], "the verdict is folded away"
    metrics = pages.page.get_by_text("mean/fine-tuned").first.bounding_box()
    assert metrics and boxes[1]["y"] < metrics["y"] < 900, "the means are on the first screen"


def test_the_first_screen_of_the_means_has_each_variant_with_its_verdict(pages: Pages) -> None:
    shown = pages.open("runs?workflowType=machine_learning&viewStateShareKey=means", "2 matching runs")
    pages.keep("means")
    assert "Assistant" not in shown and not any(run.name in shown for run in pages.runs)
    for text in ("fine-tuned, mean of 2", "random, mean of 2", "verdict", "mean", "low", "high"):
        box = pages.page.get_by_text(text, exact=True).first.bounding_box()
        assert box and box["x"] + box["width"] <= 1400 and box["y"] < 900, text


def test_a_run_tells_what_it_is_what_it_found_and_where_it_came_from(pages: Pages) -> None:
    run = next(each for each in pages.runs if each.variant == "fine-tuned")
    shown = pages.open(f"runs/{run.run_id}", run.name, "final/error", "Came from", "lab.cell")
    pages.keep("run")
    assert run.tags["lab.cell"] in shown and "Datasets" in shown
    pages.open(f"runs/{run.run_id}/model-metrics", "Add chart", "accuracy")
    pages.keep("curves")


def test_runs_are_compared_side_by_side(pages: Pages) -> None:
    chosen = [run.run_id for run in pages.runs]
    query = f"compare-runs?runs={json.dumps(chosen)}&experiments={json.dumps([pages.experiment])}"
    shown = pages.show(query, "Comparing 4 Runs", *(run.name for run in pages.runs))
    pages.keep("compare")
    assert "classifier.init" in shown and "final/error" in shown


def test_the_addresses_that_are_printed_are_these(pages: Pages, lab_of_pages: Any) -> None:
    (found,) = lab_of_pages.tracker.pages().values()
    assert list(found) == ["verdict", "means", "runs"]
    verdict = f"runs/{pages.parent}/artifacts/verdict.html"
    assert found["verdict"] == f"#/experiments/{pages.experiment}/{verdict}?workflowType=machine_learning"


def test_make_screenshots_takes_a_picture_of_each_page(pages: Pages, lab_of_pages: Any, tmp_path: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "make_screenshots.py"))
    (found,) = lab_of_pages.tracker.pages().values()
    script["take_screenshots"](pages.page, pages.address, found, tmp_path, lab_of_pages.home.root)
    for name in script["PAGES"]:
        content = (tmp_path / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 20_000
