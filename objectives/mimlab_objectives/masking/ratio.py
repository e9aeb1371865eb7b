"""The ratio of a masking: what it may be, and how many patches or cells it hides on a grid."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, Discriminator, Field, Tag

from mimlab_objectives.masking.drawn_schedules import MaskGitRatio, TruncatedNormalRatio
from mimlab_objectives.masking.plan import Count, MaskRequest, num_hidden
from mimlab_objectives.masking.schedules import (
    CosineRatio,
    LinearRatio,
    RatioSchedule,
    StepRatio,
    UniformRatio,
)
from mimlab_objectives.registry import ParamsError

Ratio = Annotated[float, Field(gt=0, lt=1)]
"""A fraction of the patches: neither none nor all of them."""


def _form(value: Any) -> str | None:
    if isinstance(value, dict):
        name = value.get("name")
        return name if isinstance(name, str) else None
    return str(getattr(value, "name", "number")) if isinstance(value, BaseModel) else "number"


RatioOrSchedule = Annotated[
    Annotated[Ratio, Tag("number")]
    | Annotated[LinearRatio, Tag("linear")]
    | Annotated[CosineRatio, Tag("cosine")]
    | Annotated[StepRatio, Tag("step")]
    | Annotated[UniformRatio, Tag("uniform")]
    | Annotated[TruncatedNormalRatio, Tag("truncated_normal")]
    | Annotated[MaskGitRatio, Tag("maskgit")],
    Discriminator(_form),
]
"""A number, or a schedule by its `name`."""


class HiddenCount:
    """How many of `units` a ratio hides, at any time of a training.

    Raises ParamsError, on the field `ratio`, where it would leave none to keep at some time, unless
    `or_all` says that a schedule may hide all of them.
    """

    def __init__(
        self, ratio: float | RatioSchedule, units: int, *, unit: str, or_all: bool = False
    ) -> None:
        self._ratio, self._units = ratio, units
        if isinstance(ratio, RatioSchedule):
            least, most = ratio.bounds()
            if not or_all:
                what = f"{ratio} goes up to ratio {most}, which"
                checked_num_hidden(most, units, unit=unit, what=what)
            self._bounds = [num_hidden(units, least), num_hidden(units, most)]
            self.mean = num_hidden(units, ratio.mean())
        else:
            self.mean = checked_num_hidden(ratio, units, unit=unit)
            self._bounds = [self.mean, self.mean]

    @property
    def count(self) -> Count:
        """Whether it is always the same."""
        return "exact" if self._bounds[0] == self._bounds[1] else "batch"

    @property
    def least(self) -> int:
        """Fewest that are hidden at any time."""
        return self._bounds[0]

    @property
    def most(self) -> int:
        """Most that are hidden at any time."""
        return self._bounds[1]

    def at(self, request: MaskRequest) -> int:
        """Hidden at the time of a request."""
        if not isinstance(self._ratio, RatioSchedule):
            return self.mean
        least, most = self._bounds
        exact = num_hidden(self._units, self._ratio.at(request.progress, request.step_key))
        quantum = self._ratio.quantum
        return min(max(round(exact / quantum) * quantum, least), most)


def checked_num_hidden(ratio: float, units: int, *, unit: str, what: str = "") -> int:
    """`num_hidden` of `units` patches or cells, called `unit` in messages, the ratio `what`.

    Rounding up hides at least one; raises ParamsError where it leaves none to keep.
    """
    hidden = num_hidden(units, ratio)
    if hidden < units:
        return hidden
    if units == 1:
        raise ParamsError("ratio", f"there is only one of the {unit}: hiding it keeps nothing")
    largest = math.floor((units - 1) / units * 10_000) / 10_000
    raise ParamsError(
        "ratio",
        f"{what or f'ratio {ratio}'} hides all {units} {unit}: at most {largest} keeps one of them",
    )
