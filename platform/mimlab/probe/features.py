"""Frozen features of a split: decode, centre view, forward, pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from timm.models import VisionTransformer
from torch import Tensor

from mimlab.data.manifest import Split
from mimlab.data.reader import iter_rows
from mimlab.data.views import center_views, render
from mimlab.train.pixels import normalise
from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.probes.features import Pooling, pixel_features, pool

CHUNK = 256
"""Images decoded and encoded at once."""
UNLABELLED = -1

Encode = Callable[[Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch dim"]]


def encoder_of(model: VisionTransformer, how: Pooling) -> Encode:
    """Pooled tokens of a frozen encoder."""

    def encode(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        return pool(model.forward_features(images), model.num_prefix_tokens, how)

    return encode


def raw_pixels() -> Encode:
    """The pixels themselves."""
    return pixel_features


def chosen_rows(split: Split, max_rows: int | None) -> Int[np.ndarray, " rows"]:
    """All rows of a split, or `max_rows` of them, the same ones for every trial."""
    rows = np.arange(split.num_rows)
    if max_rows is None or max_rows >= split.num_rows:
        return rows
    order = np.argsort(sample_keys(key_of("probe rows"), rows, 0), kind="stable")
    return np.sort(order[:max_rows])


def extract(
    split: Split,
    encodes: dict[str, Encode],
    *,
    image_size: int,
    max_rows: int | None,
    device: torch.device,
    threads: int,
) -> tuple[dict[str, Float[Tensor, "rows dim"]], Int[Tensor, " rows"]]:
    """Features of labelled images by each of `encodes`, on the device, and their labels.

    Images without a label, and those that cannot be decoded, are left out.
    """
    features: dict[str, list[Tensor]] = {name: [] for name in encodes}
    labels: list[Tensor] = []
    with ThreadPoolExecutor(threads) as decoders, torch.inference_mode():
        for pixels, chunk_labels in _chunks(split, max_rows, image_size, decoders):
            images = normalise(torch.from_numpy(pixels).to(device))
            for name, encode in encodes.items():
                features[name].append(encode(images).float())
            labels.append(torch.from_numpy(chunk_labels).to(device))
    joined = {name: torch.cat(parts).clone() for name, parts in features.items()}
    return joined, torch.cat(labels).clone()


def _chunks(
    split: Split, max_rows: int | None, image_size: int, decoders: ThreadPoolExecutor
) -> Iterator[tuple[UInt8[np.ndarray, "batch size size 3"], Int[np.ndarray, " batch"]]]:
    for table in iter_rows(split, chosen_rows(split, max_rows), CHUNK):
        images = [image.as_buffer() for image in table["image"]]
        labels = table["label"].fill_null(UNLABELLED).to_numpy().astype(np.int64)
        boxes = center_views(
            widths=table["width"].to_numpy().astype(np.int64),
            heights=table["height"].to_numpy().astype(np.int64),
        ).boxes
        pixels = np.zeros((len(labels), image_size, image_size, 3), np.uint8)
        render_one = partial(_rendered, images, boxes, pixels)
        readable = np.array(list(decoders.map(render_one, range(len(labels)))), bool)
        good = readable & (labels != UNLABELLED)
        yield pixels[good], labels[good]


def _rendered(images: list, boxes: np.ndarray, pixels: np.ndarray, i: int) -> bool:
    """Whether image i could be rendered into its place."""
    try:
        render(memoryview(images[i]), boxes[i], flip=False, out=pixels[i])
    except ValueError:
        return False
    return True
