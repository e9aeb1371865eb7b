"""Paths in a study: folders here or elsewhere, and built-in names that are no path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from mimlab.storage.remote_path import EXCLUSIVE_SCHEMES, RemotePath, checked, is_uri

BUILT_IN_IMAGES = frozenset({"digits"})
"""Data sets that `data.images` names instead of a folder."""

TIMM_WEIGHTS = "timm"
"""What `backbone.init` names instead of a path: the model's own pretrained weights."""
RANDOM_WEIGHTS = "random"
"""What a teacher's `weights` may be besides."""
TRIAL_PREFIX = "trial:"
"""Begins a `backbone.init` that names a trial."""
CONTENT_PREFIX = "sha256:"
"""Begins a `backbone.init` that is resolved: weights in the storage, by their hash."""

Address = Annotated[str, Field(min_length=1), AfterValidator(checked)]
"""A folder: a path, or a URI of a file system that pyarrow knows."""


def _held_by_one(address: str) -> str:
    """Raises ValueError where two drivers could not be kept apart."""
    if is_uri(address) and RemotePath.parse(address).scheme not in EXCLUSIVE_SCHEMES:
        raise ValueError(
            f"{address}: only paths and s3:// can hold results: elsewhere nothing keeps two "
            "drivers from writing at once"
        )
    return address


StorageAddress = Annotated[Address, AfterValidator(_held_by_one)]
"""A folder for results: a path, or a URI where a file can be created exclusively."""


def absolute(text: str, folder: Path) -> str:
    """A path made absolute from `folder`, `~` being the home; built-in names and URIs stay."""
    if text in BUILT_IN_IMAGES or is_uri(text):
        return text
    # No symbolic link is followed: the path means the same on a machine that mounts it elsewhere.
    return os.path.normpath(folder / Path(text).expanduser())


def absolute_init(text: str | None, folder: Path) -> str | None:
    """`backbone.init` with its path, if it is one, made absolute from `folder`."""
    return absolute(text, folder) if text is not None and is_init_path(text) else text


def is_init_path(text: str) -> bool:
    """Whether a `backbone.init` names a file or a folder."""
    return text != TIMM_WEIGHTS and not text.startswith((TRIAL_PREFIX, CONTENT_PREFIX))


def absolute_weights(text: str, folder: Path) -> str:
    """A teacher's `weights` with its path, if it is one, made absolute from `folder`."""
    return text if text in (RANDOM_WEIGHTS, TIMM_WEIGHTS) else absolute(text, folder)
