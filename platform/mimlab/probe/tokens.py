"""Patch tokens of frozen encoders, batch by batch: held where they fit, else encoded each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from timm.models import VisionTransformer
from torch import Tensor

from mimlab.data.read_plan import ReadPlan
from mimlab.probe.images import UNLABELLED, ImageBatch, LabelledImages
from mimlab_objectives.probes.attentive import TokenBatch

CACHE_BYTES = 1 << 30
"""Most that the tokens of the images to fit on may take of the host: 60,000 images of 64 tokens of
128 channels do, of 196 tokens of 384 channels do not and are encoded at each pass."""


def encoded(encoder: VisionTransformer, batches: Iterable[ImageBatch]) -> Iterator[TokenBatch]:
    """The patch tokens of each batch of images, after the final norm, with the images' labels."""
    for images, labels in batches:
        yield half_tokens(encoder, images).float(), labels


def planned_tokens(
    encoder: VisionTransformer,
    images: LabelledImages,
    *,
    batch_size: int,
    steps: int,
    cache_bytes: int = CACHE_BYTES,
) -> Iterator[TokenBatch]:
    """Tokens of the first `steps` batches of a read plan, of centre views.

    The batches are the same whether tokens are held, in float16, or not.
    """
    patches = encoder.patch_embed.num_patches
    needed = 2 * images.split.num_rows * patches * encoder.embed_dim
    if needed <= cache_bytes:
        yield from _held(encoder, images, batch_size=batch_size, steps=steps)
        return
    batches = images.planned(seed=0, batch_size=batch_size, steps=steps, augment=None)
    yield from encoded(encoder, batches)


def _held(
    encoder: VisionTransformer, images: LabelledImages, *, batch_size: int, steps: int
) -> Iterator[TokenBatch]:
    shape = images.split.num_rows, encoder.patch_embed.num_patches, encoder.embed_dim
    tokens = torch.empty(shape, dtype=torch.float16)
    labels = torch.full(shape[:1], UNLABELLED)
    for rows, pixels, known in images.numbered():
        tokens[rows] = half_tokens(encoder, pixels).cpu()
        labels[rows] = known.cpu()
    plan = ReadPlan(images.split.rows_per_group, 0, batch_size)
    for step in range(steps):
        rows = torch.from_numpy(plan.batch(step)[0])
        rows = rows[labels[rows] != UNLABELLED]
        if len(rows):
            yield tokens[rows].to(images.device).float(), labels[rows].to(images.device)


def half_tokens(
    encoder: VisionTransformer, images: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch tokens dim"]:
    """Patch tokens after the final norm, in float16."""
    with torch.no_grad():
        return encoder.forward_features(images)[:, encoder.num_prefix_tokens :].half()
