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


@pytest.fixture
def session_of(tmp_path: Path, ray_local: None, create_tiny) -> Callable[..., Session]:
    """Builds the session of the tiny study's trial, with `--set` style changes.

    Calling it again with the same changes goes on with the same trial, as a new worker would.
    """
    held: list[Lease] = []

    def build(*changes: str) -> Session:
        made = create_tiny(tmp_path, *changes)
        held.append(lease.acquire(made.submission))
        return Session(made.worker(held[-1].fence), made.trial, Place(), torch.device("cpu"))

    return build
