"""What a board shows of a target that is not pixels."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab.train.boards import GAP_PX, BoardMaker
from mimlab.train.feed import Planner
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.uniform import Random, RandomParams
from mimlab_objectives.objectives.simmim import SimMim, SimMimParams
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target, TargetKind
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget, patchify

SIDE = 96 + GAP_PX
BACKBONE = {"name": "vit_tiny_patch16_224", "patch_size": 4, "embed_dim": 32, "depth": 1}


class Mean(Target):
    """Each patch's mean colour, as a vector or, with four classes, as its brightness."""

    kind: ClassVar[TargetKind] = "vectors"
    dim = 3

    def compute(self, images: Tensor) -> Tensor:
        return patchify(images, 4).unflatten(2, (16, 3)).mean(2)

    def to_pixels(self, prediction: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        return prediction.repeat(1, 1, 1, 16)


class Brightness(Mean):
    kind: ClassVar[TargetKind] = "classes"
    dim = 4

    def compute(self, images: Tensor) -> Tensor:
        return (super().compute(images).mean(-1) + 2).long().clamp(0, 3)

    def to_pixels(self, prediction: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        grey = prediction.softmax(-1) @ torch.tensor([-2.0, -1.0, 1.0, 2.0])
        return grey.unsqueeze(-1).repeat(1, 1, 1, 48)


class Latent(Mean):
    kind: ClassVar[TargetKind] = "latent"

    def compute(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def board_of(target: Target) -> np.ndarray:
    torch.manual_seed(0)
    backbone = VitBackbone(BackboneParams.model_validate(BACKBONE | {"num_heads": 2}), 16)
    objective = SimMim(SimMimParams(), backbone, target)
    planner = Planner(Random(RandomParams(ratio=0.5), (4, 4)), seed=0)
    coarse = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    images = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)
    png = BoardMaker(objective, planner, images, torch.arange(2), torch.device("cpu")).draw()()
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1]


@pytest.mark.parametrize(
    ("target", "rows"),
    [
        (PixelTarget(PixelParams(), 4, (4, 4)), 3),
        (Mean(Params(), 4, (4, 4)), 4),
        (Brightness(Params(), 4, (4, 4)), 4),
        (Latent(Params(), 4, (4, 4)), 3),
    ],
    ids=["pixels", "vectors", "classes", "latent"],
)
def test_rows_follow_the_target(target: Target, rows: int) -> None:
    assert board_of(target).shape == (rows * SIDE, 2 * SIDE, 3)


@pytest.mark.parametrize("target", [Mean(Params(), 4, (4, 4)), Brightness(Params(), 4, (4, 4))])
def test_the_last_row_is_the_target(target: Target) -> None:
    board = board_of(target)
    image, truth = (board[row * SIDE : row * SIDE + 96, :96][::6, ::6] for row in (0, 3))
    true_mean = image.reshape(4, 4, 4, 4, 3).mean((1, 3))
    shown = truth.reshape(4, 4, 4, 4, 3)
    assert (shown == shown[:, :1, :, :1]).all()  # one colour a patch
    if target.kind == "vectors":
        assert np.abs(shown[:, 0, :, 0] - true_mean).max() <= 1
    else:
        order = true_mean.mean(-1).ravel().argsort()
        assert shown[:, 0, :, 0, 0].ravel()[order[-1]] > shown[:, 0, :, 0, 0].ravel()[order[0]]


def test_predictions_that_are_no_pixels_are_shown_whole() -> None:
    board = board_of(Mean(Params(), 4, (4, 4)))
    image, predicted = (board[row * SIDE : row * SIDE + 96, :96] for row in (0, 2))
    assert (image.reshape(16, 6, 16, 6, 3)[:, 0, :, 0] != predicted[::6, ::6]).any(-1).all()
