"""A replayed step as files: its figures, and the batch as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from mimlab.data.publishing import publishing
from mimlab.train.boards import encode_png
from mimlab.train.pixels import to_pixels
from mimlab.train.replayed import Replayed
from mimlab.train.watch import Call

FIGURES_FILE = "step.json"
GAP_PX = 2
"""Between the masks of several rounds."""


def write_replayed(out: Path, report: Replayed, calls: Sequence[Call]) -> Path:
    """Write a new folder, whole or not at all, and return it. Raises UserError if it exists.

    `step.json`, and of each sample `<place in the batch>-<id>.png`, its pixels as the encoder gets
    them, and `…-hidden.png`, white where patches are hidden, a mask for each round side by side.
    """
    with publishing(out) as folder:
        (folder / FIGURES_FILE).write_bytes(report.to_bytes())
        place = 0
        for call in calls:
            images = to_pixels(call.batch.images.float()).cpu()
            masks = _masks(call, images.shape[1:3])
            for sample_id, image, mask in zip(call.batch.ids.tolist(), images, masks, strict=True):
                name = f"{place:05d}-{sample_id}"
                (folder / f"{name}.png").write_bytes(encode_png(image.numpy()))
                (folder / f"{name}-hidden.png").write_bytes(encode_png(mask.numpy()))
                place += 1
    return out


def _masks(call: Call, size: Sequence[int]) -> UInt8[Tensor, "batch height width 3"]:
    hidden = call.plan.hidden.cpu()  # (batch, rounds, tokens)
    rows, columns = call.plan.grid
    pictures = [_picture(hidden[:, i].unflatten(1, (rows, columns)), size) for i in _rounds(hidden)]
    gap = torch.full((len(hidden), size[0], GAP_PX, 3), 128, dtype=torch.uint8)
    joined = [part for picture in pictures for part in (gap, picture)][1:]
    return torch.cat(joined, dim=2)


def _rounds(hidden: Bool[Tensor, "batch rounds tokens"]) -> range:
    return range(hidden.shape[1])


def _picture(
    hidden: Bool[Tensor, "batch rows columns"], size: Sequence[int]
) -> UInt8[Tensor, "batch height width 3"]:
    tall, wide = size[0] // hidden.shape[1], size[1] // hidden.shape[2]
    white = hidden.repeat_interleave(tall, 1).repeat_interleave(wide, 2).to(torch.uint8) * 255
    return white[..., None].expand(*white.shape, 3).contiguous()
