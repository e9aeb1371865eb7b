"""The stream of batches that a train worker reads, decoded ahead of it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import cast

import pyarrow as pa
from ray.data import DataIterator

from mimlab.data.decoding import Decoder, LocalBatch, PendingBatch
from mimlab.data.manifest import Split
from mimlab.data.read_plan import ReadPlan
from mimlab.data.rendering import ViewSpec, decoded_cut
from mimlab.data.segments import Place, open_segment, segments
from mimlab.data.source import OrderError, ReadResources, unpack

CLOSE_TIMEOUT_S = 5.0


class StreamClosed(RuntimeError):
    """The stream was closed while a batch was asked of it."""


@dataclass(frozen=True)
class StreamOptions:
    """How the stream works; changes no batch."""

    threads: int = 2
    """That decode."""
    prefetch: int = 4
    """Batches that are decoded ahead."""
    resources: ReadResources = field(default_factory=ReadResources)


class BatchStream:
    """Iterates over a rank's part of the global batches [start_step, stop_step), in order.

    With several ranks each must iterate at the same pace: opening the next part of the plan is a
    collective operation (`Place.share`), called in the thread that iterates, at fixed steps.
    """

    def __init__(
        self,
        split: Split,
        plan: ReadPlan,
        view: ViewSpec,
        *,
        start_step: int,
        stop_step: int,
        place: Place | None = None,
        options: StreamOptions | None = None,
    ) -> None:
        self._split, self._plan, self._view = split, plan, view
        self._place, self._options = place or Place(), options or StreamOptions()
        if plan.batch_size < self._place.world:
            raise ValueError(f"{self._place.world} ranks cannot share batches of {plan.batch_size}")
        self._segments = segments(plan, start_step, stop_step)
        self._decoder = Decoder(split, view, seed=plan.seed, threads=self._options.threads)
        self._closed = False
        self._feeds: list[_Feed] = []
        self._open_next()

    def __iter__(self) -> Iterator[LocalBatch]:
        try:
            while self._feeds:
                feed = self._feeds[0]
                for step in feed.steps:
                    if step == feed.steps[len(feed.steps) // 2]:
                        self._open_next()
                    yield self._next_batch(feed)
                feed.close()
                self._feeds.remove(feed)
        finally:
            self.close()

    def close(self) -> None:
        """Stop everything; may be called from any thread, and more than once."""
        self._closed = True
        self._decoder.close()
        for feed in list(self._feeds):
            feed.close()

    def _next_batch(self, feed: _Feed) -> LocalBatch:
        try:
            return feed.get().result()
        except CancelledError as error:
            raise StreamClosed("the stream of batches was closed") from error

    def _open_next(self) -> None:
        """Begin to read the next segment, while the one before it is still being consumed."""
        tasks = next(self._segments, None)
        if tasks is None or self._closed:
            return
        resources = self._options.resources
        rows = open_segment(
            self._split,
            self._plan,
            tasks,
            place=self._place,
            resources=resources,
            sources=self._view.sources(self._split),
            stored=self._view.stored,
            decode=partial(decoded_cut, view=self._view) if resources.decode else None,
        )
        steps = range(tasks[0].start_step, tasks[-1].stop_step)
        feed = _Feed(
            rows, steps, rank=self._place.rank, decoder=self._decoder, ahead=self._options.prefetch
        )
        self._feeds.append(feed)
        feed.start()


class _Feed(threading.Thread):
    """Reads the rows of one segment and has them decoded, at most `ahead` batches ahead."""

    def __init__(
        self, rows: DataIterator, steps: range, *, rank: int, decoder: Decoder, ahead: int
    ) -> None:
        super().__init__(name=f"feed-{steps.start}", daemon=True)
        self.steps = steps
        self._rows, self._rank, self._decoder = rows, rank, decoder
        self._slots = threading.Semaphore(ahead)
        self._ready: SimpleQueue[PendingBatch | BaseException] = SimpleQueue()
        self._stopped = False

    def get(self) -> PendingBatch:
        """The next batch; raises what stopped the feed."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            self._ready.put(item)
            raise item
        self._slots.release()
        return item

    def close(self) -> None:
        self._stopped = True
        self._slots.release()
        self._ready.put(StreamClosed("the stream of batches was closed"))
        # Ray may hold the thread until its next block; being a daemon, it is then left behind.
        if self is not threading.current_thread() and self.is_alive():
            self.join(CLOSE_TIMEOUT_S)

    def run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._ready.put(error)

    def _read(self) -> None:
        blocks = self._rows.iter_batches(
            batch_size=None,  # pyright: ignore[reportArgumentType]  a block as it is, says Ray
            batch_format="pyarrow",
        )
        tables = cast("Generator[pa.Table]", iter(blocks))
        try:
            for step in self.steps:
                self._slots.acquire()
                if self._stopped:
                    return
                row = next(tables, None)
                if row is None:
                    raise OrderError(f"the stream of rank {self._rank} ended before batch {step}")
                self._ready.put(self._decoder.submit(unpack(row, step=step, rank=self._rank)))
        finally:
            # By the thread that ran it: ends Ray's own threads and tasks.
            tables.close()
