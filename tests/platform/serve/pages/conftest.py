"""A served dashboard and a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from one_machine.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium")
START_S = 240.0


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., str]]:
    """Serves a storage by `mimlab dashboard`, with these options; gives the address."""
    processes: list[subprocess.Popen[bytes]] = []

    def started(root: Path, *options: str) -> str:
        port = free_port()
        command = [sys.executable, "-P", "-m", "mimlab.cli.main", "dashboard"]
        path = os.pathsep.join(sys.path)
        process = subprocess.Popen(
            [*command, "--storage", str(root), "--port", str(port), *options],
            env=os.environ | {"PYTHONPATH": path},
        )
        processes.append(process)
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_S
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.5)
        return address

    yield started
    for process in processes:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/login", timeout=10) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()
