"""What the whole suite shares."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

ROOT = Path(__file__).parent.parent


def modules_with_shapes() -> list[str]:
    """Those whose signatures say shapes."""
    packages = (ROOT / "platform/mimlab", ROOT / "objectives/mimlab_objectives")
    files = [file for package in packages for file in package.rglob("*.py")]
    return [
        ".".join(file.relative_to(ROOT).with_suffix("").parts[1:])
        for file in files
        if "from jaxtyping import" in file.read_text()
    ]


# Every call of them is checked. Small functions without shapes, called a million times, would be
# slower for it than what they do.
install_import_hook(modules_with_shapes(), "beartype.beartype")

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that runs the suite in the background has it, and all that it starts, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where this machine's user keeps other runs is none of the tests' business.
os.environ.pop("MLFLOW_TRACKING_URI", None)


SLOW_TIMEOUT_S = 900
"""Of a slow test that names no other: several times what it takes on a quiet machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where `MIMLAB_SLOW_UNTIL` names a time (in Unix seconds), no slow test begins after it."""
    until = os.environ.get("MIMLAB_SLOW_UNTIL")
    if until and item.get_closest_marker("slow") and time.time() > float(until):
        pytest.skip("the time for slow tests is over")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products gain nothing from threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
