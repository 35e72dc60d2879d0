"""Take the pictures of the documentation from the finished demo: its figure and MLflow's pages of it.

Its runs are copied beside the pictures, so that a test can compare the README with them.

    ulmfit-lab sweep demo --scale demo && make screenshots

Needs Chromium or Chrome on the PATH, and the package playwright (requirements-dev.lock).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ulmfit_lab.tracking.server import PAGE_HOST, server_command
from ulmfit_lab.tracking.tracker import open_tracker
from ulmfit_lab.utils.home import open_home

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
REPORT = ROOT / "results" / "demo" / "demo"
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
PAGES = {"verdict": "verdict.html", "means": "matching runs", "runs": "matching runs"}
"""Name of a page and of its picture -> text that it shows when it is loaded."""
SECONDS = 60.0


def wait_for(address: str) -> None:
    """Wait until the server answers; exits if it does not."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        time.sleep(0.3)
    sys.exit(f"MLflow's server does not answer on {address}.")


def take_screenshots(page: Any, address: str, pages: dict[str, str], folder: Path, home: Path) -> None:
    """Save a picture of each page of MLflow to a folder; paths are shown relative to the home.

    page: of playwright
    """
    for name, text in PAGES.items():
        page.goto("about:blank")
        page.goto(f"{address}/{pages[name]}")
        page.get_by_text(text).first.wait_for(timeout=SECONDS * 1000)
        page.wait_for_timeout(2000)  # rows and columns appear one after the other
        for line in page.get_by_text(str(home)).all():
            line.evaluate("(node, home) => { node.textContent = node.textContent.replace(home, '') }", f"{home}/")
        page.screenshot(path=str(folder / f"{name}.png"))


def main() -> None:
    """Take all pictures."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"No browser is on the PATH ({', '.join(BROWSERS)}); install one, such as Debian's package chromium.")
    home = open_home(None)
    tracker = open_tracker(home)
    pages = tracker.pages().get("demo (demo)", {})
    if not PAGES.keys() <= pages.keys() or not REPORT.is_dir():
        sys.exit(f"{home.root} has no finished demo; run it: ulmfit-lab sweep demo --scale demo")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command, environment = server_command(home, tracker.uri, "127.0.0.1", port)
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}")
            with sync_playwright() as playwright:
                opened = playwright.chromium.launch(executable_path=browser, headless=True, args=["--no-sandbox"])
                page = opened.new_page(viewport={"width": 1400, "height": 800})
                take_screenshots(page, f"http://{PAGE_HOST}:{port}", pages, IMAGES, home.root)
                opened.close()
        finally:
            server.terminate()
    shutil.copyfile(REPORT / "figure.png", IMAGES / "demo.png")
    shutil.copyfile(REPORT / "runs.csv", IMAGES / "demo_runs.csv")
    print("\n".join(str(IMAGES / f"{name}.png") for name in ("demo", *PAGES)))


if __name__ == "__main__":
    main()
