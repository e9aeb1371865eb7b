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
from mimlab_objectives.targets.base import targets

import_all("mimlab_objectives.targets")
import_all("mimlab_objectives.objectives")
Build = Callable[..., Objective]
BACKBONE = BackboneParams(
    name="vit_tiny_patch16_224", patch_size=4, embed_dim=64, depth=2, num_heads=2
)
DECODER: dict[str, object] = {"decoder_depth": 1, "decoder_width": 64, "decoder_heads": 2}
TEACHER: dict[str, object] = {
    "name": "vit_tiny_patch16_224",
    "weights": "random",
    "patch_size": 4,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 3,
}
TOKENS: dict[str, object] = {"vocabulary": 16, "images": 8}
CLASSES = 4
OBJECTIVES: dict[str, tuple[dict[str, object], str, str]] = {
    "mae": (DECODER, "pixels", "patch"),
    "simmim": ({}, "pixels", "none"),
    "hpm": (DECODER, "pixels", "none"),
    "dmjd": (DECODER, "pixels", "patch"),
    "mapet": ({}, "pixels", "none"),
    "pim": ({}, "pixels", "none"),
    "cae": ({"regressor_depth": 1, "decoder_depth": 1, "alignment": 0.2}, "pixels", "patch"),
    "capi": ({"predictor_depth": 1, "num_clusters": 16}, "latent", ""),
    "data2vec": ({}, "latent", ""),
    "dbot": ({**DECODER, "class_token": False}, "latent", ""),
    "ijepa": ({"predictor_depth": 1, "predictor_width": 64}, "latent", ""),
    "latent_mim": ({**DECODER, "head_width": 64}, "latent", ""),
}
"""Name → parameters at tiny size, target and norm of pixels, of objectives that predict the hidden
patches by one predictor, under any mask."""
OTHERS: dict[str, tuple[dict[str, object], str, str]] = {
    "a2mim": ({}, "pixels", "none"),
    "gmml": ({}, "pixels", "none"),
    "localmim": ({"decoder_width": 32, "decoder_heads": 2}, "latent", ""),
    "mage": (DECODER, "tokens", ""),
    "maskalign": ({"teacher": TEACHER, "top_layers": 2}, "latent", ""),
    "masksub": ({"num_classes": CLASSES}, "latent", ""),
    "mfm": ({}, "pixels", "none"),
    "ropim": ({}, "pixels", "none"),
    "supervised_mim": ({**DECODER, "num_classes": CLASSES}, "pixels", "none"),
}
"""The same of every other objective."""
DEPTHS = {"localmim": 4}
"""Blocks of the encoder where two are too few."""


def build_named(name: str, norm: str | None = None, seed: int = 0) -> Objective:
    """A tiny objective, in evaluation mode."""
    params, target, usual = (OBJECTIVES | OTHERS)[name]
    depth = DEPTHS.get(name, BACKBONE.depth)
    backbone = BACKBONE.model_copy(update={"depth": depth})
    return tiny(name, params, target=target, norm=norm or usual, seed=seed, backbone=backbone)


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
    given = {"pixels": {"norm": norm}, "tokens": TOKENS}.get(target, {})
    built = entry.part(entry.params.model_validate(given), 4, (8, 8))
    objective = objectives[name]
    part = objective.part(objective.params.model_validate(params), VitBackbone(backbone, 32), built)
    if built.fit_images:
        generator = torch.Generator().manual_seed(seed)
        built.fit(torch.randn(built.fit_images, 3, 32, 32, generator=generator))
    part.after_init()
    return part.eval()


@pytest.fixture(params=OBJECTIVES)
def build(request: pytest.FixtureRequest) -> Build:
    return partial(build_named, request.param)


@pytest.fixture(name="build_named", scope="session")
def build_named_fixture() -> Build:
    """Any objective, by its name."""
    return build_named


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
        return Batch(torch.arange(count), images, torch.arange(count) % CLASSES)

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
