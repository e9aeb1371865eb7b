"""Training sessions of a tiny study, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mimlab.data.segments import Place
from mimlab.storage import lease
from mimlab.storage.lease import Lease
from mimlab.train.session import Session

Build = Callable[..., Session]


@pytest.fixture(scope="session")
def sessions_in(ray_local: None, create_tiny) -> Callable[[Path], Build]:
    """Builds the session of the tiny study's trial in a folder, with `--set` style changes.

    Calling it again with the same changes goes on with the same trial, as a new worker would.
    """
    held: list[Lease] = []

    def in_folder(folder: Path) -> Build:
        def build(*changes: str) -> Session:
            made = create_tiny(folder, *changes)
            held.append(lease.acquire(made.submission))
            return Session(made.worker(held[-1].fence), made.trial, Place(), torch.device("cpu"))

        return build

    return in_folder


@pytest.fixture
def session_of(tmp_path: Path, sessions_in: Callable[[Path], Build]) -> Build:
    """The same in a folder of the test's own."""
    return sessions_in(tmp_path)
