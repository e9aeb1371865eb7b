"""Images/s of encoding into a store against a bare loop of the same decoding and the same model;
bytes of a view against those of its codes alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import torch
from jaxtyping import Float, Int
from timm.models import VisionTransformer
from torch import Tensor

from benchmarks.data_sets import imagenet, shards_of
from benchmarks.measuring import Row, alternate, medians, rate, ratio
from mimlab.data.manifest import Split
from mimlab.data.ray_data import ray_running
from mimlab.data.reader import images_of, places_of
from mimlab.data.sidecar import StoredViews
from mimlab.data.views import renderer
from mimlab.tokens.batches import CPU_BATCH, Batches
from mimlab.tokens.encoding import EncodingResources, encode_images
from mimlab.tokens.inspection import inspect_tokens
from mimlab.tokens.names import ENCODER, WEIGHTS
from mimlab.tokens.pixels import recorded, rendered
from mimlab.tokens.plan import ViewsAsked
from mimlab_objectives.registry import Params
from mimlab_objectives.tokenizers.base import EncodedKind, PatchEncoder, patch_encoders

IMAGES, ROUNDS, THREADS, PIECE_ROWS = 1280, 3, 2, 256
CODES = 8192
ASKED = ViewsAsked(image_size=224)


@patch_encoders.register("benchmark_vit", params=Params, paper="Dosovitskiy et al., 2020")
class VitCodes(PatchEncoder):
    """The largest of 8192 random directions in the features of a ViT-S/16 that has learned
    nothing: as much work as a tokenizer of that size."""

    kind: ClassVar[EncodedKind] = "codes"
    size, width = 224, CODES

    def __init__(self) -> None:
        super().__init__(Params(), (14, 14))
        self.vit = VisionTransformer(embed_dim=384, num_heads=6, num_classes=0)
        self.codes = torch.nn.Linear(384, CODES, bias=False)

    @property
    def label(self) -> str:
        return "vit_small_patch16_224-random"

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch 3 size size"]) -> Int[Tensor, "batch tokens"]:
        return self.codes(self.vit.forward_features(images)[:, 1:]).argmax(-1)


def run(folder: Path) -> list[Row]:
    split = shards_of(imagenet(folder / "jpegs", IMAGES), folder / "shards")
    saved = folder / "encoder"
    saved.mkdir()
    for name in (ENCODER, WEIGHTS):
        (saved / name).write_bytes(b"")
    stores = (folder / f"store-{number}" for number in itertools.count())
    with ray_running():
        contestants = {
            "encode": lambda: encode_rate(saved, split, next(stores)),
            "bare loop": partial(loop_rate, split),
        }
        rates = alternate(contestants, ROUNDS)
    figures = medians(rates, "images/s")
    found = inspect_tokens(folder / "store-0")
    size = {"bytes a view": found.stored_bytes, "of codes": float(found.payload_bytes)}
    times = found.stored_bytes / found.payload_bytes
    return [
        Row("tokens, encode", "bare loop", ratio(rates, "encode", "bare loop"), "≥ 0.9", figures),
        Row("tokens, bytes stored", "of codes", times, "≤ 1.1", size),
    ]


def load(folder: str) -> VitCodes:
    """The same one in every process."""
    del folder
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VitCodes()


def encode_rate(saved: Path, split: Split, out: Path) -> float:
    """From the first piece to the last: starting processes is no matter of images."""
    times: list[tuple[int, float]] = []
    encode_images(
        saved,
        split.root,
        out,
        load=load,
        asked=ASKED,
        resources=EncodingResources(workers=1, cpus=THREADS, piece_rows=PIECE_ROWS),
        on_progress=lambda done, *_: times.append((done, time.perf_counter())),
    )
    (first, began), (last, ended) = times[1], times[-1]
    return (last - first) / (ended - began)


def loop_rate(split: Split) -> float:
    """As many images in this process, neither read by tasks nor written."""
    torch.set_num_threads(THREADS)
    batches = Batches(load(""), torch.device("cpu"))
    views = StoredViews(**dict(ASKED), renderer=renderer())
    chunks = rendered(_tables(split), recorded(views), 224, chunk=CPU_BATCH, threads=THREADS)
    return rate(len(batches.run(chunk.views[:, 0])) for chunk in chunks)


def _tables(split: Split) -> Iterator[pa.Table]:
    source = images_of(split)
    groups = torch.arange(len(split.rows_per_group)).numpy()
    for place in places_of(split, groups):
        yield source.read([place]).combine_chunks()
