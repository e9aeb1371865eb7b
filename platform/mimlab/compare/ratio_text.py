"""The ratio that a masking was asked for, in short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mimlab_objectives.masking import drawn_schedules  # noqa: F401  registers its schedules
from mimlab_objectives.masking.schedules import schedules

RATIO = "masking.ratio"


def ratio_text(ratio: Any) -> str:
    """`0.75`; of a schedule what is not a default: `linear(start=0.9, end=0.5)`."""
    if isinstance(ratio, int | float):
        return f"{ratio:g}"
    if isinstance(ratio, Mapping) and ratio.get("name") in schedules:
        return str(schedules[ratio["name"]].params.model_validate(ratio))
    return json.dumps(ratio)


def is_of_ratio(path: str) -> bool:
    """Whether a path of a study is the ratio, or a parameter of its schedule."""
    return path == RATIO or path.startswith(f"{RATIO}.")
