"""How token commands speak: progress while they encode, and what a store holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from mimlab.cli.bars import bar
from mimlab.cli.progress import PLAIN_S, duration

if TYPE_CHECKING:
    from mimlab.data.sidecar import StoredViews
    from mimlab.tokens.encoding import Progress
    from mimlab.tokens.inspection import TokensInspection, Usage

BARS = " ▁▂▃▄▅▆▇█"
COLUMNS = 60
"""Of the histogram."""


@contextmanager
def encoding_progress() -> Iterator[Progress]:
    """What to call with (done, total, before): a bar on a terminal, else a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    with bar() as shown:
        task = shown.add_task("encoding", total=None)
        rate = _Rate()

        def draw(done: int, total: int, before: int) -> None:
            words = f"encoding, {rate.of(done, before)}"
            shown.update(task, description=words, completed=done, total=total)

        yield draw


class _Rate:
    """Images per second since the first call."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def per_second(self, done: int, before: int) -> float:
        return (done - before) / max(1e-9, time.monotonic() - self._began)

    def of(self, done: int, before: int) -> str:
        found = f"{before:,} found done, " if before else ""
        return found + (f"{self.per_second(done, before):,.0f} images/s" if done > before else "…")


def _lines(console: Console) -> Callable[[int, int, int], None]:
    rate, due = _Rate(), 0.0

    def write(done: int, total: int, before: int) -> None:
        nonlocal due
        if time.monotonic() < due and done < total:
            return
        due = time.monotonic() + PLAIN_S
        speed = rate.per_second(done, before)
        left = f", about {duration((total - done) / speed)} left" if done > before else ""
        line = f"encoding: {done:,} of {total:,} images, {rate.of(done, before)}{left}"
        console.print(line, highlight=False, soft_wrap=True)

    return write


def show_inspection(found: TokensInspection) -> None:
    """Print what a store holds."""
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a fingerprint is of no use in part
    for name, words in _facts(found):
        table.add_row(name, words)
    Console().print(table)


def _facts(found: TokensInspection) -> Iterator[tuple[str, str]]:
    encoder, (height, width) = found.encoder, found.encoder.grid
    checked = " (verified)" if found.verified else ""
    yield "token store", found.root
    yield "fingerprint", found.fingerprint + checked
    yield "images", ", ".join(f"{rows:,} of {name}" for name, rows in found.rows.items())
    if found.missing:
        yield "unreadable", f"{found.missing:,} images, stored as zeros"
    yield "of data set", found.images
    yield "views", _views(found.views)
    yield "encoder", f"{encoder.label} ({encoder.part}), weights {encoder.weights_sha256}"
    yield "reads", f"{encoder.size} × {encoder.size} px, {height} × {width} patches"
    yield "rendered by", found.views.renderer
    overhead = found.stored_bytes / found.payload_bytes
    yield (
        "bytes",
        f"{found.stored_bytes:,.1f} an image and view, {overhead:.3f} × the {found.payload_bytes:,}"
        f" of {found.dtype} {' × '.join(map(str, found.shape))}",
    )
    if found.usage is not None:
        yield from _usage_facts(found.usage, encoder.width)
    if found.spread is not None:
        mean, deviation, largest = (
            f"{value:.3g}"
            for value in (found.spread.mean, found.spread.deviation, found.spread.largest)
        )
        yield "values", f"mean {mean}, deviation {deviation}, largest {largest}"


def _views(views: StoredViews) -> str:
    (low, high), (narrow, wide) = views.augment.crop_scale, views.augment.crop_ratio
    return (
        f"{views.count} an image, {views.image_size} px, seed {views.seed}; crop {low:g} to "
        f"{high:g} of the area, ratio {narrow:.3g} to {wide:.3g}, flip {views.augment.flip:g}"
    )


def _usage_facts(usage: Usage, vocabulary: int) -> Iterator[tuple[str, str]]:
    most = max(usage.counts)
    yield "codes", f"{vocabulary:,}, of which {usage.dead:,} are dead"
    yield "perplexity", f"{usage.perplexity:,.1f}"
    yield "usage", f"{histogram(usage.counts)}  frequent to rare; {most:,} at most"


def histogram(counts: list[int]) -> str:
    """Counts in descending order as bars of their share of the largest, at most 60 of them.

    A bar stands for the mean of its codes; the lowest one is left to codes that occur, none to dead
    ones.
    """
    parts = np.array_split(np.sort(counts)[::-1].astype(float), min(COLUMNS, len(counts)))
    means = np.array([part.mean() for part in parts])
    heights = np.ceil(means / max(1.0, means.max()) * (len(BARS) - 1)).astype(int)
    return "".join(BARS[height] for height in heights)
