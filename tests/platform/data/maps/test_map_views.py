"""Whatever the view, a map lies over its own image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.data.augment import AugmentConfig
from mimlab.data.decoding import Decoder, LocalBatch
from mimlab.data.manifest import DataSet
from mimlab.data.map_pixels import decode_map, encode_map
from mimlab.data.map_views import labels_view, map_views, patch_means, shares_view
from mimlab.data.reader import read_rows
from mimlab.data.rendering import Samples, ViewSpec, decoded_cut
from mimlab.data.sidecar import Sidecar
from mimlab.data.source import _pack, unpack
from mimlab.data.views import render
from mimlab.errors import UserError

SIZE, PATCH, COUNT = 16, 4, 30
GRID = SIZE // PATCH


def grey_of(index: int) -> np.ndarray:
    """(height, width): a smooth pattern of its own size, which names its image and its place."""
    height, width = 40 + 3 * (index % 4), 44 + 5 * (index % 3)
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x / (5 + index % 7) + index) + np.cos(y / (6 + index % 5) - index)
    return np.rint(127.5 + 60 * waves).astype(np.uint8)


def name_of(index: int) -> str:
    return f"{index:03d}.png"


@pytest.fixture
def data(tmp_path: Path, named_data: Callable[..., DataSet]) -> DataSet:
    """Images that are their own maps."""
    return named_data(tmp_path / "data", {"train": {name_of(i): grey_of(i) for i in range(COUNT)}})


@pytest.fixture
def prior(data: DataSet, sidecar_of: Callable[..., Sidecar]) -> Sidecar:
    return sidecar_of(data, "prior", "map", {name_of(i): grey_of(i) for i in range(COUNT)})


def view_of(sidecars: dict[str, Sidecar], crop_scale=(0.3, 1.0)) -> ViewSpec:
    augment = AugmentConfig(crop_scale=crop_scale)
    return ViewSpec(SIZE, augment, seed=5, maps=map_views(sidecars, PATCH))


def batch_of(data: DataSet, view: ViewSpec, *, tasks: bool = False, epoch: int = 0) -> LocalBatch:
    """All images in a shuffled order, decoded by the worker or as tasks do it."""
    split = data.split("train")
    rows = np.random.default_rng(epoch).permutation(split.num_rows)
    table = read_rows(split, rows, view.sources(split))
    epochs = np.full(len(rows), epoch)
    row = _pack(table.append_column("epoch", [epochs]).combine_chunks(), 3, 0)
    if tasks:
        row = decoded_cut(row, view)
    decoder = Decoder(split, view, seed=1, threads=2)
    try:
        return decoder.submit(unpack(row, step=3, rank=0)).result()
    finally:
        decoder.close()


def maps_of(batch: LocalBatch, name: str) -> torch.Tensor:
    assert batch.maps is not None
    return batch.maps[name]


def patches(images: torch.Tensor) -> torch.Tensor:
    """Mean of each patch of the first channel, (batch, tokens)."""
    grey = images[..., 0].double() / 255
    tiles = grey.reshape(len(images), GRID, PATCH, GRID, PATCH)
    return tiles.mean((2, 4)).flatten(1)


@pytest.mark.parametrize("epoch", range(4))
def test_a_map_meets_its_own_image_under_every_crop_and_flip(
    data: DataSet, prior: Sidecar, epoch: int
) -> None:
    """The images are their own maps, so what arrives must be the same picture twice."""
    batch = batch_of(data, view_of({"prior": prior}), epoch=epoch)
    found = maps_of(batch, "prior")
    assert found.dtype == torch.float32 and found.shape == (COUNT, GRID**2)
    # Both shrink the same crop by the same function; images round to whole levels.
    assert (found - patches(batch.images)).abs().max() < 0.5 / 255 + 1e-3
    others = (found[:, None] - patches(batch.images)[None]).abs().mean(-1)
    assert (others.argmin(1) == torch.arange(COUNT)).all()


def test_decoding_in_tasks_changes_nothing(
    data: DataSet, prior: Sidecar, sidecar_of: Callable[..., Sidecar]
) -> None:
    labels = {name_of(i): grey_of(i) // 16 for i in range(COUNT)}
    view = view_of({"prior": prior, "seg": sidecar_of(data, "seg", "labels_map", labels)})
    here, there = batch_of(data, view), batch_of(data, view, tasks=True)
    assert torch.equal(here.ids, there.ids) and torch.equal(here.images, there.images)
    assert maps_of(here, "seg").dtype == torch.uint8
    assert maps_of(here, "seg").shape == (COUNT, SIZE, SIZE)
    for name in ("prior", "seg"):
        assert torch.equal(maps_of(here, name), maps_of(there, name))


def test_labels_are_never_mixed_and_lie_where_the_image_does(
    data: DataSet, sidecar_of: Callable[..., Sidecar]
) -> None:
    """The label of a pixel is its grey level in four steps, 0, 80, 160 and 240."""
    labels = {name_of(i): grey_of(i) // 64 * 80 for i in range(COUNT)}
    batch = batch_of(data, view_of({"seg": sidecar_of(data, "seg", "labels_map", labels)}))
    found = maps_of(batch, "seg")
    assert set(found.unique().tolist()) <= {0, 80, 160, 240}
    level = batch.images[..., 0] // 64 * 80
    inside = (batch.images[..., 0] % 64 > 12) & (batch.images[..., 0] % 64 < 52)
    assert (found == level)[inside].float().mean() > 0.97


def test_without_sidecars_there_are_no_maps(data: DataSet) -> None:
    assert batch_of(data, view_of({})).maps is None


def test_an_image_without_a_map_has_nan_and_without_labels_255(
    data: DataSet, sidecar_of: Callable[..., Sidecar]
) -> None:
    some = {name_of(i): grey_of(i) // 2 for i in range(COUNT) if i % 3}
    sidecars = {
        name: sidecar_of(data, name, kind, some, allow_missing=True)
        for name, kind in (("prior", "map"), ("seg", "labels_map"))
    }
    batch = batch_of(data, view_of(sidecars))
    without = batch.ids % 3 == 0
    assert torch.equal(maps_of(batch, "prior").isnan().all(1), without)
    assert torch.equal(maps_of(batch, "prior").isnan().any(1), without)
    assert torch.equal((maps_of(batch, "seg") == 255).flatten(1).all(1), without)


@pytest.mark.parametrize("tasks", [False, True])
def test_an_unreadable_image_is_replaced_with_its_map(
    data: DataSet, prior: Sidecar, tasks: bool
) -> None:
    assert isinstance(data.root, Path) and isinstance(prior.root, Path)
    spoil(data.root / "train-00001-of-00003.parquet", "image", row=4)
    spoil(prior.root / "train-00000-of-00003.parquet", "map", row=2)
    batch = batch_of(data, view_of({"prior": prior}), tasks=tasks)
    assert batch.skipped == 2
    assert not {16, 2} & set(batch.ids.tolist())
    assert (maps_of(batch, "prior") - patches(batch.images)).abs().max() < 0.5 / 255 + 1e-3


def spoil(path: Path, column: str, row: int) -> None:
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = b"nothing"
    position = table.schema.get_field_index(column)
    field = table.schema.field(position)
    pq.write_table(table.set_column(position, field, [values]), path)


def test_a_sidecar_of_other_samples_is_refused_by_name(data: DataSet, prior: Sidecar) -> None:
    assert isinstance(prior.root, Path)
    path = prior.root / "train-00000-of-00003.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([1, 0, *range(2, 12)]), path)
    with pytest.raises(UserError, match=r"sidecar prior has other samples than the images"):
        batch_of(data, view_of({"prior": prior}))


def sampled() -> st.SearchStrategy[tuple]:
    """A random image size, a box within it, and a flip."""
    side = st.integers(20, 60)
    return side.flatmap(
        lambda height: side.flatmap(
            lambda width: st.tuples(
                st.just((height, width)),
                st.integers(0, width - 17).flatmap(
                    lambda x: st.tuples(st.just(x), st.integers(16, width - x))
                ),
                st.integers(0, height - 17).flatmap(
                    lambda y: st.tuples(st.just(y), st.integers(16, height - y))
                ),
                st.booleans(),
            )
        )
    )


@given(case=sampled(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_map_is_rendered_as_an_image_would_be(case, seed: int) -> None:
    """Of boxes that do not grow, where both are averaged or interpolated linearly."""
    (height, width), (left, across), (top, down), flip = case
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    box = np.array([left, top, across, down], np.int32)
    out = np.zeros((SIZE, SIZE, 3), np.uint8)
    render(encode_map(pixels), box, flip=flip, out=out)
    if max(across, down) > SIZE:
        found = shares_view(pixels, box, full=(width, height), flip=flip, size=SIZE)
        assert np.abs(found * 255 - out[..., 0]).max() <= 1
    labels = labels_view(pixels, box, full=(width, height), flip=flip, size=SIZE)
    columns = left + ((np.arange(SIZE) + 0.5) * across / SIZE).astype(int)
    rows = top + ((np.arange(SIZE) + 0.5) * down / SIZE).astype(int)
    expected = pixels[rows][:, columns]
    assert (labels == (expected[:, ::-1] if flip else expected)).mean() > 0.98


@given(
    scale=st.sampled_from([0.25, 0.5, 2, 3]),
    left=st.integers(0, 20),
    top=st.integers(0, 20),
    flip=st.booleans(),
)
def test_a_map_of_another_size_covers_the_same_image(
    scale: float, left: int, top: int, flip: bool
) -> None:
    """A slope over the whole image is the same slope at any size."""
    full, box = (64, 48), np.array([left, top, 40, 24], np.int32)

    def slope(width: int) -> np.ndarray:
        values = (np.arange(width) + 0.5) / width
        return np.rint(np.tile(values, (round(48 * scale), 1)) * 65535).astype(np.uint16)

    found = shares_view(slope(round(64 * scale)), box, full=full, flip=flip, size=SIZE)
    place = left + (np.arange(SIZE) + 0.5) * 40 / SIZE
    expected = (place / 64)[:: -1 if flip else 1]
    inside = slice(2, -2) if left in (0, 1, 2) else slice(None)  # a coarse map ends half a pixel in
    assert np.abs(found - expected).max(axis=0)[inside].max() < 0.02


def test_means_are_taken_over_patches_row_by_row() -> None:
    values = np.kron(np.arange(4, dtype=np.float32).reshape(2, 2), np.ones((3, 3), np.float32))
    values[0, 0] += 9
    assert patch_means(values, 3).tolist() == [1, 1, 2, 3]


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([np.uint8, np.uint16]))
def test_pixels_are_kept_exactly(height: int, width: int, dtype: type) -> None:
    top = int(np.iinfo(dtype).max)
    pixels = np.random.default_rng(height).integers(0, top, (height, width), dtype, endpoint=True)
    assert (decode_map(encode_map(pixels)) == pixels).all()
    assert decode_map(encode_map(pixels)).dtype == dtype


def test_samples_know_their_maps_by_the_sidecars_name(data: DataSet, prior: Sidecar) -> None:
    split, view = data.split("train"), view_of({"prior": prior})
    table = read_rows(split, np.array([7, 3]), view.sources(split))
    columns = {name: table[name].chunk(0) for name in table.column_names}
    samples = Samples.of(columns | {"epoch": columns["id"]})
    assert samples.ids.tolist() == [7, 3]
    assert (decode_map(samples.maps["prior"][1]) == grey_of(3)).all()
