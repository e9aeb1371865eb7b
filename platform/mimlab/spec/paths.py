"""Paths in a study: local folders, and built-in names that are no path."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

BUILT_IN_IMAGES = frozenset({"digits"})
"""Data sets that `data.images` names instead of a folder."""

TIMM_WEIGHTS = "timm"
"""What `backbone.init` names instead of a path: the model's own pretrained weights."""
TRIAL_PREFIX = "trial:"
"""Begins a `backbone.init` that names a trial."""
CONTENT_PREFIX = "sha256:"
"""Begins a `backbone.init` that is resolved: weights in the storage, by their hash."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _local(text: str) -> str:
    """`file://` taken off. Raises ValueError for other file systems."""
    if not _SCHEME.match(text):
        return text
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ValueError(f"{text} is not a local folder; only paths and file:///… work for now")
    return unquote(parts.path)


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_local)]
"""A folder of this machine, or one that every machine mounts at the same place."""


def absolute(text: str, folder: Path) -> str:
    """A path made absolute from `folder`, `~` being the home; a built-in name stays."""
    if text in BUILT_IN_IMAGES or _SCHEME.match(text):
        return text
    # No symbolic link is followed: the path means the same on a machine that mounts it elsewhere.
    return os.path.normpath(folder / Path(text).expanduser())


def absolute_init(text: str | None, folder: Path) -> str | None:
    """`backbone.init` with its path, if it is one, made absolute from `folder`."""
    if text is None or text == TIMM_WEIGHTS or text.startswith((TRIAL_PREFIX, CONTENT_PREFIX)):
        return text
    return absolute(text, folder)
