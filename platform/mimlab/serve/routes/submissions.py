"""Submissions: read, made, stopped, paused, resumed, extended."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from mimlab.actions import extend, pause, resume, stop, submit
from mimlab.errors import NotNow, UserError
from mimlab.serve.checking import PastedStudy
from mimlab.serve.errors import ApiError, documented
from mimlab.serve.identity.callers import Caller
from mimlab.serve.queue.need import need
from mimlab.serve.queue.order import places
from mimlab.serve.reading import heatmap, parallel, seed_means
from mimlab.serve.reading.models import (
    HeatMap,
    Parallel,
    SeedMean,
    SubmissionDetail,
    SubmissionSummary,
)
from mimlab.serve.routes.given import (
    Budget,
    Done,
    Given,
    Launched,
    Metric,
    Reader,
    Retry,
    SubmissionId,
)
from mimlab.serve.routes.queue import QueueItem
from mimlab.serve.services import allowed
from mimlab.spec.checks import legal_trials
from mimlab.spec.space import num_trials

router = APIRouter(prefix="/submissions", tags=["submissions"], responses=documented(404))
Axis = Annotated[str, Query(max_length=200, description="Dotted path of an axis.")]


class LogTail(BaseModel):
    """The last lines of what the driver said."""

    lines: list[str]


@router.get("", summary="All submissions, newest first")
def list_submissions(_: Reader, given: Given) -> list[SubmissionSummary]:
    return given.reading.submissions()


@router.get("/{submission_id}", summary="A submission with its trials")
def get_submission(submission_id: SubmissionId, _: Reader, given: Given) -> SubmissionDetail:
    given.submission(submission_id)
    return given.reading.submission(submission_id)


@router.get("/{submission_id}/heatmap", summary="A metric over two axes")
def get_heatmap(
    submission_id: SubmissionId,
    metric: Metric,
    _: Reader,
    given: Given,
    x: Axis = "masking.ratio",
    y: Axis = "masking.name",
) -> HeatMap:
    given.submission(submission_id)
    return heatmap(given.reading.submission(submission_id), metric, x, y)


@router.get("/{submission_id}/parallel", summary="A line for each trial through its axes")
def get_parallel(submission_id: SubmissionId, metric: Metric, _: Reader, given: Given) -> Parallel:
    given.submission(submission_id)
    return parallel(given.reading.submission(submission_id), metric)


@router.get("/{submission_id}/seed-means", summary="Means over seeds, with intervals")
def get_seed_means(
    submission_id: SubmissionId, metric: Metric, _: Reader, given: Given
) -> list[SeedMean]:
    given.submission(submission_id)
    return seed_means(given.reading.submission(submission_id), metric)


@router.get("/{submission_id}/log", summary="The last lines of what its driver said")
def get_log(
    submission_id: SubmissionId,
    _: Reader,
    given: Given,
    lines: Annotated[int, Query(ge=1, le=5000)] = 200,
) -> LogTail:
    given.owner(submission_id)
    try:
        text = given.admission.launcher.log_tail(submission_id, lines)
    except (UserError, NotNow) as error:  # only Ray has it
        raise ApiError(503, f"its driver's output cannot be read now: {error}") from error
    return LogTail(lines=text.splitlines())


@router.get(
    "/{submission_id}/job",
    summary="Leads to Ray's page of its driver",
    status_code=307,
    response_class=RedirectResponse,
    responses={307: {"description": "Where that is."}},
)
def get_job(submission_id: SubmissionId, _: Reader, given: Given) -> RedirectResponse:
    given.owner(submission_id)
    try:
        page = given.admission.launcher.page(submission_id)
    except (UserError, NotNow) as error:
        raise ApiError(503, f"its job cannot be found now: {error}") from error
    if page is None:
        raise ApiError(404, "the dashboard was not told of a Ray cluster: `--address` names one")
    return RedirectResponse(page)


@router.get("/{submission_id}/queued", summary="How it came to run, or what it waits for")
def get_queued(submission_id: SubmissionId, _: Reader, given: Given) -> QueueItem:
    order = places(given.queue.entries(), given.queue.quotas())
    return QueueItem.of(given.queued(submission_id), order)


@router.post("", status_code=202, summary="Submit a study: it runs when its user's share has room")
def submit_study(
    pasted: PastedStudy, caller: Annotated[Caller, Depends(allowed("submit"))], given: Given
) -> Launched:
    loaded = given.checker.loaded(pasted)
    trials = num_trials(loaded.study, legal_trials(loaded))
    submission = submit.submit(
        pasted.text,
        store=given.store,
        launcher=given.launcher(caller, need(loaded.study.resources, trials)),
        user=caller.name,
        preset=pasted.preset,
        overrides=pasted.overrides,
    )
    return Launched.of(given, submission)


@router.post("/{submission_id}/stop", status_code=202, summary="Save and stop all its trials")
def stop_submission(
    submission_id: SubmissionId,
    caller: Annotated[Caller, Depends(allowed("stop"))],
    given: Given,
) -> Done:
    given.permit(caller, "stop", submission_id)
    launcher = given.launcher(caller)
    said = stop.stop_submission(given.store, submission_id, caller.name, launcher)
    return Done(done="stop", on=submission_id, said=said)


@router.post("/{submission_id}/pause", status_code=202, summary="Save, and free its resources")
def pause_submission(
    submission_id: SubmissionId,
    caller: Annotated[Caller, Depends(allowed("pause"))],
    given: Given,
) -> Done:
    given.permit(caller, "pause", submission_id)
    launcher = given.launcher(caller)
    said = pause.pause_submission(given.store, submission_id, caller.name, launcher)
    return Done(done="pause", on=submission_id, said=said)


@router.post("/{submission_id}/resume", status_code=202, summary="Go on with it")
def resume_submission(
    submission_id: SubmissionId,
    caller: Annotated[Caller, Depends(allowed("resume"))],
    given: Given,
    how: Annotated[Retry, Body()] = Retry(),  # noqa: B008  FastAPI's way, and it is frozen
) -> Launched:
    given.permit(caller, "resume", submission_id)
    resume.resume_submission(
        given.store,
        submission_id,
        caller.name,
        launcher=given.launcher(caller),
        retry_failed=how.retry_failed,
    )
    return Launched.of(given, submission_id)


@router.post("/{submission_id}/extend", status_code=202, summary="Raise the budget of all trials")
def extend_submission(
    submission_id: SubmissionId,
    asked: Budget,
    caller: Annotated[Caller, Depends(allowed("extend"))],
    given: Given,
) -> Launched:
    given.permit(caller, "extend", submission_id)
    submission = extend.extend(
        given.store,
        submission_id,
        asked.budget,
        launcher=given.launcher(caller),
        by=caller.name,
    )
    return Launched.of(given, submission)
