"""What tests of the objectives share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mimlab_objectives

ROOT = str(Path(mimlab_objectives.__path__[0]).parent)


@pytest.fixture(scope="session")
def said() -> Callable[[str], str]:
    """What a program prints in a new process, which nobody has imported anything into."""

    def run(program: str) -> str:
        found = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": ROOT},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    return run
