"""Parameters that several routes take, and what every router has in common."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from mimlab.serve.identity.callers import Caller
from mimlab.serve.services import Services, allowed, services

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$"
"""What ids look like: no part of a path elsewhere."""

SubmissionId = Annotated[
    str, Path(pattern=NAME, description="A submission's id.", examples=["ratios-20260115-101500"])
]
TrialId = Annotated[str, Path(pattern=NAME, description="A trial's id.", examples=["3f9c2a7be104"])]
Metric = Annotated[
    str,
    Query(min_length=1, max_length=200, description="A metric key.", examples=["probe/knn/top1"]),
]
Given = Annotated[Services, Depends(services)]
Reader = Annotated[Caller, Depends(allowed("read"))]
"""Who may read, and is."""


class Body(BaseModel):
    """Base of what requests carry: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Done(BaseModel):
    """An action that was recorded, and takes effect soon."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    done: str = Field(examples=["stop"])
    """What was asked for."""
    on: str = Field(examples=["ratios-20260115-101500"])
    """The submission or the trial."""
    said: str = Field(examples=["its trials save and end"])
    """What comes of it."""


class Launched(BaseModel):
    """A submission that is going to run."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    submission: str = Field(examples=["ratios-20260115-101500"])
    """Its id."""
    waiting: int | None = Field(examples=[12])
    """Its number in the queue; None where it does not wait."""

    @classmethod
    def of(cls, given: Services, submission: str) -> Launched:
        entry = given.queue.waiting(submission)
        return cls(submission=submission, waiting=entry and entry.number)


class Budget(Body):
    """A raised budget."""

    budget: dict[str, float] = Field(min_length=1, max_length=1, examples=[{"epochs": 200}])
    """The kind that the study has, and how much of it in all."""


class Retry(Body):
    """How something goes on."""

    retry_failed: bool = False
    """Whether trials that failed or diverged start again, too."""
