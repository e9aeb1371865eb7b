"""Weights that trials start from: kept in the storage under the hash of their content."""

from __future__ import annotations

import hashlib

from mimlab.storage.store import Store


def weights_path(sha256: str) -> str:
    return f"weights/{sha256}.safetensors"


def keep_weights(store: Store, data: bytes) -> None:
    """Store a safetensors file; nothing is written where it is kept already."""
    path = weights_path(hashlib.sha256(data).hexdigest())
    if not store.exists(path):
        store.write(path, data)


def read_weights(store: Store, sha256: str) -> bytes:
    """The file of a hash. Raises FileNotFoundError, and ValueError if its content has changed."""
    data = store.read(weights_path(sha256))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{store.place(weights_path(sha256))}: its content has changed")
    return data
