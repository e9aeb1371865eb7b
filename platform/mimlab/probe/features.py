"""Frozen features of a split: centre view, forward, pool."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from timm.models import VisionTransformer
from torch import Tensor

from mimlab.data.manifest import Split
from mimlab.probe.images import centred, chosen_rows
from mimlab.train.pixels import normalise
from mimlab_objectives.probes.features import Pooling, pixel_features, pool

Encode = Callable[[Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch dim"]]


class Extracted(NamedTuple):
    """Features of labelled images by each encoder, on the device, their labels and their ids."""

    features: dict[str, Float[Tensor, "rows dim"]]
    labels: Int[Tensor, " rows"]
    ids: Int[np.ndarray, " rows"]


def encoder_of(model: VisionTransformer, how: Pooling) -> Encode:
    """Pooled tokens of a frozen encoder."""

    def encode(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        return pool(model.forward_features(images), model.num_prefix_tokens, how)

    return encode


def raw_pixels() -> Encode:
    """The pixels themselves."""
    return pixel_features


def extract(
    split: Split,
    encodes: dict[str, Encode],
    *,
    image_size: int,
    max_rows: int | None,
    device: torch.device,
    threads: int,
) -> Extracted:
    """Features of the labelled images of a split, or of `max_rows` of its rows."""
    features: dict[str, list[Tensor]] = {name: [] for name in encodes}
    labels: list[Tensor] = []
    rows: list[np.ndarray] = []
    with ThreadPoolExecutor(threads) as decoders, torch.inference_mode():
        for chunk in centred(split, chosen_rows(split, max_rows), image_size, decoders):
            images = normalise(torch.from_numpy(chunk.pixels).to(device))
            for name, encode in encodes.items():
                features[name].append(encode(images).float())
            labels.append(torch.from_numpy(chunk.labels).to(device))
            rows.append(chunk.rows)
    joined = {name: torch.cat(parts).clone() for name, parts in features.items()}
    return Extracted(joined, torch.cat(labels).clone(), split.ids(np.concatenate(rows)))
