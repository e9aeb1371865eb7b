"""AttMask: hide what a teacher's class token attends to, all but a hint of it, or the rest."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from mimlab_objectives.keys import uniform
from mimlab_objectives.masking.plan import (
    Count,
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    Signal,
    maskings,
)
from mimlab_objectives.masking.ratio import HiddenCount, RatioOrSchedule
from mimlab_objectives.masking.schedules import UniformRatio
from mimlab_objectives.masking.select import highest, plan_of_hidden
from mimlab_objectives.registry import Params

_REVEAL, _COIN = range(2)  # streams of an image's key


class AttMaskParams(Params):
    ratio: RatioOrSchedule = UniformRatio(name="uniform", low=0.1, high=0.5, quantum=1)
    """Fraction of the patches that is hidden, rounded up; by default one draw for each batch."""
    hide: Literal["high", "hint", "low"] = "hint"
    """The patches of highest attention, those but a random few of the very highest, or those of
    lowest attention."""
    probability: float = Field(default=0.5, gt=0, le=1)
    """Probability that an image is masked at all; an encoder of kept patches needs 1."""
    hint_pool: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the patches, those of highest attention, among which hints are drawn."""
    hint_share: float = Field(default=0.1, ge=0, lt=1)
    """Number of hints as a fraction of the hidden patches, rounded down."""


@maskings.register("attmask", params=AttMaskParams, paper="Kakogeorgiou et al., arXiv:2203.12719")
class AttMask(Masking):
    """Hides by a teacher's attention: the highest, the highest but for hints, or the lowest.

    As gkakogeorgiou/attmask, attmask.py and main_attmask.py, but rounding up as every masking
    here. Hints are drawn among the hidden ones of the pool, so that their number is exact.
    """

    requires: ClassVar[frozenset[Signal]] = frozenset({"teacher_attention"})
    count: Count = "per_image"

    def __init__(self, params: AttMaskParams, grid: Grid) -> None:
        self.params, self.grid = params, grid
        self.tokens = grid[0] * grid[1]
        self.hidden = HiddenCount(params.ratio, self.tokens, unit="patches")
        if params.probability == 1:
            self.count = self.hidden.count
        mean = self.hidden.mean
        self.num_hidden = round((mean - self._num_hints(mean)) * params.probability)

    def plan(self, request: MaskRequest) -> MaskPlan:
        """Rank the attention, reveal the hints, then leave some images as they are."""
        keys, params = request.keys, self.params
        attention = request.signals["teacher_attention"]
        most = self.hidden.at(request)
        hidden = highest(-attention if params.hide == "low" else attention, most, keys)
        hints = self._num_hints(most)
        if hints:
            pool = highest(attention, self._pool(most), keys)
            hidden = hidden & ~highest(pool.float(), hints, keys, stream=_REVEAL)
        if params.probability == 1:
            return plan_of_hidden(hidden, self.grid, keys, num_hidden=most - hints)
        masked = uniform(keys, 1, _COIN) < params.probability
        return plan_of_hidden(hidden & masked, self.grid, keys, num_hidden=None)

    def _num_hints(self, num_hidden: int) -> int:
        if self.params.hide != "hint":
            return 0
        return min(int(self.params.hint_share * num_hidden), self._pool(num_hidden))

    def _pool(self, num_hidden: int) -> int:
        return min(int(self.params.hint_pool * self.tokens), num_hidden)
