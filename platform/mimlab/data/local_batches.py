"""The batches of the stream, read in this process: for whoever wants a few of them without Ray."""

from __future__ import annotations

from collections.abc import Iterator

from mimlab.data.decoding import Decoder, LocalBatch
from mimlab.data.manifest import Split
from mimlab.data.read_plan import ReadPlan
from mimlab.data.rendering import ViewSpec
from mimlab.data.segments import work_of
from mimlab.data.source import rank_rows, unpack


def local_batches(
    split: Split, plan: ReadPlan, view: ViewSpec, *, start_step: int, stop_step: int, threads: int
) -> Iterator[LocalBatch]:
    """What `BatchStream` gives the only rank: the batches [start_step, stop_step), in order.

    Holds the encoded images of one window. `threads` decode.
    """
    decoder = Decoder(split, view, seed=plan.seed, threads=threads)
    try:
        for task in plan.tasks(start_step, stop_step):
            work = work_of(
                split, plan, task, sources=view.sources(split), stored=view.stored, world=1
            )
            for step, row in enumerate(rank_rows(work), task.start_step):
                yield decoder.submit(unpack(row, step=step, rank=0)).result()
    finally:
        decoder.close()
