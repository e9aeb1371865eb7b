"""Batches arrive in order, with the plans that would be made on the spot."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from mimlab.data.decoding import LocalBatch
from mimlab.data.views import UnreadableImage
from mimlab.train.clock import Clock
from mimlab.train.feed import Feeder, Planner
from mimlab.train.pixels import normalise
from mimlab_objectives.masking.uniform import Random, RandomParams
from mimlab_objectives.objectives.base import Progress

CPU = torch.device("cpu")
TOTAL = 50


@pytest.fixture
def planner() -> Planner:
    return Planner(Random(RandomParams(ratio=0.5), (4, 4)), seed=3)


def local(step: int) -> LocalBatch:
    ids = torch.arange(5) + 5 * step
    pixels = torch.randint(
        0, 256, (5, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(step)
    )
    torn = (UnreadableImage(7, "torn"),) * (step % 2)
    return LocalBatch(step, ids, ids // 20, pixels, torch.zeros_like(ids), torn)


def feed_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("feed") and t.is_alive()]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_batches_arrive_in_order_and_all_of_them(planner: Planner, ahead: int) -> None:
    feeder = Feeder(planner, CPU, TOTAL, Clock(CPU))
    fed = list(feeder.feed(map(local, range(7, 20)), ahead=ahead))
    assert [f.step for f in fed] == list(range(7, 20))
    assert [f.skipped for f in fed] == [step % 2 for step in range(7, 20)]
    assert all(torch.equal(f.batch.ids, local(f.step).ids) for f in fed)
    assert all(torch.equal(f.batch.images, normalise(local(f.step).images)) for f in fed)


def test_a_plan_made_ahead_is_the_plan_made_on_the_spot(planner: Planner) -> None:
    for fed in Feeder(planner, CPU, TOTAL, Clock(CPU)).feed(map(local, range(4))):
        batch = local(fed.step)
        keys = planner.keys(batch.ids, batch.epochs)
        expected = planner.plan(keys, Progress(fed.step, fed.step / TOTAL))
        assert fed.plan is not None
        assert torch.equal(fed.keys, keys)
        assert torch.equal(fed.plan.hidden, expected.hidden)


def test_masks_follow_epoch_and_sample_not_the_batch(planner: Planner) -> None:
    ids, epochs = torch.arange(12), torch.full((12,), 2)
    whole = planner.plan(planner.keys(ids, epochs), Progress(0, 0.0)).hidden
    half = planner.plan(planner.keys(ids[6:], epochs[6:]), Progress(9, 0.5)).hidden
    assert torch.equal(whole[6:], half)
    other = planner.plan(planner.keys(ids, epochs + 1), Progress(0, 0.0)).hidden
    assert not torch.equal(whole, other)


def test_an_empty_stream_feeds_nothing(planner: Planner) -> None:
    assert list(Feeder(planner, CPU, TOTAL, Clock(CPU)).feed([])) == []


def test_closing_in_the_middle_ends_the_thread(planner: Planner) -> None:
    feed = Feeder(planner, CPU, TOTAL, Clock(CPU)).feed(map(local, itertools.count()))
    for _ in range(3):
        next(feed)
    assert isinstance(feed, Iterator)
    started = time.monotonic()
    feed.close()  # pyright: ignore[reportAttributeAccessIssue]  it is a generator
    assert time.monotonic() - started < 10
    assert feed_threads() == []


def test_an_error_of_the_stream_arrives_in_its_turn(planner: Planner) -> None:
    def broken() -> Iterator[LocalBatch]:
        yield local(0)
        yield local(1)
        raise OSError("the shard is gone")

    feed = Feeder(planner, CPU, TOTAL, Clock(CPU)).feed(broken())
    assert [next(feed).step, next(feed).step] == [0, 1]
    with pytest.raises(OSError, match="the shard is gone"):
        next(feed)
    assert feed_threads() == []
