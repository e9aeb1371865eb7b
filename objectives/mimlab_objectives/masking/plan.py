"""`MaskPlan`: what every masking gives and every objective takes.

Shape legend, used in the whole package: `batch` images, `rounds` masks of one view, `tokens`
patches of the grid in row-major order (index = row · columns + column), `kept` patches that the
encoder sees, `dim` channels of a token, `patch_dim` numbers of a pixel patch (3 · patch²),
`height`, `width` pixels. `hidden` is True where a patch is hidden: 1 = hidden, everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mimlab_objectives.registry import Registry

Count = Literal["exact", "batch", "per_image"]
"""Whether the hidden count is the same for every image ever, within a batch, or not at all."""

Signal = Literal["teacher_attention", "patch_loss", "features", "prior_map", "pixels"]
"""What a masking may need from the objective or the data before it can plan."""

Grid = tuple[int, int]
"""Rows and columns of patches."""


@dataclass(frozen=True)
class MaskRequest:
    """What a masking may know about a batch."""

    keys: Int[Tensor, " batch"]
    """int64, hash of (trial seed, epoch, sample id): the same on any number of workers."""
    progress: float = 0.0
    """Spent ÷ budget, in [0, 1]."""
    step: int = 0
    signals: Mapping[Signal, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskPlan:
    """Which patches are hidden, kept and predicted, for `rounds` masks of each image."""

    grid: Grid
    hidden: Bool[Tensor, "batch rounds tokens"]
    kept_ids: Int[Tensor, "batch rounds kept"] | None
    """int64, the kept patches in ascending order; None where counts differ between images."""
    restore_ids: Int[Tensor, "batch rounds tokens"] | None
    """int64, inverse of the order (kept ascending, then hidden ascending); None as above."""
    predicted: Bool[Tensor, "batch rounds tokens"]
    """Where the loss counts; the hidden patches unless a masking says otherwise."""
    weight: Float[Tensor, "batch rounds tokens"]
    """Weight of each patch in the loss, 0 where it is not predicted."""
    repaired: Int[Tensor, "batch rounds"]
    """Patches that `repair` moved to reach an exact count: they are not the strategy's own."""

    @property
    def ratio_realised(self) -> Float[Tensor, ""]:
        """Share of patches hidden, over the batch."""
        return self.hidden.float().mean()

    def to(self, device: torch.device) -> MaskPlan:
        """The same plan on `device`, by non-blocking copies."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> MaskPlan:
        """The same plan in page-locked host memory, from where copies to a GPU do not block."""
        return self._each(Tensor.pin_memory)

    def part(self, start: int, stop: int) -> MaskPlan:
        """The plan of images `start` to `stop`, e.g. of a micro-batch."""
        return self._each(lambda tensor: tensor[start:stop])

    def tensors(self) -> list[Tensor]:
        """Every tensor of the plan."""
        values = [getattr(self, field.name) for field in fields(self)]
        return [value for value in values if isinstance(value, Tensor)]

    def _each(self, change: Callable[[Tensor], Tensor]) -> MaskPlan:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)


@runtime_checkable
class Masking(Protocol):
    """Decides which patches are hidden.

    Constructed as `Masking(params, grid)`, which raises `ParamsError` where the parameters cannot
    hold on that grid; this is how a study is checked before anything runs.
    """

    requires: ClassVar[frozenset[Signal]]
    count: ClassVar[Count]

    def __init__(self, params: Any, grid: Grid) -> None: ...

    @property
    def num_hidden(self) -> int:
        """Hidden patches asked for, after rounding and cell size."""
        ...

    def plan(self, request: MaskRequest) -> MaskPlan:
        """A pure function of the request: same keys, same plan, on any device."""
        ...


maskings: Registry[Masking] = Registry("masking")


def num_hidden(units: int, ratio: float) -> int:
    """How many of `units` patches (or cells) a ratio hides: ⌈units · ratio⌉, in decimals.

    The one rounding rule. It equals MAE's `int(L · (1 − ratio))` kept (facebookresearch/mae,
    models_mae.py) and SimMIM's `ceil(cells · ratio)` hidden (microsoft/SimMIM,
    data/data_simmim.py), without the binary-float accident that keeps 9 of 100 at ratio 0.9.
    """
    return math.ceil(units * Decimal(repr(ratio)))
