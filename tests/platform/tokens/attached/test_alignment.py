"""Every image meets the codes of its own view, crop and flip, however the store is read."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mimlab.data import segments, shards
from mimlab.data.decoding import LocalBatch
from mimlab.data.read_plan import ReadPlan
from mimlab.data.reader import read_rows
from mimlab.data.rendering import ViewSpec
from mimlab.data.segments import Place
from mimlab.data.source import ReadResources
from mimlab.data.stream import BatchStream, StreamOptions
from mimlab.data.subset import training_split
from mimlab.data.views import random_views, render
from mimlab.tokens.store import TokenStore
from mimlab.train.stored import stored_view

# Ray warns of options of its own when it makes its context.
pytestmark = [
    pytest.mark.usefixtures("ray_local"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    # Nor does it close the log of a data set when it opens another one's.
    pytest.mark.filterwarnings("ignore:.*ray-data-dataset:pytest.PytestUnraisableExceptionWarning"),
]

BATCH, SIZE, TRIAL_SEED = 8, 16, 1
RANDOM = {"crop_scale": (0.3, 1.0), "flip": 0.5}


def read(split, view, *, start=0, stop=15, world=1, decode=False) -> list[LocalBatch]:
    """The batches of every rank, ranks being threads; 15 of them are four epochs."""
    queues = [SimpleQueue() for _ in range(world)]

    def share(rank, value):
        for queue in queues if rank == 0 else ():
            queue.put(value)
        return queues[rank].get()

    def of(rank: int) -> list[LocalBatch]:
        return list(
            BatchStream(
                split,
                ReadPlan(split.rows_per_group, TRIAL_SEED, BATCH),
                view,
                start_step=start,
                stop_step=stop,
                place=Place(rank, world, lambda value: share(rank, value)),
                options=StreamOptions(resources=ReadResources(tasks=2, cpus=0.2, decode=decode)),
            )
        )

    with ThreadPoolExecutor(world) as pool:
        return [batch for batches in pool.map(of, range(world)) for batch in batches]


def view_of(store: TokenStore) -> ViewSpec:
    return ViewSpec(SIZE, store.views.augment, store.views.seed, stored=stored_view(store))


def assert_own_codes(batches, store, telling, width=60, height=48) -> None:
    """By the geometry that the store's seed gives to each sample in its epoch's view."""
    for batch in batches:
        ids, epochs = batch.ids.numpy(), batch.epochs.numpy()
        sizes = np.full_like(ids, width), np.full_like(ids, height)
        expected = telling(ids, *sizes, epochs % store.views.count, store.views)
        assert batch.stored.numpy().tolist() == expected.tolist()


@pytest.fixture
def store_of(data, write_store, views_of):
    def made(count: int, **options) -> TokenStore:
        views = views_of(count, **RANDOM)
        return TokenStore.open(write_store(data, views=views, **options), data)

    return made


@pytest.mark.parametrize(
    ("world", "decode"), [(1, False), pytest.param(2, True, marks=pytest.mark.slow), (4, False)]
)
def test_on_any_number_of_workers_wherever_images_are_decoded(
    data, store_of, telling, world, decode
):
    store = store_of(3)
    batches = read(data.split("train"), view_of(store), world=world, decode=decode)
    assert len(batches) == 15 * world
    assert {int(epoch) for batch in batches for epoch in batch.epochs} == {0, 1, 2, 3}
    assert_own_codes(batches, store, telling)


@pytest.mark.parametrize("count", [1, 2])
def test_across_the_ends_of_epochs_with_few_views(data, store_of, telling, count):
    store = store_of(count)
    batches = read(data.split("train"), view_of(store))
    # A batch holds samples of two epochs, and a task, whose window is larger, even the same one.
    assert any(len(set(batch.epochs.tolist())) == 2 for batch in batches)
    assert_own_codes(batches, store, telling)


def test_after_a_resume_in_the_middle(data, store_of, telling, monkeypatch):
    store = store_of(2)
    monkeypatch.setattr(segments, "MAX_TASKS", 2)
    whole = {b.step: b for b in read(data.split("train"), view_of(store))}
    tail = read(data.split("train"), view_of(store), start=6, world=2)
    assert_own_codes(tail, store, telling)
    for batch in tail:
        rank_of = slice(0, 4) if batch.ids[0] == whole[batch.step].ids[0] else slice(4, 8)
        expected = whole[batch.step].stored
        assert batch.stored is not None and expected is not None
        assert torch.equal(batch.stored, expected[rank_of])


def test_of_a_part_of_the_images(data, store_of, telling):
    store, part = store_of(2), training_split(data, "train", 13)
    batches = read(part, view_of(store))
    assert len({int(i) for batch in batches for i in batch.ids}) == 13
    assert_own_codes(batches, store, telling)


def test_of_the_same_images_in_other_shards(
    tmp_path, named_data, monkeypatch, write_store, views_of, telling
):
    """Another cut is another read plan: other batches, in which nothing is out of line."""
    rng = np.random.default_rng(0)
    pixels = {f"{n:03d}.png": rng.integers(0, 255, (48, 60, 3), np.uint8) for n in range(90)}
    orders, found = [], []
    for rows in (4, 2):
        monkeypatch.setattr(shards, "ROW_GROUP_ROWS", rows)
        data = named_data(tmp_path / f"rows-{rows}", {"train": pixels})
        place = write_store(data, name=f"store-{rows}", views=views_of(2, **RANDOM))
        store = TokenStore.open(place, data)
        batches = read(data.split("train"), view_of(store), stop=24)
        assert_own_codes(batches, store, telling)
        orders.append([batch.ids.tolist() for batch in batches])
        found.append(
            {
                (i, epoch % 2): codes
                for batch in batches
                for i, epoch, codes in zip(
                    batch.ids.tolist(), batch.epochs.tolist(), codes_of(batch).tolist(), strict=True
                )
            }
        )
    assert orders[0] != orders[1]
    assert found[0] == found[1]


@pytest.mark.parametrize("decode", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_replaces_an_unreadable_image_brings_its_own_codes(data, store_of, telling, decode):
    store, split = store_of(2), data.split("train")
    damage(split, bad={3, 17})
    batches = read(split, view_of(store), decode=decode)
    assert sum(batch.skipped for batch in batches) > 0
    assert not {3, 17} & {int(i) for batch in batches for i in batch.ids}
    assert_own_codes(batches, store, telling)


def damage(split, bad: set[int]) -> None:
    """Cut the files of some images."""
    for shard, entry in zip(split.shards, split.entry.shards, strict=True):
        table = pq.read_table(shard.path)
        ids, images = table["id"].to_pylist(), table["image"].to_pylist()
        cut = [image[:50] if i in bad else image for i, image in zip(ids, images, strict=True)]
        at = table.schema.get_field_index("image")
        table = table.set_column(at, "image", pa.array(cut, table.schema.field("image").type))
        pq.write_table(table, shard.path, row_group_size=entry.row_groups[0])


def codes_of(batch: LocalBatch) -> torch.Tensor:
    assert batch.stored is not None
    return batch.stored


def test_features_come_as_they_are_stored(data, write_store, views_of):
    def features(ids, *_):
        return ids[:, None, None] + np.arange(48).reshape(16, 3) / 64

    place = write_store(data, features, views=views_of(1, **RANDOM), width=3)
    batches = read(data.split("train"), view_of(TokenStore.open(place, data)), stop=4)
    for batch in batches:
        expected = features(batch.ids.numpy())
        assert codes_of(batch).shape == (BATCH, 16, 3)
        assert np.array_equal(codes_of(batch).numpy(), expected.astype(np.float16))


def test_only_the_views_of_the_epochs_at_hand_are_read(store_of):
    view = stored_view(store_of(3))
    assert view.source(np.array([4, 4])).columns == ("id", "view_1")
    assert view.source(np.array([2, 3, 3])).columns == ("id", "view_0", "view_2")


def test_crop_and_flip_are_replayed_and_pixels_too_where_both_read_the_same_size(data, store_of):
    """Each image of a batch is that which a tokenizer of 16 px has read, bit for bit."""
    store, split = store_of(2), data.split("train")
    encoded = read_rows(split, np.arange(split.num_rows))["image"].to_pylist()
    out = np.zeros((SIZE, SIZE, 3), np.uint8)
    for batch in read(split, view_of(store), stop=8):
        ids = batch.ids.numpy()
        boxes, flips = random_views(
            store.views.seed,
            ids,
            batch.epochs.numpy() % 2,
            widths=np.full_like(ids, 60),
            heights=np.full_like(ids, 48),
            augment=store.views.augment,
        )
        for image, i, box, flip in zip(batch.images, ids, boxes, flips, strict=True):
            render(encoded[i], box, flip=bool(flip), out=out)
            assert np.array_equal(image.numpy(), out)


def test_a_trials_own_seed_orders_the_reading_and_changes_no_view(data, store_of):
    store, split = store_of(1), data.split("train")
    view = view_of(store)
    pixels = {}
    for batch in read(split, view):
        for i, image in zip(batch.ids.tolist(), batch.images, strict=True):
            assert np.array_equal(pixels.setdefault(i, image), image)
    other = dataclasses.replace(view, seed=view.seed + 1)
    assert any(
        not np.array_equal(pixels[i], image)
        for batch in read(split, other, stop=3)
        for i, image in zip(batch.ids.tolist(), batch.images, strict=True)
    )
