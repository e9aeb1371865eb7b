"""Trials: read, stopped, paused, resumed, forked, extended; their curves and boards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from mimlab.actions import extend, fork, pause, resume, stop
from mimlab.errors import UserError
from mimlab.serve.checking import StudyProblem
from mimlab.serve.errors import ApiError, documented
from mimlab.serve.fork_changes import changes_of, without_seed
from mimlab.serve.identity.callers import Caller
from mimlab.serve.reading.models import Curve, TrialDetail
from mimlab.serve.routes import given as given_
from mimlab.serve.routes.given import (
    NAME,
    Budget,
    Done,
    Given,
    Launched,
    Reader,
    Retry,
    SubmissionId,
    TrialId,
)
from mimlab.serve.security.pasted import MAX_OVERRIDES, check_pasted
from mimlab.serve.services import allowed
from mimlab.spec.positions import MAX_BYTES

router = APIRouter(tags=["trials"], responses=documented(404))
MAX_STEP = 10**12
MAX_POINTS = 1_000_000
"""Of all curves of one answer."""
ONE = "/submissions/{submission_id}/trials/{trial_id}"


class Changes(given_.Body):
    """How a fork differs from the trial that it begins at."""

    changes: list[Annotated[str, Field(max_length=10_000)]] = Field(
        default=[], max_length=MAX_OVERRIDES, examples=[["train.optimizer.base_lr=1.0e-3"]]
    )
    """`path=value`."""
    step: int | None = Field(default=None, ge=0, le=MAX_STEP, examples=[1200])
    """Of the checkpoint that it begins at; None: the last."""


class Edited(given_.Body):
    """A trial's configuration as somebody has changed it."""

    text: str = Field(max_length=MAX_BYTES, examples=["masking:\n  ratio: 0.6\n"])
    """YAML with every key of `resolved_text`, its `seed` aside."""


class RunBy(BaseModel):
    """Whose a trial is, of all submissions that it is part of."""

    submission: str


