"""What a token store holds, for people and for scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from os import PathLike

import numpy as np
from jaxtyping import Int64
from pydantic import BaseModel, ConfigDict

from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import StoredEncoder, StoredViews
from mimlab.storage.remote_path import RemotePath
from mimlab.tokens.packing import bytes_of
from mimlab.tokens.store import StoredRows, TokenStore
from mimlab.tokens.usage import perplexity_of
from mimlab_objectives.tokenizers.base import EncodedKind


class _Report(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Usage(_Report):
    """How often codes occur."""

    counts: list[int]
    """Of each code."""

    @property
    def dead(self) -> int:
        """Codes that no patch has."""
        return self.counts.count(0)

    @property
    def perplexity(self) -> float:
        """See `perplexity_of`."""
        return perplexity_of(np.array(self.counts))


class Spread(_Report):
    """What values features take."""

    mean: float
    deviation: float
    largest: float
    """Absolute value."""


class TokensInspection(_Report):
    """One token store."""

    root: str
    fingerprint: str
    images: str
    """Fingerprint of the data set."""
    verified: bool
    """Whether hashes, fingerprint and values were computed again, and found right."""
    kind: EncodedKind
    dtype: str
    shape: tuple[int, ...]
    """Of one view of one image."""
    views: StoredViews
    encoder: StoredEncoder
    rows: dict[str, int]
    """Images of each split that it has."""
    missing: int
    """Images that could not be read: zeros."""
    payload_bytes: int
    """Of one view of one image."""
    stored_bytes: float
    """The same with everything that its files hold besides."""
    usage: Usage | None
    """Of codes."""
    spread: Spread | None
    """Of features."""


def inspect_tokens(
    where: str | PathLike[str] | RemotePath,
    data: DataSet | None = None,
    *,
    verify: bool = False,
) -> TokensInspection:
    """Check a store (see `TokenStore.open`) and read all of it. Raises UserError."""
    store = TokenStore.open(where, data, verify=verify)
    rows = {name: split.rows for name, split in store.splits.items()}
    stored = sum(shard.bytes for split in store.splits.values() for shard in split.shards)
    codes = store.kind == "codes"
    return TokensInspection(
        root=str(store.root),
        fingerprint=store.fingerprint,
        images=store.manifest.images,
        verified=verify,
        kind=store.kind,
        dtype=store.dtype,
        shape=store.shape,
        views=store.views,
        encoder=store.encoder,
        rows=rows,
        missing=store.manifest.missing,
        payload_bytes=bytes_of(store.dtype, store.shape),
        stored_bytes=stored / (sum(rows.values()) * store.views.count),
        usage=Usage(counts=code_counts(store).tolist()) if codes else None,
        spread=None if codes else _spread(store.rows()),
    )


def code_counts(store: TokenStore) -> Int64[np.ndarray, " codes"]:
    """How often each code is stored."""
    counts = np.zeros(store.encoder.width, np.int64)
    for rows in store.rows():
        for codes in rows.views:
            counts += np.bincount(codes.reshape(-1), minlength=len(counts))
    return counts


def _spread(groups: Iterable[StoredRows]) -> Spread:
    count, total, squares, largest = 0, 0.0, 0.0, 0.0
    for rows in groups:
        for view in rows.views:
            values = view.astype(np.float64)
            count += values.size
            total += float(values.sum())
            squares += float(np.square(values).sum())
            largest = max(largest, float(np.abs(values).max()))
    mean = total / count
    deviation = math.sqrt(max(0.0, squares / count - mean**2))
    return Spread(mean=mean, deviation=deviation, largest=largest)
