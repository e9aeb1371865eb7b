"""`MaskPlan`: what every masking gives and every objective takes.

Shape legend, used in the whole package: `batch` images, `rounds` masks of one view, `tokens`
patches of the grid in row-major order (index = row · columns + column), `kept` patches that the
encoder sees, `dim` channels of a token, `patch_dim` numbers of a pixel patch (3 · patch²),
`height`, `width` pixels. `hidden` is True where a patch is hidden: 1 = hidden, everywhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mimlab_objectives.masking.corruption import Corruption
from mimlab_objectives.registry import Registry

Count = Literal["exact", "batch", "per_image"]
"""Whether the hidden count is the same for every image ever, within a batch, or not at all."""

Signal = Literal["teacher_attention", "patch_loss", "features", "prior_map", "pixels"]
"""What a masking may need before it can plan: `teacher_attention` (batch, tokens), the attention
that a teacher's class token pays to each patch of the whole image; `patch_loss` (batch, tokens),
the loss that is predicted for each patch; `features` (batch, tokens, dim), the encoder's own of the
whole image; `prior_map` (batch, tokens), from a sidecar of the data; `pixels` (batch, 3, height,
width), the normalised images. The objective supplies the first three, the loop the others."""

Application = Literal["hide", "pixels", "spectrum", "projection"]
"""What masking means to the model: patches that it does not see, or images or tokens that are
degraded in pixels, in frequencies, or by a projection over tokens."""

Grid = tuple[int, int]
"""Rows and columns of patches."""


@dataclass(frozen=True)
class MaskRequest:
    """What a masking may know about a batch."""

    keys: Int[Tensor, " batch"]
    """int64, hash of (trial seed, epoch, sample id): the same on any number of workers."""
    progress: float = 0.0
    """Spent ÷ budget, in [0, 1]."""
    step_key: int = 0
    """Hash of (trial seed, step): what a whole batch shares, e.g. a drawn ratio."""
    signals: Mapping[Signal, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskPlan:
    """Which patches are hidden, kept and predicted, for `rounds` masks of each image."""

    grid: Grid
    keys: Int[Tensor, " batch"]
    """Those of the request, for what an objective draws itself, e.g. an order of the patches."""
    hidden: Bool[Tensor, "batch rounds tokens"]
    """Patches whose content the encoder does not see."""
    kept_ids: Int[Tensor, "batch rounds kept"] | None
    """int64, the patches that are given to an encoder of kept patches, in ascending order; None
    where counts differ between images."""
    restore_ids: Int[Tensor, "batch rounds tokens"] | None
    """int64, inverse of the order (kept ascending, then the others ascending); None as above."""
    predicted: Bool[Tensor, "batch rounds tokens"]
    """Where the loss counts; the hidden patches unless a masking says otherwise."""
    weight: Float[Tensor, "batch rounds tokens"]
    """Weight of each patch in the loss, 0 where it is not predicted."""
    repaired: Int[Tensor, "batch rounds"]
    """Patches that `repair` moved to reach an exact count: they are not the strategy's own."""
    replaced: Bool[Tensor, "batch rounds kept"] | None = None
    """True for kept patches that are hidden all the same: a mask token stands in their place. None
    where every kept patch is visible."""
    groups: Int[Tensor, "batch groups size"] | None = None
    """Ids of patches that are predicted together, of the one round that such plans have (I-JEPA's
    target blocks); None where all predicted patches are one group."""
    corruption: Corruption | None = None
    """How the input is degraded where `application` is not `hide`."""

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
        own = [value for value in values if isinstance(value, Tensor)]
        return own + (self.corruption.tensors() if self.corruption else [])

    def _each(self, change: Callable[[Tensor], Tensor]) -> MaskPlan:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        if self.corruption is not None:
            changed["corruption"] = self.corruption.each(change)
        return replace(self, **changed)


class Masking(ABC):
    """Decides which patches are hidden.

    Constructed as `Masking(params, grid)`, which raises `ParamsError` where the parameters cannot
    hold on that grid; this is how a study is checked before anything runs. What a class declares
    is what it usually is; an instance may narrow it by its parameters.
    """

    requires: ClassVar[frozenset[Signal]] = frozenset()
    application: ClassVar[Application] = "hide"
    couples_batch: bool = False
    """Whether an image's mask depends on the other images of its step. Such a masking plans for the
    whole global batch, on every worker, and is given no signal of the objective."""
    images_together: int = 1
    """Images in a row that a plan takes content from for each other. Where every worker's share of
    a batch is a multiple of it, the plan is the same on any number of workers."""
    replaces: bool = False
    """Whether its plans have `replaced` patches: mask tokens among what the encoder is given."""
    count: Count = "exact"
    rounds: int = 1
    """Masks of one view."""
    num_hidden: int
    """Hidden patches asked for, after rounding and cell size; the mean, where a schedule varies
    them."""

    @abstractmethod
    def __init__(self, params: Any, grid: Grid) -> None: ...

    @abstractmethod
    def plan(self, request: MaskRequest) -> MaskPlan:
        """A pure function of the request: same keys, same plan, on any device."""


maskings: Registry[Masking] = Registry("masking")


def num_hidden(units: int, ratio: float) -> int:
    """How many of `units` patches (or cells) a ratio hides: ⌈units · ratio⌉, in decimals.

    The one rounding rule. It equals MAE's `int(L · (1 − ratio))` kept (facebookresearch/mae,
    models_mae.py) and SimMIM's `ceil(cells · ratio)` hidden (microsoft/SimMIM,
    data/data_simmim.py), without the binary-float accident that keeps 9 of 100 at ratio 0.9.
    """
    return math.ceil(units * Decimal(repr(ratio)))
