"""Modules that have shapes and no values: built without memory, to see whether they can be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from mimlab_objectives.lean_torch import without_compiler


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Whatever is made inside is on the device `meta`, where much of PyTorch runs in Python."""
    with torch.device("meta"), without_compiler():
        yield
