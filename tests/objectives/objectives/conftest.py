"""A tiny laboratory: 32 px images, 8 × 8 patches of 4 px, two narrow blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import select
from mimlab_objectives.objectives.base import Batch, Objective, objectives
from mimlab_objectives.objectives.mae import Mae, MaeParams
from mimlab_objectives.objectives.simmim import SimMim, SimMimParams
from mimlab_objectives.registry import import_all
from mimlab_objectives.targets.base import targets
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

import_all("mimlab_objectives.targets")
import_all("mimlab_objectives.objectives")

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


NARROW = {"decoder_depth": 1, "decoder_width": 64, "decoder_heads": 2}
OTHERS: dict[str, tuple[dict[str, object], str]] = {
    "cae": ({"regressor_depth": 1, "decoder_depth": 1, "alignment": 0.2}, "pixels"),
    "capi": ({"predictor_depth": 1, "num_clusters": 16}, "latent"),
    "data2vec": ({}, "latent"),
    "dbot": ({**NARROW, "class_token": False}, "latent"),
    "ijepa": ({"predictor_depth": 1, "predictor_width": 64}, "latent"),
    "latent_mim": ({**NARROW, "head_width": 64}, "latent"),
}
"""Name → its parameters at tiny size, and what it predicts. `maskalign`, whose loss counts where
patches are kept, has these tests in its own file."""


def builder_of(name: str) -> Build:
    params, target = OTHERS[name]

    def build(norm: str = "patch", seed: int = 0) -> Objective:
        return tiny(name, params, target=target, norm=norm, seed=seed)

    return build


def tiny(
    name: str,
    params: dict[str, object],
    *,
    target: str = "latent",
    norm: str = "none",
    seed: int = 0,
    backbone: BackboneParams = BACKBONE,
) -> Objective:
    torch.manual_seed(seed)
    entry = targets[target]
    given = {"norm": norm} if target == "pixels" else {}
    built = entry.part(entry.params.model_validate(given), 4, (8, 8))
    objective = objectives[name]
    part = objective.part(objective.params.model_validate(params), VitBackbone(backbone, 32), built)
    part.after_init()
    return part.eval()


BUILDERS = {"mae": build_mae, "simmim": build_simmim} | {n: builder_of(n) for n in OTHERS}


@pytest.fixture(params=list(BUILDERS.values()), ids=list(BUILDERS))
def build(request: pytest.FixtureRequest) -> Build:
    return request.param


@pytest.fixture(name="tiny")
def tiny_fixture() -> Callable[..., Objective]:
    """Any objective by its name and parameters, at tiny size; its target is latent unless named."""
    return tiny


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
