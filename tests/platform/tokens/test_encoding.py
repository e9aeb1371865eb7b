"""Every stored value is that of its own image, view, crop and flip, however it was computed."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mimlab.data.augment import AugmentConfig
from mimlab.data.manifest import DataSet
from mimlab.data.reader import read_rows
from mimlab.data.views import random_views, render
from mimlab.errors import UserError
from mimlab.storage.remote_path import RemotePath
from mimlab.tokens.encoding import EncodingResources
from mimlab.tokens.pixels import samples_of
from mimlab.tokens.plan import ViewsAsked
from mimlab.tokens.store import TokenStore
from mimlab.train.pixels import normalise

ASKED = ViewsAsked(image_size=24, count=3, seed=5, augment=AugmentConfig(crop_scale=(0.3, 1.0)))


def stored(store: TokenStore, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Ids, and values by (row, view)."""
    groups = [rows for rows in store.rows() if rows.split == split]
    values = [np.stack(rows.views, 1) for rows in groups]
    return np.concatenate([rows.ids for rows in groups]), np.concatenate(values)


def geometry(data: DataSet, split: str, view: int):
    """The table of a split, and where its images are seen."""
    table = read_rows(data.split(split), np.arange(data.split(split).num_rows))
    samples = samples_of(table.combine_chunks())
    where = random_views(
        ASKED.seed,
        samples.ids,
        np.full_like(samples.ids, view),
        widths=samples.widths,
        heights=samples.heights,
        augment=ASKED.augment,
    )
    return samples, where


def test_codes_are_those_of_the_pixels_that_render_gives(data, seen, tmp_path):
    made = seen()
    store = made.encode(data, tmp_path / "store", asked=ASKED)
    ids, codes = stored(store)
    assert store.dtype == "uint16" and list(store.splits) == ["train"]
    assert ids.tolist() == list(range(30)) and codes.shape == (30, 3, 8)
    for view in range(ASKED.count):
        samples, where = geometry(data, "train", view)
        pixels = np.zeros((len(ids), 32, 32, 3), np.uint8)
        for row, box in enumerate(where.boxes):
            render(samples.images[row], box, flip=bool(where.flips[row]), out=pixels[row])
        expected = made.encoder.encode(normalise(torch.from_numpy(pixels)))
        np.testing.assert_array_equal(codes[:, view], expected.numpy())


def test_features_say_which_image_they_are_of_and_which_part(data, seen, tmp_path):
    made = seen("features")
    store = made.encode(data, tmp_path / "s", asked=ASKED, splits=["train", "test"])
    assert store.dtype == "float16" and store.shape == (8, 3)
    for split, first in (("train", 0), ("test", 30)):
        ids, values = stored(store, split)
        for view in range(ASKED.count):
            _, (boxes, flips) = geometry(data, split, view)
            left, top, width, height = boxes.T
            across, down = np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(2) + 0.5) / 2)
            across = np.where(flips[:, None, None], 1 - across, across)
            red = 4 * (left[:, None, None] + width[:, None, None] * across - 0.5)
            green = 5 * (top[:, None, None] + height[:, None, None] * down - 0.5)
            found = values[:, view].astype(float).reshape(-1, 2, 4, 3) * 255
            assert np.abs(found[..., 2] - 6 * ids[:, None, None]).max() < 1
            assert np.abs(found[..., 0] - red).max() < 6
            assert np.abs(found[..., 1] - green).max() < 6
        assert ids[0] == first


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(
    "resources",
    [
        pytest.param(EncodingResources(workers=2, cpus=1, piece_rows=4), marks=pytest.mark.slow),
        EncodingResources(workers=1, cpus=2, piece_rows=8, batch=3),
    ],
    ids=["two actors, a row group each", "pieces of two row groups, small batches"],
)
def test_the_store_does_not_depend_on_how_it_was_computed(data, seen, tmp_path, resources):
    made = seen()
    plain = made.encode(data, tmp_path / "plain", asked=ASKED)
    other = made.encode_with_ray(data, tmp_path / "other", asked=ASKED, resources=resources)
    assert other.manifest == plain.manifest
    TokenStore.open(other.root, data, verify=True)
    assert sorted(p.name for p in (tmp_path / "other").iterdir()) == sorted(
        ["sidecar.json", "encoder.json", "encoder.safetensors"]
        + [shard.path.name for shard in data.split("train").shards]
    )


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_in_a_bucket_it_is_the_same_and_goes_on_too(data, seen, tmp_path, bucket):
    made, out = seen(), bucket.uri("stores/mine")
    plain = made.encode(data, tmp_path / "plain", asked=ASKED)
    pieces = EncodingResources(workers=1, cpus=1, piece_rows=4)

    def stop(done: int, *_: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.encode_with_ray(data, out, resources=pieces, on_progress=stop)
    reports: list[tuple[int, int, int]] = []
    other = made.encode_with_ray(
        data, out, resources=pieces, on_progress=lambda *now: reports.append(now)
    )
    assert other.manifest == plain.manifest and reports[0][0] >= 8
    TokenStore.open(out, data, verify=True)
    names = [name for name, _ in RemotePath.parse(out).entries()]
    assert names == sorted(path.name for path in (tmp_path / "plain").iterdir())


def test_views_seed_and_encoder_make_another_fingerprint(data, seen, tmp_path):
    made, other = seen(), seen(offset=1)
    changes = {
        "same": (made, ASKED),
        "seed": (made, ASKED.model_copy(update={"seed": 6})),
        "size": (made, ASKED.model_copy(update={"image_size": 32})),
        "encoder": (other, ASKED),
    }
    prints = {
        name: encoder.encode(data, tmp_path / name, asked=asked).fingerprint
        for name, (encoder, asked) in changes.items()
    }
    assert len(set(prints.values())) == len(prints)


def test_an_unreadable_image_is_zeros_and_counted(data, seen, tmp_path):
    damage(data, 17)
    made = seen("features")
    store = made.encode(data, tmp_path / "s", asked=ASKED)
    ids, values = stored(store)
    assert store.manifest.missing == 1
    assert not values[17].any() and values[np.delete(ids, 17)].any(axis=(1, 2, 3)).all()


def damage(data: DataSet, row: int) -> None:
    """Put zeros in the place of an image, in a shard whose pages are whole."""
    split = data.split("train")
    image = read_rows(split, np.array([row]))["image"][0].as_py()
    for shard, entry in zip(split.shards, split.entry.shards, strict=True):
        table = pq.read_table(str(shard.path))
        images = table["image"].to_pylist()
        if image not in images:
            continue
        images[images.index(image)] = bytes(len(image))
        number = table.schema.get_field_index("image")
        table = table.set_column(number, table.schema.field(number), [images])
        with pq.ParquetWriter(str(shard.path), table.schema) as writer:
            for start, rows in zip(
                np.cumsum([0, *entry.row_groups[:-1]]), entry.row_groups, strict=True
            ):
                writer.write_table(table.slice(start, rows), row_group_size=rows)


@pytest.mark.usefixtures("ray_local")
def test_codes_outside_of_the_vocabulary_are_refused(data, seen, tmp_path):
    made = seen()
    made.encoder.width = 256
    with pytest.raises(UserError, match=r"gave codes from .* but its vocabulary is 256"):
        made.encode_with_ray(data, tmp_path / "s")
    with pytest.raises(UserError, match=r"no sidecar\.json"):
        TokenStore.open(tmp_path / "s", data)
