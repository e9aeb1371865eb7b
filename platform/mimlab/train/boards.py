"""Boards: fixed images whole, as the encoder sees them, predicted, and what was to be predicted."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from mimlab.train.feed import Planner
from mimlab.train.pixels import normalise, to_pixels
from mimlab.train.seen import Seen, seen_of
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.targets.base import Target
from mimlab_objectives.targets.pixels import unpatchify

MIN_SIDE_PX = 96
"""Smaller images are enlarged to at least this side, pixel by pixel."""
GAP_PX = 4
SURE = 30.0
"""Logit of a class that is certain, beside 0 for the others."""


class BoardMaker:
    """Draws the same images under the same masks at every step."""

    def __init__(
        self,
        objective: Objective,
        planner: Planner,
        images: UInt8[Tensor, "batch height width 3"],
        ids: Int[Tensor, " batch"],
        device: torch.device,
        *,
        maps: Float[Tensor, "batch tokens"] | None = None,
        stored: Shaped[Tensor, "batch tokens *width"] | None = None,
    ) -> None:
        """`maps`: those of the images, where the masking follows one; `stored`: what a token store
        has of them, where the target is read from one."""
        self._objective = objective
        self._planner = planner
        self._images = images
        self._ids = ids
        self._device = device
        self._maps = maps
        self._stored = stored

    def draw(self) -> Callable[[], bytes]:
        """Predict now, with the weights as they are; the result encodes the PNG when called."""
        was_training = self._objective.training
        self._objective.eval()
        with torch.no_grad():
            board = self._predict()
        self._objective.train(was_training)
        return lambda: encode_png(board)

    def _predict(self) -> UInt8[np.ndarray, "height width 3"]:
        images = normalise(self._images.to(self._device))
        maps = None if self._maps is None else self._maps.to(self._device)
        stored = None if self._stored is None else self._stored.to(self._device)
        batch = Batch(self._ids, images, maps=maps, stored=stored)
        keys = self._planner.keys(self._ids, torch.zeros_like(self._ids))
        progress = Progress(0, 0.0)
        plan = self._planner.plan(keys, progress, objective=self._objective, batch=batch)
        plan = plan.to(self._device)
        predicted = self._picture(self._objective.reconstruct(batch, plan), plan)
        seen, target = seen_of(self._images, plan), self._objective.target
        if target.kind == "pixels":
            return compose(self._images, seen, predicted)
        if target.kind == "latent":
            return compose(self._images, seen, predicted, fill=False)
        truth = self._picture(target.to_pixels(_as_prediction(target, batch), batch.images), plan)
        return compose(self._images, seen, predicted, truth, fill=False)

    def _picture(
        self, patches: Float[Tensor, "batch rounds tokens patch_dim"], plan: MaskPlan
    ) -> UInt8[Tensor, "batch height width 3"]:
        """The first round, as pixels on the host."""
        patch_size = self._images.shape[1] // plan.grid[0]
        return to_pixels(unpatchify(patches[:, 0].float(), patch_size, plan.grid)).cpu()


def _as_prediction(target: Target, batch: Batch) -> Float[Tensor, "batch 1 tokens target_dim"]:
    """What a perfect objective would predict: the vectors, or certainty of each class."""
    truth = target.of(batch)
    if truth.is_floating_point():
        return truth.unsqueeze(1)
    return SURE * functional.one_hot(truth, target.dim).float().unsqueeze(1)


def compose(
    images: UInt8[Tensor, "batch height width 3"],
    seen: Seen,
    predicted: UInt8[Tensor, "batch height width 3"],
    truth: UInt8[Tensor, "batch height width 3"] | None = None,
    *,
    fill: bool = True,
) -> UInt8[np.ndarray, "board_height board_width 3"]:
    """Rows: the images, what is seen of them, and that with predictions where it was withheld.

    Where predictions are no pixels, `fill` is off: the third row is their picture alone, and
    `truth`, the picture of the target, is a fourth.
    """
    shown = torch.where(seen.withheld, predicted, images) if fill else predicted
    rows_shown = [images, seen.images, shown] + ([] if truth is None else [truth])
    scale = max(1, -(-MIN_SIDE_PX // images.shape[1]))
    strips = [_strip(part.numpy(), scale) for part in rows_shown]
    return np.concatenate(strips, axis=0)


def encode_png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """PNG bytes of RGB pixels."""
    done, data = cv2.imencode(".png", pixels[..., ::-1])
    if not done:
        raise ValueError(f"OpenCV could not encode a board of shape {pixels.shape}")
    return data.tobytes()


def _strip(images: np.ndarray, scale: int) -> np.ndarray:
    large = images.repeat(scale, axis=1).repeat(scale, axis=2)
    framed = np.pad(large, ((0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)
    return np.concatenate(list(framed), axis=1)
