"""Token stores written by hand, whose codes say which image, view, crop and flip they belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch

from mimlab.data.augment import AugmentConfig
from mimlab.data.fingerprint import file_sha256, split_fingerprint, stored_digests
from mimlab.data.manifest import DataSet, SplitEntry
from mimlab.data.reader import read_rows
from mimlab.data.segments import Place
from mimlab.data.sidecar import (
    SIDECAR,
    VIEW_COLUMN,
    Maker,
    SidecarManifest,
    StoredEncoder,
    StoredViews,
    fingerprint_of,
)
from mimlab.data.views import random_views, renderer
from mimlab.storage import lease
from mimlab.storage.lease import Lease
from mimlab.tokens.names import ENCODER, WEIGHTS
from mimlab.tokens.packing import StoredType, packed, type_of_codes
from mimlab.tokens.store import encoder_sha256
from mimlab.train.session import Session

TELLING = 65_521
"""Codes that tell one view of one image from all others in a test."""


Values = Callable[..., np.ndarray]
"""(ids, widths, heights, numbers of views, views) → codes or features of each."""


def telling_codes(
    ids: np.ndarray,
    widths: np.ndarray,
    heights: np.ndarray,
    numbers: np.ndarray,
    views: StoredViews,
) -> np.ndarray:
    """Codes that are a hash of sample, view, box and flip; (samples, 16 tokens)."""
    boxes, flips = random_views(
        views.seed, ids, numbers, widths=widths, heights=heights, augment=views.augment
    )
    known = [ids, numbers, *boxes.T.astype(np.int64), flips.astype(np.int64)]
    mixed = np.zeros(len(ids), np.int64)
    for part in known:
        mixed = (mixed * 1_009 + part + 1) % TELLING
    return (mixed[:, None] + np.arange(16)) % TELLING


@pytest.fixture
def telling() -> Values:
    return telling_codes


@pytest.fixture
def write_store(tmp_path: Path) -> Callable[..., Path]:
    """Writes a store of a data set's views: of codes (int64 values), or features (floats)."""

    def write(
        data: DataSet,
        values: Values = telling_codes,
        *,
        name: str = "store",
        views: StoredViews,
        width: int = TELLING,
        grid: tuple[int, int] = (4, 4),
        splits: tuple[str, ...] = ("train",),
        patches: np.ndarray | None = None,
    ) -> Path:
        root = tmp_path / name
        root.mkdir()
        (root / ENCODER).write_text('{"format": "mimlab-encoder"}')
        tensors = {"codebook": np.zeros((2, 3), np.float32)}
        if patches is not None:
            tensors["patches"] = patches
        safetensors.numpy.save_file(tensors, root / WEIGHTS)
        encoder = StoredEncoder(
            label="by-hand", part="seen", weights_sha256="0" * 64, width=width, size=32, grid=grid
        )
        shape, entries = (), []
        dtype: StoredType = "uint8"
        for split in splits:
            entry, shape, dtype = _write_split(root, data, split, values, views, width)
            entries.append(entry)
        manifest = SidecarManifest(
            fingerprint=fingerprint_of(entries, views, encoder),
            images=data.fingerprint,
            kind="codes" if len(shape) == 1 else "features",
            dtype=dtype,
            shape=shape,
            num_classes=None,
            maker=Maker(text="by hand", sha256=encoder_sha256(root)),
            missing=0,
            splits=entries,
            views=views,
            encoder=encoder,
        )
        (root / SIDECAR).write_text(manifest.model_dump_json())
        return root

    return write


def _write_split(root, data, name, values, views, width):
    split = data.split(name)
    first, shards, digests = 0, [], []
    dtype: StoredType = "uint8"
    shape = ()
    for entry in split.entry.shards:
        rows = np.arange(first, first + entry.rows)
        first += entry.rows
        table = read_rows(split, rows)
        sizes = (table[side].to_numpy().astype(np.int64) for side in ("width", "height"))
        ids, (widths, heights) = table["id"].to_numpy(), sizes
        columns = {"id": pa.array(ids)}
        for number in range(views.count):
            found = values(ids, widths, heights, np.full_like(ids, number), views)
            codes = np.issubdtype(found.dtype, np.integer)
            dtype = type_of_codes(width) if codes else "float16"
            columns[VIEW_COLUMN.format(number)] = packed(found, dtype)
            shape = found.shape[1:]
        stored, path = pa.table(columns), root / entry.file
        groups = np.split(np.arange(entry.rows), np.cumsum(entry.row_groups)[:-1])
        with pq.ParquetWriter(path, stored.schema, compression="none", use_dictionary=False) as out:
            for group in groups:
                out.write_table(stored.slice(group[0], len(group)))
        digests.append(stored_digests(stored))
        size = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        shards.append(entry.model_copy(update=size))
    fingerprint = split_fingerprint(digests)
    entry = SplitEntry(name=name, rows=first, fingerprint=fingerprint, shards=shards)
    return entry, shape, dtype


def views_of(count: int = 1, *, image_size: int = 16, seed: int = 9, **augment) -> StoredViews:
    """Recorded views; by default those of the tiny study."""
    crop = {"crop_scale": (0.6, 1.0), "flip": 0.0} | augment
    return StoredViews(
        seed=seed,
        count=count,
        image_size=image_size,
        augment=AugmentConfig(**crop),
        renderer=renderer(),
    )


@pytest.fixture(name="views_of")
def _views_of() -> Callable[..., StoredViews]:
    return views_of


@pytest.fixture
def session_of(tmp_path: Path, ray_local: None, create_tiny) -> Callable[..., Session]:
    """Builds the session of the tiny study's trial, with `--set` style changes."""
    held: list[Lease] = []

    def build(*changes: str, folder: str = "study") -> Session:
        (tmp_path / folder).mkdir(exist_ok=True)
        made = create_tiny(tmp_path / folder, *changes)
        held.append(lease.acquire(made.submission))
        return Session(made.worker(held[-1].fence), made.trial, Place(), torch.device("cpu"))

    return build