class ForkCheck(BaseModel):
    """What a fork with such a configuration would change."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    changes: list[str]
    """`path=value`, as a fork takes them."""
    problems: list[StudyProblem]
    """Everything that is wrong with it."""


@router.get(ONE, summary="Everything about a trial")
def get_trial(
    submission_id: SubmissionId, trial_id: TrialId, _: Reader, given: Given
) -> TrialDetail:
    given.trial(submission_id, trial_id)
    return given.reading.trial(submission_id, trial_id)


@router.get("/curves", summary="Metrics of trials over their steps, thinned so that spikes stay")
def get_curves(
    trial: Annotated[
        list[Annotated[str, Field(pattern=NAME)]],
        Query(min_length=1, max_length=500, description="Trial ids.", examples=["3f9c2a7be104"]),
    ],
    metric: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]],
        Query(min_length=1, max_length=50, description="Metric keys.", examples=["train/loss"]),
    ],
    _: Reader,
    given: Given,
    points: Annotated[int, Query(ge=4, le=10_000, description="Of a curve, at most.")] = 500,
) -> list[Curve]:
    _check_asked(trial, metric, points)
    given.known_trials(trial)
    return given.reading.curves(trial, metric, points)


def _check_asked(trials: Sequence[str], metrics: Sequence[str], points: int) -> None:
    """Raises ApiError 422 for curves that are asked for twice, or for too many points of them."""
    for field, asked in (("trial", trials), ("metric", metrics)):
        if len(set(asked)) < len(asked):
            raise ApiError(422, f"name each {field} once", field=field)
    total = len(trials) * len(metrics) * points
    if total > MAX_POINTS:
        raise ApiError(
            422,
            f"trials × metrics × points: {total:,} are more than {MAX_POINTS:,}; ask for fewer, "
            "or in several requests",
            field="points",
        )


@router.get("/trials/{trial_id}/submission", summary="Which submission runs it")
def get_submission_of(trial_id: TrialId, _: Reader, given: Given) -> RunBy:
    given.known_trials([trial_id])
    return RunBy(submission=given.reading.submission_of(trial_id))


@router.get("/curves/metrics", summary="Metric keys that any of some trials has")
def get_metrics(
    trial: Annotated[
        list[Annotated[str, Field(pattern=NAME)]],
        Query(min_length=1, max_length=500, description="Trial ids.", examples=["3f9c2a7be104"]),
    ],
    _: Reader,
    given: Given,
) -> list[str]:
    given.known_trials(trial)
    return given.reading.metrics(trial)


@router.get(
    "/trials/{trial_id}/boards/{step}",
    summary="A board: input, mask and prediction of fixed images",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "The picture."}},
)
def get_board(
    trial_id: TrialId,
    step: Annotated[int, Path(ge=0, le=MAX_STEP, examples=[1200])],
    _: Reader,
    given: Given,
) -> Response:
    given.known_board(trial_id, step)
    return Response(given.reading.board(trial_id, step), media_type="image/png")


@router.post(f"{ONE}/stop", status_code=202, summary="Save and stop it")
def stop_trial(
    submission_id: SubmissionId,
    trial_id: TrialId,
    caller: Annotated[Caller, Depends(allowed("stop"))],
    given: Given,
) -> Done:
    given.permit_trial(caller, "stop", submission_id, trial_id)
    said = stop.stop_trial(given.store, submission_id, trial_id, caller.name)
    return Done(done="stop", on=trial_id, said=said)


@router.post(f"{ONE}/pause", status_code=202, summary="Save, and free its resources")
def pause_trial(
    submission_id: SubmissionId,
    trial_id: TrialId,
    caller: Annotated[Caller, Depends(allowed("pause"))],
    given: Given,
) -> Done:
    given.permit_trial(caller, "pause", submission_id, trial_id)
    said = pause.pause_trial(given.store, submission_id, trial_id, caller.name)
    return Done(done="pause", on=trial_id, said=said)


@router.post(f"{ONE}/resume", status_code=202, summary="Go on with it")
def resume_trial(
    submission_id: SubmissionId,
    trial_id: TrialId,
    caller: Annotated[Caller, Depends(allowed("resume"))],
    given: Given,
    how: Annotated[Retry, Body()] = Retry(),  # noqa: B008  FastAPI's way, and it is frozen
) -> Launched:
    given.permit_trial(caller, "resume", submission_id, trial_id)
    shown = given.reading.trial(submission_id, trial_id).summary.state
    resume.resume_trial(
        given.store,
        submission_id,
        trial_id,
        caller.name,
        launcher=given.launcher(caller),
        retry_failed=how.retry_failed,
        lost=shown == "lost",
    )
    return Launched.of(given, submission_id)


@router.post(f"{ONE}/fork/check", summary="What a fork would change, and what is wrong with it")
def check_fork(
    submission_id: SubmissionId,
    trial_id: TrialId,
    edited: Edited,
    _: Annotated[Caller, Depends(allowed("check"))],
    given: Given,
) -> ForkCheck:
    given.trial(submission_id, trial_id)
    before = without_seed(given.reading.trial(submission_id, trial_id).resolved_text)
    try:
        check_pasted(edited.text, [])
        changes = changes_of(before, edited.text)
    except UserError as error:
        problem = StudyProblem(line=None, field=None, message=str(error))
        return ForkCheck(changes=[], problems=[problem])
    return ForkCheck(changes=changes, problems=given.checker.problems_of_fork(edited.text, changes))


@router.post(f"{ONE}/fork", status_code=202, summary="Begin a new trial at one of its checkpoints")
def fork_trial(
    submission_id: SubmissionId,
    trial_id: TrialId,
    asked: Changes,
    caller: Annotated[Caller, Depends(allowed("fork"))],
    given: Given,
) -> Launched:
    given.permit_trial(caller, "fork", submission_id, trial_id)
    given.checker.check_changes(asked.changes)
    submission = fork.fork(
        given.store,
        trial_id,
        asked.changes,
        step=asked.step,
        launcher=given.launcher(caller),
        by=caller.name,
    )
    return Launched.of(given, submission)


@router.post(f"{ONE}/extend", status_code=202, summary="Raise its budget")
def extend_trial(
    submission_id: SubmissionId,
    trial_id: TrialId,
    asked: Budget,
    caller: Annotated[Caller, Depends(allowed("extend"))],
    given: Given,
) -> Launched:
    given.permit_trial(caller, "extend", submission_id, trial_id)
    submission = extend.extend(
        given.store, trial_id, asked.budget, launcher=given.launcher(caller), by=caller.name
    )
    return Launched.of(given, submission)
