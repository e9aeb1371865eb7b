"""`resources.workers`: a number, or a range within which the cluster decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from mimlab.spec.section import Section, at_field


class WorkerRange(Section):
    """A number of workers that follows what the cluster has."""

    fewest: int = Field(default=1, ge=1, alias="min")
    """With fewer the trial waits."""
    most: int = Field(ge=1, alias="max")
    """As many as are free, up to this number."""

    @model_validator(mode="after")
    def _in_order(self) -> WorkerRange:
        if self.most < self.fewest:
            raise at_field("max", f"should be at least min, {self.fewest}; found {self.most}")
        return self


def _form(value: Any) -> str:
    return "range" if isinstance(value, Mapping | WorkerRange) else "number"


Workers = Annotated[
    Annotated[int, Field(ge=1), Tag("number")] | Annotated[WorkerRange, Tag("range")],
    Discriminator(_form),
]
