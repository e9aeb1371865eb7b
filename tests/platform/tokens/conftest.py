"""Images whose pixels say which image and where they are, and encoders that read it off them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.numpy
import torch
from jaxtyping import Float
from ray import cloudpickle
from torch import Tensor

from mimlab.data import shards
from mimlab.data.augment import AugmentConfig
from mimlab.data.manifest import DataSet
from mimlab.tokens.encoding import encode_images
from mimlab.tokens.finishing import finish
from mimlab.tokens.names import ENCODER, WEIGHTS
from mimlab.tokens.plan import EncodingPlan, ViewsAsked
from mimlab.tokens.store import TokenStore, encoder_sha256
from mimlab.tokens.unfinished import unfinished
from mimlab.tokens.worker import Job, PieceWorker
from mimlab_objectives.images import to_unit
from mimlab_objectives.registry import Params
from mimlab_objectives.tokenizers.base import EncodedKind, PatchEncoder, patch_encoders

WIDTH, HEIGHT = 60, 48
TRAIN, TEST = 30, 7
GRID = (2, 4)
LEVELS = 16
ASKED = ViewsAsked(image_size=24, count=3, seed=5, augment=AugmentConfig(crop_scale=(0.3, 1.0)))


class SeenParams(Params):
    """None but what tells two apart."""

    offset: int = 0
    """Added to every code, modulo the vocabulary."""


class SeenFeatures(PatchEncoder):
    """Mean red, green and blue of each patch, in [0, 1]."""

    kind: ClassVar[EncodedKind] = "features"
    size, width = 32, 3

    @property
    def label(self) -> str:
        return "seen"

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch 3 size size"]) -> Tensor:
        rows, columns = self.grid
        cells = to_unit(images).unflatten(2, (rows, -1)).unflatten(4, (columns, -1))
        return cells.mean((3, 5)).flatten(2).transpose(1, 2)


class SeenCodes(SeenFeatures):
    """The same in 16 levels each, as one code."""

    kind: ClassVar[EncodedKind] = "codes"
    width = LEVELS**3

    def encode(self, images: Float[Tensor, "batch 3 size size"]) -> Tensor:
        levels = (super().encode(images) * (LEVELS - 1)).round().long()
        offset = self.params.offset  # pyright: ignore[reportAttributeAccessIssue]
        return ((levels * torch.tensor([LEVELS**2, LEVELS, 1])).sum(-1) + offset) % LEVELS**3


def register(kind: type[PatchEncoder]) -> type[PatchEncoder]:
    """Once, although each test file's collection imports this."""
    name = kind.__name__.lower()
    if name not in patch_encoders:
        patch_encoders.register(name, params=SeenParams, paper="none")(kind)
    return patch_encoders[name].part


def picture(number: int) -> np.ndarray:
    """Red grows to the right, green downwards, and blue is the image's own."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0] = 4 * np.arange(WIDTH)
    pixels[..., 1] = 5 * np.arange(HEIGHT)[:, None]
    pixels[..., 2] = 6 * number
    return pixels


@pytest.fixture
def data(
    tmp_path: Path, named_data: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch
) -> DataSet:
    """30 images to train on and 7 others; a shard has 12 rows in 3 row groups."""
    monkeypatch.setattr(shards, "ROW_GROUP_ROWS", 4)
    numbers = {"train": range(TRAIN), "test": range(TRAIN, TRAIN + TEST)}
    return named_data(
        tmp_path / "data",
        {
            split: {f"{split}/{number:03d}.png": picture(number) for number in members}
            for split, members in numbers.items()
        },
    )


def given(encoder: PatchEncoder, saved: str, folder: str) -> PatchEncoder:
    """As every process loads it; nothing that goes to them may name the registry, and with it parts
    of modules that they do not have."""
    assert folder == saved
    return encoder


class Seen:
    """An encoder, and the folder where it is saved."""

    def __init__(self, folder: Path, encoder: PatchEncoder, offset: int) -> None:
        self.encoder = encoder
        self.folder = folder
        folder.mkdir()
        (folder / ENCODER).write_text(f'{{"offset": {offset}}}')
        patches = {"patches": np.full((SeenCodes.width, 3 * 8 * 16), offset, np.float32)}
        safetensors.numpy.save_file(patches, folder / WEIGHTS)

    def encode_with_ray(self, data: DataSet, out: Path | str, **options: Any) -> TokenStore:
        """As `mimlab tokens encode` does."""
        usual = {"asked": ASKED, "load": partial(given, self.encoder, str(self.folder))}
        return encode_images(self.folder, data.root, out, **{**usual, **options})

    def encode(
        self,
        data: DataSet,
        out: Path,
        *,
        asked: ViewsAsked = ASKED,
        splits: Sequence[str] = ("train",),
    ) -> TokenStore:
        """The same in this process."""
        plan = EncodingPlan.of(self.encoder, encoder_sha256(self.folder), data, splits, asked)
        with unfinished(out, plan, plan.pieces(data)) as store:
            job = Job(plan, str(data.root), str(out), str(store.work), threads=1, batch=8)
            worker = PieceWorker(job, lambda: self.encoder)
            for piece in store.pieces:
                assert not worker({"piece": piece.model_dump_json()})["failure"]
            finish(store, data, self.folder)
        store.clear()
        return TokenStore.open(out, data)


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Callable[..., Seen]]:
    """Saves an encoder of this file; Ray's processes get its code with it."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)

    def made(kind: EncodedKind = "codes", *, offset: int = 0) -> Seen:
        part = register(SeenCodes if kind == "codes" else SeenFeatures)
        encoder = part(SeenParams(offset=offset), GRID)
        return Seen(tmp_path / f"{kind}-{offset}", encoder, offset)

    yield made
    cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def asked() -> ViewsAsked:
    """The views that are encoded unless a test says otherwise."""
    return ASKED
