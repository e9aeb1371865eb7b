"""RandAugment (Cubuk et al. 2019, arXiv:1909.13719) as timm has it, drawn from keys.

timm draws and applies in one call, from the global generators of Python and NumPy, which threads
would share. Here its operations only note what they would do, in one thread and under a key; what
they noted is a pure function of an image, for any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from mimlab_objectives.images import MEAN
from mimlab_objectives.probes.global_draws import drawn_from

STRONGEST = 10
"""Greatest magnitude that timm knows."""
_BELOW_STRONGEST = 9.99
"""Where drawn magnitudes end: at 10, `Posterize` keeps no bit, which Pillow refuses."""
_TRANSLATION = 0.45
"""Longest translation as a share of the side (timm, data/transforms_factory.py)."""


@dataclass(frozen=True)
class Change:
    """What is done to an image: some of timm's operations, one after the other."""

    operations: tuple[Callable[[Image.Image], Image.Image], ...]

    def __call__(
        self, pixels: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """A new image of the same size; the same one where nothing is done to it."""
        if not self.operations:
            return pixels
        image = Image.fromarray(pixels)
        for operation in self.operations:
            image = operation(image)
        return np.asarray(image)


class RandAugment:
    """Two random operations for each image, each left out half of the time.

    As `rand-m9-mstd0.5-inc1` of timm, which MAE fine-tunes with (facebookresearch/mae,
    main_finetune.py): operations that grow with their magnitude, whose deviation is 0.5. Bicubic;
    what comes from outside the image has the mean colour.
    """

    def __init__(self, magnitude: int, size: int) -> None:
        """`magnitude` from 1 to 10, `size` of the square images in pixels."""
        settings = {
            "translate_const": int(_TRANSLATION * size),
            "img_mean": tuple(round(255 * channel) for channel in MEAN),
            "interpolation": Image.Resampling.BICUBIC,
            "magnitude_max": _BELOW_STRONGEST,
        }
        self._policy = rand_augment_transform(f"rand-m{magnitude}-mstd0.5-inc1", settings)
        for operation in self._policy.ops:
            operation.aug_fn = partial(_noted, operation.aug_fn)

    def changes(self, keys: Int[np.ndarray, " batch"]) -> list[Change]:
        """One for each key."""
        changes = []
        for key in keys.tolist():
            notes = _Notes()
            with drawn_from(key):
                self._policy(notes)
            changes.append(Change(tuple(notes.operations)))
        return changes


@dataclass(frozen=True)
class _Operation:
    apply: Callable[..., Image.Image]
    values: tuple[Any, ...]
    options: Mapping[str, Any]

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.apply(image, *self.values, **self.options)


@dataclass(frozen=True)
class _Notes:
    """Goes through timm's operations in the place of an image."""

    operations: list[_Operation] = field(default_factory=list)


def _noted(
    apply: Callable[..., Image.Image], notes: _Notes, *values: Any, **options: Any
) -> _Notes:
    """Called by timm in the place of `apply`."""
    notes.operations.append(_Operation(apply, values, options))
    return notes
