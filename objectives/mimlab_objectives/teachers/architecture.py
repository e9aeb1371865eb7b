"""What a timm model makes of images, read off it without memory."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mimlab_objectives.images import MEAN, STD
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.shapes_only import shapes_only

FIELD = "teacher"
"""What an error names: the parameter under which a target or an objective has its teacher."""

_BUILDING = (AssertionError, AttributeError, RuntimeError, TypeError, ValueError)
"""What timm raises for sizes and images that a model cannot take."""

_PLAIN: Mapping[str, Any] = {
    "norm": False,
    "output_fmt": "NCHW",
    "intermediates_only": True,
    "stop_early": True,
}
"""What `forward_intermediates` is told: layers as they are, and nothing after the last of them."""


@dataclass(frozen=True)
class Architecture:
    """A timm model by its name, and those of its sizes that are not its own."""

    name: str
    sizes: tuple[tuple[str, int], ...] = ()

    def built(self, size: Grid, **weights: Any) -> nn.Module:
        """The model for an image size; one that takes any size is not told."""
        arguments = {"num_classes": 0, **dict(self.sizes), **weights}
        try:
            return timm.create_model(self.name, img_size=size, **arguments)
        except TypeError:
            return timm.create_model(self.name, **arguments)


@dataclass(frozen=True)
class Facts:
    """What holds of a model at every image size."""

    strides: tuple[int, ...]
    """Pixels between patches of each layer's map."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    has_weights: bool
    """Whether timm knows pretrained weights of it."""
    num_prefix_tokens: int
    """Tokens before the patches that its layers give, too."""
    class_token: bool
    """Whether the first of them is one."""


@functools.cache
def facts_of(model: Architecture) -> Facts:
    """Raises ParamsError for a model that timm does not know, that has not the sizes asked for, or
    that gives no maps of features."""
    if not timm.is_model(model.name):
        near = difflib.get_close_matches(model.name, timm.list_models())
        hint = f"; the nearest names are {', '.join(near)}" if near else ""
        raise ParamsError(f"{FIELD}.name", f"timm knows no model {model.name!r}{hint}")
    try:
        with shapes_only():
            return _facts(model)
    except _BUILDING as error:
        sizes = "".join(f" with {name} {size}" for name, size in model.sizes)
        raise ParamsError(
            f"{FIELD}.name",
            f"{model.name!r}{sizes} gives no feature maps; take another, such as "
            "vit_small_patch16_224",
        ) from error


def _facts(model: Architecture) -> Facts:
    own: Any = timm.create_model(model.name, num_classes=0)
    config: Mapping[str, Any] = own.pretrained_cfg
    patch = dict(model.sizes).get("patch_size", 1)
    side = max(1, config.get("input_size", (3, 224, 224))[1] // patch) * patch
    built: Any = model.built((side, side)).eval()
    maps = feature_maps(built, torch.zeros(1, 3, side, side), None)
    taken = inspect.signature(built.forward_intermediates).parameters
    prefix = built.num_prefix_tokens if "return_prefix_tokens" in taken else 0
    return Facts(
        strides=tuple(side // found.shape[2] for found in maps),
        mean=tuple(config.get("mean", MEAN)),
        std=tuple(config.get("std", STD)),
        has_weights=bool(config.get("hf_hub_id") or config.get("url")),
        num_prefix_tokens=prefix,
        class_token=prefix > 0 and getattr(built, "cls_token", None) is not None,
    )


def map_shapes(model: Architecture, size: Grid) -> list[tuple[int, int, int]]:
    """(channels, rows, columns) of every layer at an image size; none where it cannot see it."""
    try:
        with shapes_only():
            found = feature_maps(model.built(size).eval(), torch.zeros(1, 3, *size), None)
    except _BUILDING:
        return []
    return [(layer.shape[1], layer.shape[2], layer.shape[3]) for layer in found]


def feature_maps(model: Any, images: Tensor, layers: list[int] | None) -> list[Tensor]:
    """(batch, channels, rows, columns) of each layer before any last norm; None: of all layers."""
    return model.forward_intermediates(images, indices=layers, **_PLAIN)


def sequences(
    model: Any, images: Tensor, layers: list[int], *, prefix: bool
) -> list[tuple[Tensor, Tensor]]:
    """Of each layer its prefix tokens and those of the patches, each (batch, tokens, dim)."""
    if not prefix:
        maps = [found.flatten(2).mT for found in feature_maps(model, images, layers)]
        return [(patches[:, :0], patches) for patches in maps]
    pairs = model.forward_intermediates(images, indices=layers, return_prefix_tokens=True, **_PLAIN)
    return [(tokens, found.flatten(2).mT) for found, tokens in pairs]
