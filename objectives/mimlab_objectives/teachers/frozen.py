"""A teacher that never changes: what a timm model makes of whole images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.images import MEAN, STD
from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.teachers.architecture import FIELD, facts_of, map_shapes, sequences
from mimlab_objectives.teachers.weights import TeacherParams, check_weights, load


class FrozenTeacher(nn.Module):
    """Features of every patch by a timm model, in evaluation mode, without gradient.

    It gets the images resized, so that each of the encoder's patches has one place in its map, and
    normalised as it was trained. Its weights are known from its parameters, so that they are no
    part of the state_dict; they are read at the first use, which takes no memory before, and
    follow the module from device to device.
    Raises ParamsError on a parameter of `teacher` for a model that timm does not know or that gives
    no feature maps, for weights that there are none of, a layer that it has not, and a grid that is
    not the encoder's; and at the first use where weights cannot be had.
    """

    def __init__(self, params: TeacherParams, grid: Grid) -> None:
        super().__init__()
        self.params = params
        facts = facts_of(params.architecture)
        self.layer = _layer_of(params, len(facts.strides))
        stride = facts.strides[self.layer]
        self.size = (grid[0] * stride, grid[1] * stride)
        shapes = map_shapes(params.architecture, self.size)[: self.layer + 1]
        if not shapes or shapes[-1][1:] != grid:
            raise _other_grid(params.name, shapes, grid, self.size)
        check_weights(params, facts, self.size)
        self.dim = shapes[-1][0]
        same = [shape == shapes[-1] for shape in reversed(shapes)]
        self.num_alike = same.index(False) if False in same else len(same)
        """Last layers, up to the one that is taken, of its grid and width."""
        self.num_prefix_tokens = facts.num_prefix_tokens
        self.has_class_token = facts.class_token
        scale = [own / std for own, std in zip(STD, facts.std, strict=True)]
        shift = [(a - b) / std for a, b, std in zip(MEAN, facts.mean, facts.std, strict=True)]
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
        return self.layers(images, 1)[0][:, self.num_prefix_tokens :]

    @torch.no_grad()
    def layers(
        self, images: Float[Tensor, "batch 3 height width"], count: int
    ) -> Float[Tensor, "layers batch sequence dim"]:
        """The last `count` ≤ `num_alike` layers: prefix tokens and patches, float32."""
        wanted = list(range(self.layer - count + 1, self.layer + 1))
        found = sequences(
            self.model_on(images.device),
            self.see(images),
            wanted,
            prefix=self.num_prefix_tokens > 0,
        )
        return torch.stack([torch.cat(pair, dim=1).float() for pair in found])

    @torch.no_grad()
    def see(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 teacher_height teacher_width"]:
        """Normalised images as the teacher takes them: its size, its mean and deviation."""
        images = images * self.scale + self.shift
        if images.shape[2:] == self.size:
            return images
        return functional.interpolate(
            images, self.size, mode="bicubic", antialias=True, align_corners=False
        )

    def model_on(self, device: torch.device) -> nn.Module:
        """The timm model, read at the first use. On meta, which has no values, nothing is read."""
        if not self._held:
            if device.type == "meta":
                with device:
                    return self.params.architecture.built(self.size).eval().requires_grad_(False)
            self._held.append(load(self.params, self.size).to(device))
        return self._held[0]

    def weights(self) -> dict[str, Tensor]:
        """Everything that its features are made by, of the network and of how images reach it."""
        held = self.model_on(self.scale.device).state_dict()
        named = {f"teacher.model.{name}": tensor for name, tensor in held.items()}
        return {**named, "teacher.scale": self.scale, "teacher.shift": self.shift}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FrozenTeacher:
        """Moves and casts reach the weights too."""
        for model in self._held:
            model._apply(fn, recurse)
        return super()._apply(fn, recurse)


def _layer_of(params: TeacherParams, layers: int) -> int:
    if params.layer is not None and params.layer >= layers:
        message = f"{params.name} has layers 0 to {layers - 1}, not {params.layer}"
        raise ParamsError(f"{FIELD}.layer", message)
    return layers - 1 if params.layer is None else params.layer


def _other_grid(
    name: str, shapes: list[tuple[int, int, int]], grid: Grid, size: Grid
) -> ParamsError:
    has = f"has a grid of {shapes[-1][1]}×{shapes[-1][2]} at" if shapes else "cannot see"
    return ParamsError(
        f"{FIELD}.name",
        f"{name} {has} images of {size[0]}×{size[1]} px, and the encoder's grid is "
        f"{grid[0]}×{grid[1]}; take another teacher or another layer",
    )
