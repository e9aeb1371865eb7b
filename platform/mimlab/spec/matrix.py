"""Which objectives, maskings and targets combine, and why the others do not."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from mimlab.spec.checks import pairing_problem, target_problem
from mimlab.spec.parts import register_parts
from mimlab_objectives.masking.plan import maskings
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.targets.base import targets


class Matrix(BaseModel):
    """Objectives against parts of another kind."""

    kind: str
    """`maskings` or `targets`."""
    parts: list[str]
    objectives: list[str]
    reasons: dict[str, dict[str, str | None]]
    """Part → objective → why the two do not combine, None where they do."""


def matrices() -> list[Matrix]:
    """Objective × masking and objective × target, as the classes declare themselves.

    An instance may still narrow what its class says, e.g. a masking that repairs its count only
    where a parameter asks for it; `mimlab validate` looks at instances.
    """
    register_parts()
    return [
        _matrix("maskings", maskings.entries(), pairing_problem),
        _matrix("targets", targets.entries(), target_problem),
    ]


def _matrix(kind: str, entries: list[Any], problem: Any) -> Matrix:
    return Matrix(
        kind=kind,
        parts=[entry.name for entry in entries],
        objectives=list(objectives),
        reasons={
            entry.name: {o.name: problem(o.part, entry.part) for o in objectives.entries()}
            for entry in entries
        },
    )
