"""Images/s of JPEG → crop → flip → batch: mimlab's stream, a DataLoader, and the bare decoder."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import torch
from torchvision import transforms

from benchmarks.data_sets import imagenet
from benchmarks.measuring import Row, alternate, medians, rate, ratio
from mimlab.data.decoding import Decoder, PendingBatch, ViewSpec
from mimlab.data.manifest import Split
from mimlab.data.read_plan import ReadPlan
from mimlab.data.reader import read_rows
from mimlab.data.source import Cut
from mimlab.data.stream import BatchStream, StreamOptions
from mimlab.data.views import AugmentConfig

IMAGES, BATCH, SIZE, ROUNDS = 6400, 128, 224, 5
WORKERS = (1, 2, 4)
AUGMENT = AugmentConfig(crop_scale=(0.2, 1.0), flip=0.5)


class Files(torch.utils.data.Dataset):
    """The same files as torchvision's users read them."""

    def __init__(self, images: list[bytes]) -> None:
        self._images = images
        self._transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(
                    SIZE, (0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC
                ),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = PIL.Image.open(io.BytesIO(self._images[index])).convert("RGB")
        return torch.as_tensor(self._transform(image))


def run(folder: Path) -> list[Row]:
    split = imagenet(folder / "input", IMAGES)
    table = read_rows(split, np.arange(split.num_rows))
    table = table.append_column("epoch", [np.zeros(len(table), np.int64)]).combine_chunks()
    images = [image.as_py() for image in table["image"]]
    rows = []
    for workers in WORKERS:
        contestants = {
            "stream": partial(stream_rate, split, workers),
            "DataLoader": partial(loader_rate, images, workers),
            "bare decoder": partial(decoder_rate, split, table, workers),
        }
        rates = alternate(contestants, ROUNDS)
        figures = medians(rates, "images/s")
        # The targets are for as many threads as there are cores.
        asked = {"DataLoader": "≥ 1.5", "bare decoder": "≥ 0.9"} if workers == 2 else {}
        for peer in ("DataLoader", "bare decoder"):
            what = f"input, {workers} loading"
            times = ratio(rates, "stream", peer)
            rows.append(Row(what, peer, times, asked.get(peer, ""), figures))
            figures = {}
    return rows


def stream_rate(split: Split, threads: int) -> float:
    plan = ReadPlan(split.rows_per_group, 0, BATCH)
    stream = BatchStream(
        split,
        plan,
        ViewSpec(SIZE, AUGMENT, 0),
        start_step=0,
        stop_step=split.num_rows // BATCH,
        options=StreamOptions(threads=threads),
    )
    batches = iter(stream)
    next(batches)
    return rate(len(batch.ids) for batch in batches)


def loader_rate(images: list[bytes], workers: int) -> float:
    loader = torch.utils.data.DataLoader(
        Files(images), BATCH, shuffle=True, num_workers=workers, drop_last=True
    )
    batches = iter(loader)
    next(batches)
    return rate(len(batch) for batch in batches)


def decoder_rate(split: Split, table: pa.Table, threads: int) -> float:
    """What the decoding threads give where nothing else is to be done."""
    decoder = Decoder(split, ViewSpec(SIZE, AUGMENT, 0), seed=0, threads=threads)
    try:
        return rate(len(batch.result().ids) for batch in _decoded(decoder, table))
    finally:
        decoder.close()


def _decoded(decoder: Decoder, table: pa.Table) -> Iterator[PendingBatch]:
    pending: deque[PendingBatch] = deque()
    for start in range(0, len(table) - BATCH + 1, BATCH):
        part = table.slice(start, BATCH)
        columns = {name: part[name].chunk(0) for name in part.column_names}
        pending.append(decoder.submit(Cut(start // BATCH, columns)))
        if len(pending) > StreamOptions().prefetch:
            yield pending.popleft()
    yield from pending
