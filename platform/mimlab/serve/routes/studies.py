"""Studies that are only pasted yet: checked as one types, planned, billed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict

from mimlab.serve.checking import PastedStudy, StudyProblem
from mimlab.serve.errors import ApiError, documented
from mimlab.serve.identity.callers import Caller
from mimlab.serve.plans import PlanResult
from mimlab.serve.routes.given import Given, Reader
from mimlab.serve.services import allowed
from mimlab.spec.schema import study_schema

router = APIRouter(prefix="/studies", tags=["studies"], responses=documented())
Checks = Annotated[Caller, Depends(allowed("check"))]


class StudyCheck(BaseModel):
    """Whether a study is sound."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    sound: bool
    study: str | None = None
    """Its name."""
    trials: int | None = None
    """In all."""
    problems: list[StudyProblem] = []
    """Everything that is wrong with it."""


@router.post("/check", summary="What is wrong with a study, without looking at its data")
def check_study(pasted: PastedStudy, _: Checks, given: Given) -> StudyCheck:
    found = given.checker.problems(pasted)
    if isinstance(found, list):
        return StudyCheck(sound=False, problems=found)
    study, trials = found
    return StudyCheck(sound=True, study=study, trials=trials)


@router.post("/plans", status_code=202, summary="Measure a study's bill, in the background")
def make_plan(pasted: PastedStudy, caller: Checks, given: Given) -> PlanResult:
    return given.plans.start(pasted, caller.name)


@router.get(
    "/plans/{plan_id}",
    summary="A plan, as far as it has come",
    responses=documented(404),
)
def get_plan(
    plan_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,40}$", examples=["kF3vT0aBq9xZ_w1c"])],
    caller: Checks,
    given: Given,
) -> PlanResult:
    found = given.plans.get(plan_id, caller.name)
    if found is None:
        raise ApiError(404, "there is no such plan of yours, or none any more; make it again")
    return found


@router.get("/schema", summary="The JSON Schema of study files, for editors")
def get_schema(_: Reader) -> dict[str, Any]:
    return study_schema()
