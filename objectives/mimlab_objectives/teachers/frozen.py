"""A teacher that never changes: a timm model's feature maps."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.images import MEAN, STD
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params, ParamsError

RANDOM, PRETRAINED = "random", "timm"
_SEED = 0


class TeacherOptions(Params):
    """Where a frozen teacher's weights come from, and what is taken from it."""

    weights: str = RANDOM
    """Of the teacher: `random` (drawn once, the same in every trial), `timm` (its own pretrained
    ones), or a safetensors file."""
    layer: int | None = Field(default=None, ge=0)
    """Block or stage of the teacher whose output is taken, before any last norm, counted from 0;
    null: the last."""


class FrozenTeacher(nn.Module):
    """Features of every patch by a timm model called `name`, in evaluation mode, without gradient.

    It gets the images resized, so that each of the encoder's patches has one place in its map. Its
    weights are known from its name, so that they are no part of the state_dict; they are read at
    the first use, which takes no memory before, and follow the module from device to device.
    Raises ParamsError for a model that timm does not know or that gives no feature maps, for
    weights that there are none of, a layer that it has not, and a grid that is not the encoder's.
    """

    def __init__(self, name: str, options: TeacherOptions, grid: Grid) -> None:
        super().__init__()
        self.name, self.weights = name, options.weights
        shape = _shape_of(name)
        self.layer = _layer_of(name, options.layer, len(shape.strides))
        _check_weights(name, options.weights, shape)
        stride = shape.strides[self.layer]
        self.size = (grid[0] * stride, grid[1] * stride)
        found = _meta_shape(name, self.size, self.layer)
        if found is None or found[1:] != grid:
            raise _other_grid(name, found, grid, self.size)
        self.dim = found[0]
        scale = [own / std for own, std in zip(STD, shape.std, strict=True)]
        shift = [(a - b) / std for a, b, std in zip(MEAN, shape.mean, shape.std, strict=True)]
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.tensor(scale).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(3, 1, 1), persistent=False)
        self._held: list[nn.Module] = []  # a list hides it from parameters() and state_dict()

    @torch.no_grad()
    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """Features of every patch, in the order of the grid, float32."""
        if not self._held:
            self._held.append(_loaded(self.name, self.weights, self.size).to(images.device))
        images = images * self.scale + self.shift
        if images.shape[2:] != self.size:
            images = functional.interpolate(
                images, self.size, mode="bicubic", antialias=True, align_corners=False
            )
        return _feature_map(self._held[0], images, self.layer).flatten(2).mT.float()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrozenTeacher:
        """Moves and casts reach the weights too."""
        for model in self._held:
            model._apply(fn, recurse)
        return super()._apply(fn, recurse)


class _Shape:
    """What is read off a model without memory."""

    def __init__(self, name: str) -> None:
        with torch.device("meta"):
            model: Any = timm.create_model(name, num_classes=0).eval()
            config: dict[str, Any] = model.pretrained_cfg
            self.side: int = config.get("input_size", (3, 224, 224))[1]
            self.mean: tuple[float, ...] = tuple(config.get("mean", MEAN))
            self.std: tuple[float, ...] = tuple(config.get("std", STD))
            self.has_weights = bool(config.get("hf_hub_id") or config.get("url"))
            images = torch.zeros(1, 3, self.side, self.side)
            maps = _forward(model, images, None)
        self.strides = [self.side // found.shape[2] for found in maps]


@functools.cache
def _shape_of(name: str) -> _Shape:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models())
        hint = f"; the nearest names are {', '.join(near)}" if near else ""
        raise ParamsError("teacher", f"timm knows no model {name!r}{hint}")
    try:
        return _Shape(name)
    except (AttributeError, AssertionError, RuntimeError, TypeError) as error:
        message = f"{name!r} gives no feature maps; take another, such as vit_small_patch16_224"
        raise ParamsError("teacher", message) from error


def _layer_of(name: str, asked: int | None, layers: int) -> int:
    if asked is not None and asked >= layers:
        raise ParamsError("layer", f"{name} has layers 0 to {layers - 1}, not {asked}")
    return layers - 1 if asked is None else asked


def _check_weights(name: str, weights: str, shape: _Shape) -> None:
    if weights == PRETRAINED and not shape.has_weights:
        raise ParamsError("weights", f"timm has no weights of {name}; take `random` or a file")
    if weights not in (RANDOM, PRETRAINED) and not Path(weights).is_file():
        raise ParamsError("weights", f"there is no file {weights}; give one, `timm` or `random`")


def _other_grid(
    name: str, found: tuple[int, int, int] | None, grid: Grid, size: Grid
) -> ParamsError:
    has = "cannot see" if found is None else f"has a grid of {found[1]}×{found[2]} at"
    return ParamsError(
        "teacher",
        f"{name} {has} images of {size[0]}×{size[1]} px, and the encoder's grid is "
        f"{grid[0]}×{grid[1]}; take another teacher or another layer",
    )


def _meta_shape(name: str, size: Grid, layer: int) -> tuple[int, int, int] | None:
    """(channels, rows, columns) of a layer at an image size; None where it cannot be built."""
    try:
        with torch.device("meta"):
            found = _feature_map(_created(name, size).eval(), torch.zeros(1, 3, *size), layer)
    except (AssertionError, RuntimeError, ValueError):
        return None
    return found.shape[1], found.shape[2], found.shape[3]


def _created(name: str, size: Grid, **weights: Any) -> nn.Module:
    """A model for an image size; those that take any size are not told."""
    try:
        return timm.create_model(name, num_classes=0, img_size=size, **weights)
    except TypeError:
        return timm.create_model(name, num_classes=0, **weights)


def _loaded(name: str, weights: str, size: Grid) -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(_SEED)
        model = _created(name, size, pretrained=weights == PRETRAINED)
    if weights not in (RANDOM, PRETRAINED):
        _load_file(model, weights)
    return model.eval().requires_grad_(False)


def _load_file(model: nn.Module, path: str) -> None:
    given = safetensors.torch.load_file(path)
    own = model.state_dict()
    fits = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    missing = sorted(own.keys() - fits.keys())
    if missing:
        raise ValueError(f"{path} holds no weights of this teacher: {missing[0]} is missing in it")
    model.load_state_dict(fits)


def _feature_map(model: nn.Module, images: Tensor, layer: int) -> Tensor:
    """(batch, channels, rows, columns)"""
    return _forward(model, images, [layer])[0]


def _forward(model: Any, images: Tensor, layers: list[int] | None) -> list[Tensor]:
    return model.forward_intermediates(
        images, indices=layers, norm=False, output_fmt="NCHW", intermediates_only=True
    )
