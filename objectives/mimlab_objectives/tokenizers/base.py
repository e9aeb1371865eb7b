"""The contract of what is computed of each patch once, and stored: codes, or features."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params, ParamsError, Registry

EncodedKind = Literal["codes", "features"]


class PatchEncoder(nn.Module, ABC):
    """A tokenizer, or a teacher whose features are stored. Constructed as `Encoder(params, grid)`.

    It reads square images of the size that gives it the encoder's grid, normalised like those that
    the encoder reads, and rendered from the same box. What it has learned (`fit`) is a buffer.
    Raises ParamsError for parameters that cannot hold on the grid.
    """

    kind: ClassVar[EncodedKind]
    size: int
    """Side in pixels of the images that it reads."""
    width: int
    """How many codes there are, or the length of a feature."""
    fit_points: int = 0
    """Patches that it has to see before it encodes anything: `fit` is called with their points."""

    def __init__(self, params: Params, grid: Grid) -> None:
        super().__init__()
        self.params = params
        self.grid = grid

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is, in short, for people: `kmeans-vit_small_patch16_224-8192`."""

    @abstractmethod
    def encode(
        self, images: Float[Tensor, "batch 3 size size"]
    ) -> Int[Tensor, "batch tokens"] | Float[Tensor, "batch tokens width"]:
        """Codes (int64) or features (float32) of every patch, rows of the grid one after the
        other; without gradient."""

    def points(
        self, images: Float[Tensor, "batch 3 size size"]
    ) -> Float[Tensor, "batch tokens point_dim"]:
        """What `fit` learns from, float32."""
        raise NotImplementedError(f"{type(self).__name__} learns nothing")

    def fit(self, points: Float[Tensor, "points point_dim"], seed: int) -> None:
        """Learn from the points of patches of many images."""
        raise NotImplementedError(f"{type(self).__name__} learns nothing")

    def all_weights(self) -> dict[str, Tensor]:
        """Every tensor that changes what it gives, by name: also of networks that it only holds."""
        return self.state_dict()

    def weights_sha256(self) -> str:
        """Hexadecimal hash of names, types, shapes and bytes of all weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.all_weights().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            plain = tensor.detach().cpu().contiguous().flatten()
            digest.update(plain.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def square_side(size: Grid) -> int:
    """Side in pixels of what an encoder reads. Raises ParamsError where it is not square."""
    if size[0] != size[1]:
        raise ParamsError(
            "grid", f"images would have {size[0]}×{size[1]} px; take as many rows as columns"
        )
    return size[0]


patch_encoders: Registry[PatchEncoder] = Registry("tokenizer")
