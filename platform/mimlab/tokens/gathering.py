"""What a tokenizer is fitted on and described by, piece by piece, in the processes of actors.

Each piece becomes a file of the working folder, whole or not at all, so that another try finds it:

points-<piece>.safetensors    `points` of the chosen patches, in the order of rows
patches-<piece>.safetensors   `sums` (float64) and `counts` of the patches of each code
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import pyarrow as pa
import ray
import torch
from safetensors import torch as safetensors
from torch import Tensor

from mimlab.data.publishing import write_whole
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place, place_of
from mimlab.tokens.batches import Halving
from mimlab.tokens.centred import centred
from mimlab.tokens.pieces import SplitPiece
from mimlab.tokens.sample import PatchSample
from mimlab.train.pixels import normalise
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.tokenizers.base import PatchEncoder
from mimlab_objectives.tokenizers.patches import PatchMeans

CPU_BATCH, GPU_BATCH = 32, 256
"""Images at once: more only leave the caches of a CPU; a GPU that has room for fewer gets fewer."""

Stage = Literal["points", "patches"]

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Job:
    """What every piece needs to know; goes to other processes."""

    images: str
    """The data set's folder, an absolute path or a URI."""
    work: str
    """Where the files go."""
    sample: PatchSample
    threads: int
    """That decode, and of PyTorch."""
    batch: int | None = None
    """Images at once; None: as many as usually serve."""


class PieceActor(ABC):
    """An actor of the pool: keeps the tokenizer on its device from piece to piece."""

    stage: ClassVar[Stage]
    """Begins the names of its files."""

    def __init__(self, job: Job, encoder: PatchEncoder | ray.ObjectRef) -> None:
        # The pool of threads uses the cores; OpenCV's own would only contend with it.
        cv2.setNumThreads(0)
        torch.set_num_threads(job.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.job = job
        found: PatchEncoder = encoder if isinstance(encoder, PatchEncoder) else ray.get(encoder)
        self.encoder = found.eval().to(self.device)
        size = job.batch or (GPU_BATCH if self.device.type == "cuda" else CPU_BATCH)
        self.parts = Halving(size, self.encoder.label)

    @classmethod
    def file(cls, work: Place, piece: SplitPiece) -> Place:
        """Where a piece's tensors lie."""
        return work / f"{cls.stage}-{piece.name}.safetensors"

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Write the file of `piece`; gives its images, or why there is none (`failure`)."""
        piece = SplitPiece.model_validate_json(item["piece"])
        try:
            with torch.inference_mode():
                found = self.tensors(piece)
            write(self.file(place_of(self.job.work), piece), found)
        except (UserError, ParamsError, OSError) as error:
            return {**item, "images": 0, "failure": str(error)}
        return {**item, "images": piece.rows, "failure": ""}

    @abstractmethod
    def tensors(self, piece: SplitPiece) -> Tensors:
        """What is to be kept of a piece."""

    def batches(self, table: pa.Table) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Indices of the rows of a table and their normalised images, on the device.

        Those that cannot be decoded are left out.
        """
        size, threads = self.encoder.size, self.job.threads
        for seen in centred(table, size, batch=self.parts.size, threads=threads):
            yield seen.indices, normalise(torch.from_numpy(seen.pixels).to(self.device))


class PointsActor(PieceActor):
    """Gathers the points of the chosen patches."""

    stage = "points"

    def tensors(self, piece: SplitPiece) -> Tensors:
        """`points`, and how many images could not be read (`skipped`)."""
        table = piece.read(self.job.images)
        ids = table["id"].to_numpy()
        rows = np.arange(piece.first_row, piece.first_row + piece.rows)
        chosen = self.job.sample.chosen(rows, ids)
        needed = np.flatnonzero(chosen.any(axis=1))  # the others are not even decoded
        table, chosen = table.take(pa.array(needed)), torch.from_numpy(chosen[needed])
        points, skipped = [], len(needed)
        for indices, images in self.batches(table):
            found = self.parts.run(self.encoder.points, images).cpu()
            points.append(found[chosen[torch.from_numpy(indices)]].float())
            skipped -= len(indices)
        kept = torch.cat(points) if points else torch.zeros(0, 0)
        return {"points": kept, "skipped": torch.tensor([skipped])}


class PatchesActor(PieceActor):
    """Adds up the patches of each code, by a fitted tokenizer."""

    stage = "patches"

    def tensors(self, piece: SplitPiece) -> Tensors:
        """`sums` of normalised pixels, and `counts`."""
        table = piece.read(self.job.images)
        side, width = self.encoder.size // self.encoder.grid[0], self.encoder.width
        means = PatchMeans(width, side, device=self.device)
        for _, images in self.batches(table):
            means.add(images, self.parts.run(self.encoder.encode, images))
        return {"sums": means.sums.cpu(), "counts": means.counts.cpu()}


def write(place: Place, tensors: Tensors) -> None:
    """Whole or not at all."""
    content = safetensors.save({name: value.contiguous() for name, value in tensors.items()})
    write_whole(place, content)


def read(place: Place) -> Tensors:
    """What `write` wrote."""
    return safetensors.load(place.read_bytes())
