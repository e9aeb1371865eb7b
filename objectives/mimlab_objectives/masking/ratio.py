"""The ratio of a masking: what it may be, and how many patches or cells it hides on a grid."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from mimlab_objectives.masking.plan import num_hidden
from mimlab_objectives.registry import ParamsError

Ratio = Annotated[float, Field(gt=0, lt=1)]
"""A fraction of the patches: neither none nor all of them."""


def checked_num_hidden(ratio: float, units: int, *, unit: str) -> int:
    """`num_hidden` of `units` patches or cells, called `unit` in messages.

    Rounding up hides at least one; raises ParamsError where it leaves none to keep.
    """
    hidden = num_hidden(units, ratio)
    if hidden < units:
        return hidden
    if units == 1:
        raise ParamsError("ratio", f"there is only one of the {unit}: hiding it keeps nothing")
    largest = math.floor((units - 1) / units * 10_000) / 10_000
    raise ParamsError(
        "ratio", f"ratio {ratio} hides all {units} {unit}: at most {largest} keeps one of them"
    )
