"""A tiny laboratory: 32 px images, 8 × 8 patches of 4 px, two narrow blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.nn import functional

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import join_rounds, select
from mimlab_objectives.objectives.base import Batch, Objective, objectives
from mimlab_objectives.registry import import_all
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

import_all("mimlab_objectives.objectives")
Build = Callable[..., Objective]
BACKBONE = BackboneParams(
    name="vit_tiny_patch16_224", patch_size=4, embed_dim=64, depth=2, num_heads=2
)
DECODER: dict[str, object] = {"decoder_depth": 1, "decoder_width": 64, "decoder_heads": 2}
OBJECTIVES: dict[str, tuple[dict[str, object], str]] = {
    "mae": (DECODER, "patch"),
    "simmim": ({}, "none"),
    "hpm": (DECODER, "none"),
    "dmjd": (DECODER, "patch"),
    "mapet": ({}, "none"),
    "pim": ({}, "none"),
}
"""Name → parameters and the norm of the pixels, of objectives that can do with any mask."""


def build_named(name: str, norm: str | None = None, seed: int = 0) -> Objective:
    """A tiny objective of pixels, in evaluation mode."""
    params, usual = OBJECTIVES.get(name, ({}, "none"))
    torch.manual_seed(seed)
    target = PixelTarget(PixelParams.model_validate({"norm": norm or usual}), 4, (8, 8))
    entry = objectives[name]
    return entry.part(entry.params.model_validate(params), VitBackbone(BACKBONE, 32), target).eval()


@pytest.fixture(params=OBJECTIVES)
def build(request: pytest.FixtureRequest) -> Build:
    return partial(build_named, request.param)


@pytest.fixture(name="build_named")
def build_named_fixture() -> Build:
    """Any objective, by its name."""
    return build_named


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """Random images, smoother the fewer points `detail` gives a side."""

    def make(count: int, seed: int = 0, *, detail: int = 8) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(count, 3, detail, detail, generator=generator)
        images = functional.interpolate(coarse, size=32, mode="bicubic")
        return Batch(torch.arange(count), images)

    return make


@pytest.fixture
def plan_of() -> Callable[..., MaskPlan]:
    """Random masks, `rounds` of each image."""

    def make(count: int, num_hidden: int, *, rounds: int = 1, seed: int = 0) -> MaskPlan:
        score = torch.zeros(count, 64)
        keys = torch.arange(count) + 10_000 * seed
        plans = [select(score, num_hidden, keys + 100 * r, (8, 8)) for r in range(rounds)]
        return join_rounds(plans)

    return make
