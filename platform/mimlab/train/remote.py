"""Training as Ray Train's processes unpickle it: its controller has no use for torch and timm."""

from __future__ import annotations

from typing import Any


def train_on_worker(config: dict[str, Any]) -> None:
    """`mimlab.train.worker.train_on_worker`."""
    from mimlab.train import worker
    from mimlab_objectives.lean_torch import without_compiler

    with without_compiler():
        worker.train_on_worker(config)
