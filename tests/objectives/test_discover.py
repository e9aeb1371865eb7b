"""Threads of a server that ask at once for everything that is registered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mimlab_objectives

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
import mimlab_objectives
def found(_):
    mimlab_objectives.discover()
    from mimlab_objectives.recipes.base import recipes
    return len(list(recipes))
with ThreadPoolExecutor(4) as pool:
    counts = set(pool.map(found, range(4)))
assert len(counts) == 1 and min(counts) > 20, counts
"""


def test_each_of_them_finds_all_of_it() -> None:
    root = str(Path(mimlab_objectives.__path__[0]).parent)
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
