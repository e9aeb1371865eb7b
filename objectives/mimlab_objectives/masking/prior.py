"""Guided by a map that comes with the data: saliency, parts, segmentation, anything per patch."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mimlab_objectives.keys import uniform
from mimlab_objectives.masking.plan import Grid, Masking, MaskPlan, MaskRequest, Signal, maskings
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.select import select
from mimlab_objectives.registry import Params


class PriorParams(Params):
    ratio: RatioOrSchedule = 0.5
    """Fraction of the patches that is hidden, rounded up."""
    hide: Literal["high", "low"] = "high"
    """Whether patches of high values of the map are rather hidden, or rather kept."""
    weight: float = Field(default=0.5, ge=0, le=1)
    """How much the map decides: 0 is random masking, at 1 chance breaks ties only."""
    weight_end: float | None = Field(default=None, ge=0, le=1)
    """Weight at the end of the budget, towards which it moves evenly; null: it stays."""


@maskings.register("prior", params=PriorParams, paper="Yuan et al. 2023, arXiv:2310.20695")
class Prior(Masking):
    """Hides by weight · rank of the map + (1 − weight) · a uniform number.

    HAP (junkunyuan/HAP, models/mask_strategy.py) ranks body parts at ratio 0.5; this takes any map
    and mixes it with chance as HPM mixes predicted losses. The mixture is this project's own.
    """

    requires: ClassVar[frozenset[Signal]] = frozenset({"prior_map"})

    def __init__(self, params: PriorParams, grid: Grid) -> None:
        self.params, self.grid = params, grid
        self.hidden = HiddenCount(params.ratio, grid[0] * grid[1], unit="patches")
        self.num_hidden, self.count = self.hidden.mean, self.hidden.count

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Only the order of the map counts, not its scale."""
        params, prior = self.params, request.signals["prior_map"]
        end = params.weight if params.weight_end is None else params.weight_end
        weight = params.weight + (end - params.weight) * request.progress
        rank = rank01(prior if params.hide == "high" else -prior)
        score = weight * rank + (1 - weight) * uniform(request.keys, rank.shape[1])
        return select(score, self.hidden.at(request), request.keys, self.grid)


def rank01(values: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens"]:
    """Share of the other patches that have less, in [0, 1]: equal values have equal ranks."""
    less = (values[:, :, None] > values[:, None, :]).sum(-1)
    return less / max(values.shape[1] - 1, 1)
