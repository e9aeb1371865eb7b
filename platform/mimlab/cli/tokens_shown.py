"""How token commands speak: progress while they encode, and what a store holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from mimlab.cli.bars import PLAIN_S, bar, duration

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
    rate = _Rate()
    with bar() as shown:
        task = shown.add_task("encoding", total=None)

        def draw(done: int, total: int, before: int) -> None:
            words = f"encoding, {rate.after(done, before):,.0f} images/s" if done > before else ""
            shown.update(task, description=words or "encoding", completed=done, total=total)

        yield draw


class _Rate:
    """Images per second; from the second piece on, without the time that it took to start."""

    def __init__(self) -> None:
        self._began, self._first = time.monotonic(), 0

    def after(self, done: int, before: int) -> float:
        """To be asked once after each piece."""
        now, first = time.monotonic(), self._first or before
        speed = (done - first) / max(1e-9, now - self._began)
        if not self._first:
            self._began, self._first = now, done
        return speed


def _lines(console: Console) -> Callable[[int, int, int], None]:
    rate, due = _Rate(), 0.0

    def write(done: int, total: int, before: int) -> None:
        nonlocal due
        speed = rate.after(done, before) if done > before else 0.0
        if time.monotonic() < due and done < total:
            return
        due = time.monotonic() + PLAIN_S
        words = [f"encoding: {done:,} of {total:,} images"]
        words += [f"{before:,} of them by an earlier try"] if before else []
        words += [f"{speed:,.0f} images/s"] if speed else []
        words += (
            [f"about {duration((total - done) / speed)} left"] if speed and done < total else []
        )
        console.print(", ".join(words), highlight=False, soft_wrap=True)

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
