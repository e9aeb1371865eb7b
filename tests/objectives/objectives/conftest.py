"""A tiny laboratory: 32 px images, 8 × 8 patches of 4 px, two narrow blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import select
from mimlab_objectives.objectives.base import Batch, Objective
from mimlab_objectives.objectives.mae import Mae, MaeParams
from mimlab_objectives.objectives.mapet import Mapet, Permuted, PermutedParams, Pim
from mimlab_objectives.objectives.simmim import SimMim, SimMimParams
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

Build = Callable[..., Objective]
BACKBONE = BackboneParams(
    name="vit_tiny_patch16_224", patch_size=4, embed_dim=64, depth=2, num_heads=2
)
DECODER = MaeParams(decoder_depth=1, decoder_width=64, decoder_heads=2)


def build_mae(norm: str = "patch", seed: int = 0) -> Objective:
    torch.manual_seed(seed)
    target = PixelTarget(PixelParams.model_validate({"norm": norm}), 4, (8, 8))
    return Mae(DECODER, VitBackbone(BACKBONE, 32), target).eval()


def build_simmim(norm: str = "none", seed: int = 0) -> Objective:
    torch.manual_seed(seed)
    target = PixelTarget(PixelParams.model_validate({"norm": norm}), 4, (8, 8))
    return SimMim(SimMimParams(), VitBackbone(BACKBONE, 32), target).eval()


def build_permuted(kind: type[Permuted], norm: str = "none", seed: int = 0) -> Objective:
    torch.manual_seed(seed)
    target = PixelTarget(PixelParams.model_validate({"norm": norm}), 4, (8, 8))
    return kind(PermutedParams(), VitBackbone(BACKBONE, 32), target).eval()


BUILDERS: dict[str, Build] = {
    "mae": build_mae,
    "simmim": build_simmim,
    "mapet": partial(build_permuted, Mapet),
    "pim": partial(build_permuted, Pim),
}


@pytest.fixture(params=list(BUILDERS.values()), ids=list(BUILDERS))
def build(request: pytest.FixtureRequest) -> Build:
    return request.param


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
        names = ("hidden", "kept_ids", "restore_ids", "predicted", "weight", "repaired")
        joined = {n: torch.cat([getattr(p, n) for p in plans], dim=1) for n in names}
        return replace(plans[0], **joined)

    return make
