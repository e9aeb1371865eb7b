"""One local Ray for every test of the platform that needs one."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mimlab
import mimlab_objectives

_ROOTS = [str(Path(package.__path__[0]).parent) for package in (mimlab, mimlab_objectives)]

# Before Ray is imported, which reads some of these once. Where something has imported it already,
# Ray's own default, a token too, must stay: half the processes would not know of ours.
if "ray" not in sys.modules:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DATA_USE_DATASOURCE_V2", "0")


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """Ray with 4 logical CPUs, whose workers import the code that is tested here."""
    import ray

    path = os.pathsep.join([*_ROOTS, os.environ.get("PYTHONPATH", "")])
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real images, where the machine has them."""
    folder = os.environ.get("MIMLAB_TEST_DATA")
    if not folder:
        pytest.skip("MIMLAB_TEST_DATA is not set: no real images here")
    return Path(folder).resolve()
