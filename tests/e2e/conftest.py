"""Everything of `cluster/local`, as its own command starts it, and a browser."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from one_machine.ports import free_port

ROOT = Path(__file__).parents[2]
PICTURES = Path(os.environ.get("MIMLAB_E2E_PICTURES", ROOT / "build" / "e2e"))
WAIT_MS = 120_000
PATIENCE_S = 420.0
"""Much more than anything takes on a quiet machine."""


@dataclass(frozen=True)
class Team:
    """What a team has: a cluster, MLflow, a dashboard, and somebody who looks at them."""

    folder: Path
    dashboard: str
    mlflow: str

    def get(self, path: str) -> Any:
        """What the REST API answers."""
        with urllib.request.urlopen(f"{self.dashboard}/api/v1{path}", timeout=60) as answer:
            return json.load(answer)

    def trials(self, submission: str) -> list[dict[str, Any]]:
        return self.get(f"/submissions/{submission}")["trials"]

    def wait(self, met: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not met():
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:.0f} s"
            time.sleep(1)

    def training_nodes(self) -> list[int]:
        """Process ids of the `ray start` below which a worker trains."""
        record = json.loads((self.folder / "cluster.json").read_bytes())
        nodes = [p["pid"] for p in record["processes"] if p["name"].startswith("Ray node")]
        return [pid for pid in nodes if psutil.pid_exists(pid) and _trains(pid)]

    def kill_node(self, pid: int) -> None:
        """kill -9 of a node and everything on it, as when a machine is gone."""
        node = psutil.Process(pid)
        for process in (node, *node.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _trains(pid: int) -> bool:
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::RayTrainWorker"):
                return True
        except psutil.Error:
            continue
    return False


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    # Short, and open to PostgreSQL's own user: pytest's folders are neither.
    folder = Path(tempfile.mkdtemp(prefix="e2e"))
    folder.chmod(0o755)
    ports = {name: free_port() for name in ("ray", "jobs", "mlflow", "dashboard")}
    asked = [word for name, port in ports.items() for word in ("--port", f"{name}={port}")]
    command = [str(ROOT / "cluster" / "local" / "up"), "--folder", str(folder), *asked]
    path = os.pathsep.join(str(ROOT / root) for root in ("platform", "objectives"))
    env = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": path}
    try:
        said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
        assert said.returncode == 0, said.stdout + said.stderr
        yield Team(
            folder,
            f"http://127.0.0.1:{ports['dashboard']}",
            f"http://127.0.0.1:{ports['mlflow']}",
        )
    finally:
        down = [str(ROOT / "cluster" / "local" / "down"), "--folder", str(folder)]
        subprocess.run(down, env=env, check=False, timeout=300)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    yield opened
    context.close()


@pytest.fixture
def picture(page: Page, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps what the page shows, to be looked at."""
    PICTURES.mkdir(parents=True, exist_ok=True)

    def kept(name: str) -> None:
        page.wait_for_timeout(2000)  # figures are drawn a moment after the page
        page.screenshot(path=PICTURES / f"{name}.png")

    return kept
