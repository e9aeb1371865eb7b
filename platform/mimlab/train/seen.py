"""What the encoder gets of images, as pictures for boards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from mimlab.train.pixels import normalise, to_pixels
from mimlab_objectives.masking.plan import MaskPlan

GREY = 128
"""Where a patch is hidden."""


@dataclass(frozen=True)
class Seen:
    """Images as a plan lets the encoder see them, on the host."""

    images: UInt8[Tensor, "batch height width 3"]
    """Grey where patches are hidden, or degraded as a whole."""
    withheld: Bool[Tensor, "batch height width 1"]
    """True where they are not the image's own pixels, so that a prediction can take their place."""


def seen_of(images: UInt8[Tensor, "batch height width 3"], plan: MaskPlan) -> Seen:
    """The first round of `plan`; `images` are on the host, whatever device the plan is on."""
    corruption = plan.corruption
    if corruption is None:
        hidden = _hidden_pixels(images, plan)
        grey = torch.tensor(GREY, dtype=torch.uint8)
        return Seen(torch.where(hidden, grey, images), hidden)
    whole = normalise(images.to(plan.hidden.device))
    patch_size = images.shape[1] // plan.grid[0]
    changed = corruption.changed(whole).permute(0, 2, 3, 1)
    return Seen(to_pixels(corruption.picture(whole, patch_size)).cpu(), changed.cpu())


def _hidden_pixels(
    images: UInt8[Tensor, "batch height width 3"], plan: MaskPlan
) -> Bool[Tensor, "batch height width 1"]:
    rows, columns = plan.grid
    side_y, side_x = images.shape[1] // rows, images.shape[2] // columns
    hidden = plan.hidden[:, 0].cpu().view(-1, rows, columns)
    return hidden.repeat_interleave(side_y, 1).repeat_interleave(side_x, 2)[..., None]
