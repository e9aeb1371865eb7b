from __future__ import annotations

import dataclasses
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mimlab.data import segments
from mimlab.data.augment import AugmentConfig
from mimlab.data.decoding import LocalBatch
from mimlab.data.map_pixels import encode_map
from mimlab.data.map_views import MapView
from mimlab.data.read_plan import ReadPlan
from mimlab.data.reader import ColumnSource
from mimlab.data.rendering import ViewSpec
from mimlab.data.segments import Place
from mimlab.data.source import ReadResources
from mimlab.data.stream import BatchStream, StreamClosed, StreamOptions
from mimlab.data.views import UnreadableImage, random_views, render

# Ray warns of options of its own when it makes its context.
pytestmark = [
    pytest.mark.usefixtures("ray_local"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    # Nor does it close the log of a data set when it opens another one's.
    pytest.mark.filterwarnings("ignore:.*ray-data-dataset:pytest.PytestUnraisableExceptionWarning"),
]

VIEW = ViewSpec(16, AugmentConfig(), 5)
BATCH = 10


def stream_of(
    split, *, start=0, stop=30, place: Place | None = None, view: ViewSpec = VIEW, **options
) -> BatchStream:
    options.setdefault("resources", ReadResources(tasks=2, cpus=0.2))
    return BatchStream(
        split,
        ReadPlan(split.rows_per_group, 1, BATCH),
        view,
        start_step=start,
        stop_step=stop,
        place=place,
        options=StreamOptions(**options),
    )


class Exchange:
    """What rank 0 passes reaches every rank, as threads of one process."""

    def __init__(self, world: int) -> None:
        self.queues = [SimpleQueue() for _ in range(world)]

    def place(self, rank: int) -> Place:
        return Place(rank, len(self.queues), lambda value: self._share(rank, value))

    def _share(self, rank: int, value):
        if rank == 0:
            for queue in self.queues:
                queue.put(value)
        return self.queues[rank].get()


def read(split, *, world: int = 1, **options) -> list[list[LocalBatch]]:
    """Every rank's batches; ranks are threads here."""
    if world == 1:
        return [list(stream_of(split, **options))]
    exchange = Exchange(world)
    with ThreadPoolExecutor(world) as pool:
        return list(
            pool.map(
                lambda rank: list(stream_of(split, place=exchange.place(rank), **options)),
                range(world),
            )
        )


def joined(ranks: list[list[LocalBatch]]) -> dict[int, LocalBatch]:
    """The global batches, ranks one after the other."""
    parts = defaultdict(list)
    for batches in ranks:
        for batch in batches:
            parts[batch.step].append(batch)
    return {
        step: LocalBatch(
            step,
            *(
                torch.cat([getattr(part, name) for part in same])
                for name in ("ids", "epochs", "images", "labels")
            ),
            unreadable=tuple(image for part in same for image in part.unreadable),
        )
        for step, same in parts.items()
    }


def assert_equal(left: dict[int, LocalBatch], right: dict[int, LocalBatch]) -> None:
    assert list(left) == list(right)
    for step in left:
        for name in ("ids", "epochs", "images", "labels"):
            assert torch.equal(getattr(left[step], name), getattr(right[step], name)), (step, name)
        assert left[step].skipped == right[step].skipped


@pytest.fixture(scope="module")
def split(split_in, pictures, tmp_path_factory):
    """Nobody changes it."""
    return split_in(tmp_path_factory.mktemp("split"), pictures)


@pytest.fixture(scope="module")
def whole(split, ray_local):
    """All of its batches, as one rank reads them."""
    return joined(read(split))


def test_batches_are_those_of_the_plan_rendered(split, whole):
    plan = ReadPlan(split.rows_per_group, 1, BATCH)
    assert list(whole) == list(range(30))
    for step, batch in whole.items():
        rows, epochs = plan.batch(step)
        assert batch.ids.tolist() == rows.tolist()
        assert batch.epochs.tolist() == epochs.tolist()
        assert batch.labels.tolist() == [i % 10 if i % 7 else -1 for i in rows]
        assert batch.skipped == 0


def test_images_are_the_rendered_views_of_their_samples(split, pictures):
    (batch,) = read(split, start=17, stop=18)[0]
    ids, epochs = batch.ids.numpy(), batch.epochs.numpy()
    widths, heights = np.array([20 + i % 5 for i in ids]), np.full(BATCH, 24)
    views = random_views(
        VIEW.seed, ids, epochs, widths=widths, heights=heights, augment=VIEW.augment
    )
    out = np.zeros((16, 16, 3), np.uint8)
    for image, sample, box, flip in zip(batch.images, ids, *views, strict=True):
        render(pictures[sample], box, flip=bool(flip), out=out)
        assert (image.numpy() == out).all()


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_global_batches_are_the_same_on_any_number_of_workers(split, whole, world):
    ranks = read(split, world=world)
    sizes = [len(part) for part in np.array_split(np.arange(BATCH), world)]
    assert [len(batches[0].ids) for batches in ranks] == sizes
    assert_equal(joined(ranks), whole)


@pytest.mark.parametrize("start", [1, 13])
def test_a_stream_that_starts_later_is_the_tail(split, whole, start):
    tail = {step: whole[step] for step in range(start, 30)}
    assert_equal(tail, joined(read(split, start=start)))


def test_threads_prefetching_and_reading_tasks_change_nothing(split, whole):
    other = {"threads": 1, "prefetch": 1, "resources": ReadResources(tasks=4, cpus=1.0)}
    first = {step: whole[step] for step in range(12)}
    assert_equal(first, joined(read(split, stop=12, **other)))


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_decoding_in_tasks_changes_nothing(split_of, pictures, world):
    split = split_of([data[:50] if i in {4, 33} else data for i, data in enumerate(pictures)])
    resources = ReadResources(tasks=2, cpus=0.2, decode=True)
    there = joined(read(split, world=world, stop=12, resources=resources))
    assert sum(batch.skipped for batch in there.values()) > 0
    assert_equal(joined(read(split, stop=12)), there)


@pytest.mark.parametrize("world", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_maps_come_with_their_images_wherever_they_are_decoded(split_of, pictures, tmp_path, world):
    """The map of each sample holds its id; some images are unreadable, hence replaced."""
    split = split_of([data[:50] if i in {4, 33} else data for i, data in enumerate(pictures)])
    beside = tmp_path / "maps"
    beside.mkdir()
    for shard in split.shards:
        ids = pq.read_table(shard.path, columns=["id"])["id"].to_pylist()
        maps = [encode_map(np.full((6, 6), i, np.uint8)) for i in ids]
        table = pa.table({"id": ids, "map": pa.array(maps, pa.binary())})
        pq.write_table(table, beside / shard.path.name, row_group_size=4)
    source = ColumnSource(str(beside), ("id", "map"), sidecar="prior")
    views = (
        MapView(source, labels=False, patch_size=4),
        MapView(dataclasses.replace(source, sidecar="seg"), labels=True, patch_size=4),
    )
    view = dataclasses.replace(VIEW, maps=views)
    for decode in (False, True):
        resources = ReadResources(tasks=2, cpus=0.2, decode=decode)
        ranks = read(split, world=world, stop=12, view=view, resources=resources)
        batches = [batch for part in ranks for batch in part]
        assert sum(batch.skipped for batch in batches) > 0
        for batch in batches:
            assert batch.maps is not None
            ids = batch.ids[:, None].float()
            assert torch.allclose(batch.maps["prior"] * 255, ids.expand(-1, 16), atol=1e-3)
            assert (batch.maps["seg"] == batch.ids[:, None, None]).all()


@pytest.mark.parametrize("world", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_segments_follow_each_other_without_a_seam(split, whole, world, monkeypatch):
    monkeypatch.setattr(segments, "MAX_TASKS", 2)
    assert_equal(whole, joined(read(split, world=world)))


def test_no_steps_are_no_batches(split):
    assert read(split, start=7, stop=7) == [[]]


def test_an_unreadable_image_is_replaced_by_the_same_one_on_any_number_of_workers(
    split_of, pictures
):
    damaged = {4, 5, 33, 71}
    images = [data[:50] if i in damaged else data for i, data in enumerate(pictures)]
    split = split_of(images)
    alone, shared = joined(read(split)), joined(read(split, world=2))
    assert_equal(alone, shared)
    plan = ReadPlan(split.rows_per_group, 1, BATCH)
    for step, batch in alone.items():
        rows, _ = plan.batch(step)
        bad = np.isin(rows, list(damaged))
        assert batch.skipped == bad.sum()
        assert {image.sample_id for image in batch.unreadable} == set(rows[bad].tolist())
        assert (batch.ids.numpy()[~bad] == rows[~bad]).all()
        assert not np.isin(batch.ids.numpy(), list(damaged)).any()
        assert batch.labels.tolist() == [i % 10 if i % 7 else -1 for i in batch.ids.tolist()]
    replacements = [b.ids.numpy()[plan.batch(s)[0] == 4].tolist() for s, b in alone.items()]
    assert len({tuple(found) for found in replacements if found}) > 1  # another one each epoch


def test_a_data_set_of_damaged_images_ends_the_stream(split_of):
    with pytest.raises(UnreadableImage, match=r"image \d+ cannot be read.*nor can 8 others"):
        read(split_of([b"nothing"] * 20))


def test_what_goes_wrong_while_reading_reaches_the_consumer(split_of, pictures):
    split = split_of(pictures)
    split.shards[3].path.unlink()
    with pytest.raises(Exception, match=split.shards[3].path.name):
        read(split)


def test_a_stream_can_be_left_and_closed_at_any_time(split):
    stream = stream_of(split, stop=100_000)
    for batch in stream:
        if batch.step == 3:
            break
    start = time.perf_counter()
    stream.close()
    stream.close()
    assert time.perf_counter() - start < 5
    _wait_until(lambda: not [name for name in _threads() if "feed" in name or "decode" in name])


def test_a_waiting_consumer_is_freed_when_another_thread_closes(split):
    stream = stream_of(split, stop=100_000)
    threading.Timer(1.0, stream.close).start()
    with pytest.raises(StreamClosed):
        for _ in stream:
            pass


def test_more_ranks_than_samples_of_a_batch_are_refused(split):
    with pytest.raises(ValueError, match="11 ranks cannot share batches of 10"):
        stream_of(split, place=Place(0, 11))


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def _wait_until(condition, timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
