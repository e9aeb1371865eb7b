"""Boards show what the encoder saw where a masking degrades the input instead of hiding patches."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mimlab.spec.parts import register_parts
from mimlab.train.boards import GAP_PX, BoardMaker
from mimlab.train.feed import Planner
from mimlab.train.pixels import normalise, to_pixels
from mimlab.train.seen import Seen, seen_of
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import Masking, MaskPlan, MaskRequest, Signal, maskings
from mimlab_objectives.masking.projection import Projection
from mimlab_objectives.objectives.base import Objective, objectives
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget, patchify

SIZE, PATCH, GRID = 16, 4, (4, 4)
SHOWN = 96
"""Pixels of an enlarged image on a board."""
register_parts()


def masking_of(name: str, **params: object) -> Masking:
    entry = maskings[name]
    return entry.part(entry.params.model_validate(params), GRID)


def plan_of(name: str, images: Tensor, **params: object) -> MaskPlan:
    signals: dict[Signal, Tensor] = {"pixels": normalise(images)}
    return masking_of(name, **params).plan(MaskRequest(torch.arange(len(images)), signals=signals))


def photos(count: int = 4) -> Tensor:
    """Smooth colours with some noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 3, 3, generator=generator) * 200 + 20
    smooth = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")
    noise = 20 * torch.rand(count, 3, SIZE, SIZE, generator=generator)
    return (smooth + noise).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def seen_under(name: str, **params: object) -> tuple[Tensor, Seen]:
    images = photos()
    return images, seen_of(images, plan_of(name, images, **params))


@pytest.mark.parametrize("name", ["groups", "mean_fill"])
def test_pixels_that_are_not_degraded_are_the_image(name: str) -> None:
    images, seen = seen_under(name)
    withheld = seen.withheld.expand_as(images)
    assert 0.1 < withheld.float().mean() < 0.95
    assert torch.equal(seen.images[~withheld], images[~withheld])
    assert (seen.images[withheld] != images[withheld]).float().mean() > 0.9


def test_cells_have_the_mean_colour() -> None:
    images, seen = seen_under("mean_fill")
    for image, shown, withheld in zip(images, seen.images, seen.withheld, strict=True):
        mean = image.float().mean((0, 1))
        assert (shown[withheld[..., 0]] - mean).abs().max() <= 1


def test_frequencies_that_are_kept_are_shown() -> None:
    turns = 2 * torch.pi * torch.arange(SIZE) / SIZE
    slow, fast = (40 * torch.cos(cycles * turns).expand(1, 3, SIZE, SIZE) for cycles in (1, 6))
    images = (128 + slow + fast).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    kept = {"low": 128 + slow, "high": fast.clamp(min=0)}
    for share, name in enumerate(("high", "low")):
        plan = plan_of("frequency", images, radius=3.0, low_probability=float(share))
        seen = seen_of(images, plan)
        assert (seen.images.permute(0, 3, 1, 2) - kept[name]).abs().max() <= 1.5
        assert seen.withheld.all()


def test_a_projection_shows_the_patches_whose_embeddings_are_projected() -> None:
    images = photos()
    plan = plan_of("projection", images, bucket=4)
    assert isinstance(plan.corruption, Projection)
    shown = plan.corruption.picture(normalise(images), PATCH)
    backbone = VitBackbone(
        BackboneParams(name="vit_tiny_patch16_224", patch_size=PATCH, embed_dim=32, num_heads=2),
        SIZE,
    )
    projection = backbone.vit.patch_embed.proj
    assert projection.bias is not None
    torch.nn.init.zeros_(projection.bias)
    with torch.no_grad():
        projected = plan.corruption.apply(backbone.patch_tokens(normalise(images)))
        torch.testing.assert_close(backbone.patch_tokens(shown), projected)
    assert torch.equal(seen_of(images, plan).images, to_pixels(shown))


def test_a_rectangular_image_is_projected_patch_by_patch() -> None:
    masking = maskings["projection"]
    grid = (2, 4)
    plan = masking.part(masking.params.model_validate({"bucket": 4}), grid).plan(
        MaskRequest(torch.arange(3))
    )
    images = torch.randn(3, 3, 8, 16)
    assert isinstance(plan.corruption, Projection)
    shown = plan.corruption.picture(images, 4)
    torch.testing.assert_close(patchify(shown, 4), plan.corruption.apply(patchify(images, 4)))


def objective_of(name: str) -> Objective:
    torch.manual_seed(0)
    small = {"name": "vit_tiny_patch16_224", "patch_size": PATCH, "embed_dim": 32, "depth": 1}
    backbone = VitBackbone(BackboneParams.model_validate(small | {"num_heads": 2}), SIZE)
    entry = objectives[name]
    target = PixelTarget(PixelParams(norm="none"), PATCH, GRID)
    return entry.part(entry.params(), backbone, target)


@pytest.mark.parametrize(
    ("objective", "masking"),
    [
        ("gmml", masking_of("groups", max_side=0.5)),
        ("a2mim", masking_of("mean_fill")),
        ("mfm", masking_of("frequency", radius=3.0)),
        ("ropim", masking_of("projection", bucket=4)),
    ],
    ids=["gmml", "a2mim", "mfm", "ropim"],
)
def test_a_board_has_the_image_the_degraded_one_and_the_prediction(
    objective: str, masking: Masking
) -> None:
    images, ids = photos(), torch.arange(4)
    planner = Planner(masking, seed=0)
    built = objective_of(objective)
    png = BoardMaker(built, planner, images, ids, torch.device("cpu")).draw()()
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and decoded.shape == (3 * (SHOWN + GAP_PX), 4 * (SHOWN + GAP_PX), 3)
    whole, degraded, predicted = (
        torch.from_numpy(np.stack([tile(decoded[..., ::-1], row, column) for column in range(4)]))
        for row in range(3)
    )
    plan = plan_of_board(planner, images)
    seen = seen_of(images, plan)
    assert torch.equal(whole, images) and torch.equal(degraded, seen.images)
    withheld = seen.withheld.expand_as(images)
    assert torch.equal(predicted[~withheld], images[~withheld])
    assert (predicted[withheld] != degraded[withheld]).float().mean() > 0.8


def tile(board: np.ndarray, row: int, column: int) -> np.ndarray:
    """One picture of a board, at its own size again."""
    top, left = row * (SHOWN + GAP_PX), column * (SHOWN + GAP_PX)
    scale = SHOWN // SIZE
    return board[top : top + SHOWN : scale, left : left + SHOWN : scale]


def plan_of_board(planner: Planner, images: Tensor) -> MaskPlan:
    keys = planner.keys(torch.arange(len(images)), torch.zeros(len(images), dtype=torch.long))
    return planner.masking.plan(MaskRequest(keys, signals={"pixels": normalise(images)}))
