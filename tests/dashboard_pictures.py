"""`make pictures`: what the dashboard looks like over a storage of real runs, for the README."""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import sync_playwright

from one_machine.ports import free_port

MAX_BYTES = 300_000
WIDTH = 1280
START_S = 240.0
SETTLED_MS = 4000
"""Until figures are drawn and pictures loaded."""


class Shot(NamedTuple):
    path: str
    height: int
    look: Literal["light", "dark"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--submission", required=True, help="with finished, probed trials")
    parser.add_argument("--trial", required=True)
    parser.add_argument("--to", type=Path, default=Path("docs"))
    asked = parser.parse_args()
    pages = {
        "submissions": Shot("/", 480, "light"),
        "comparison": Shot(f"/submissions/{asked.submission}?tab=Comparison", 1500, "light"),
        "trial": Shot(f"/trials/{asked.trial}", 825, "dark"),
    }
    port = free_port()
    command = [sys.executable, "-P", "-m", "mimlab.cli.main", "dashboard"]
    server = subprocess.Popen([*command, "--storage", asked.storage, "--port", str(port)])
    try:
        _take(f"http://127.0.0.1:{port}", pages, asked.to)
    finally:
        server.terminate()
        server.wait()


def _take(address: str, pages: dict[str, Shot], folder: Path) -> None:
    _wait_for(address)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, shot in pages.items():
            page = browser.new_page(
                viewport={"width": WIDTH, "height": shot.height},
                color_scheme=shot.look,
            )
            page.goto(f"{address}{shot.path}", timeout=60_000)
            page.wait_for_timeout(SETTLED_MS)
            data = _small(page.screenshot())
            (folder / f"dashboard-{name}.png").write_bytes(data)
            print(f"dashboard-{name}.png: {len(data):,} bytes")
            page.close()
        browser.close()


def _small(data: bytes) -> bytes:
    """The same with 256 colours. Raises ValueError where that is too large for a README."""
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").quantize(256).save(out, "PNG", optimize=True)
    if out.tell() > MAX_BYTES:
        raise ValueError(f"{out.tell():,} bytes are more than {MAX_BYTES:,}")
    return out.getvalue()


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/login", timeout=10):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    raise TimeoutError(f"{address} does not answer")


if __name__ == "__main__":
    main()
