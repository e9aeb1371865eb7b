"""A dashboard's API from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, RootModel, ValidationError

from mimlab.errors import NotNow, UserError
from mimlab.serve.checking import PastedStudy
from mimlab.serve.errors import ErrorBody
from mimlab.serve.plans import PlanResult
from mimlab.serve.reading.models import Curve, SubmissionDetail, SubmissionSummary, TrialDetail
from mimlab.serve.routes.given import Done, Launched
from mimlab.serve.routes.queue import QueueView
from mimlab.serve.routes.session import Identity
from mimlab.serve.routes.studies import StudyCheck

TOKEN = "MIMLAB_TOKEN"
"""The environment variable that holds the token."""
TIMEOUT_S = 60.0

ModelT = TypeVar("ModelT", bound=BaseModel)


class _Summaries(RootModel[list[SubmissionSummary]]):
    """What a list of submissions is sent as."""


class _Curves(RootModel[list[Curve]]):
    """What curves are sent as."""


class Client:
    """Asks a server; what it refuses is a UserError in its own words, what passes a NotNow."""

    def __init__(
        self, server: str, token: str | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`server`: `https://host`; `token`: by default that of the environment."""
        token = token or os.environ.get(TOKEN)
        self._http = httpx.Client(
            base_url=f"{server.rstrip('/')}/api/v1",
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_S,
            transport=transport,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def identity(self) -> Identity:
        return self._get("/session", Identity)

    def submissions(self) -> list[SubmissionSummary]:
        return self._get("/submissions", _Summaries).root

    def submission(self, submission_id: str) -> SubmissionDetail:
        return self._get(f"/submissions/{submission_id}", SubmissionDetail)

    def trial(self, submission_id: str, trial_id: str) -> TrialDetail:
        return self._get(_trial(submission_id, trial_id), TrialDetail)

    def curves(
        self, trials: Sequence[str], metrics: Sequence[str], points: int = 500
    ) -> list[Curve]:
        asked = {"trial": list(trials), "metric": list(metrics), "points": points}
        return self._get("/curves", _Curves, asked).root

    def board(self, trial_id: str, step: int) -> bytes:
        """PNG."""
        return self._sent("GET", f"/trials/{trial_id}/boards/{step}").content

    def check(self, study: PastedStudy) -> StudyCheck:
        return self._post("/studies/check", StudyCheck, study.model_dump())

    def start_plan(self, study: PastedStudy) -> PlanResult:
        return self._post("/studies/plans", PlanResult, study.model_dump())

    def plan(self, plan_id: str) -> PlanResult:
        return self._get(f"/studies/plans/{plan_id}", PlanResult)

    def submit(
        self, text: str, *, preset: str | None = None, overrides: Sequence[str] = ()
    ) -> Launched:
        study = PastedStudy(text=text, preset=preset, overrides=list(overrides))
        return self._post("/submissions", Launched, study.model_dump())

    def stop(self, submission_id: str, trial_id: str | None = None) -> Done:
        return self._post(f"{_target(submission_id, trial_id)}/stop", Done)

    def pause(self, submission_id: str, trial_id: str | None = None) -> Done:
        return self._post(f"{_target(submission_id, trial_id)}/pause", Done)

    def resume(
        self, submission_id: str, trial_id: str | None = None, *, retry_failed: bool = False
    ) -> Launched:
        path = f"{_target(submission_id, trial_id)}/resume"
        return self._post(path, Launched, {"retry_failed": retry_failed})

    def fork(
        self, submission_id: str, trial_id: str, changes: Sequence[str], *, step: int | None = None
    ) -> Launched:
        body = {"changes": list(changes), "step": step}
        return self._post(f"{_trial(submission_id, trial_id)}/fork", Launched, body)

    def extend(
        self, submission_id: str, budget: Mapping[str, float], trial_id: str | None = None
    ) -> Launched:
        path = f"{_target(submission_id, trial_id)}/extend"
        return self._post(path, Launched, {"budget": dict(budget)})

    def log(self, submission_id: str, lines: int = 200) -> list[str]:
        answer = self._sent("GET", f"/submissions/{submission_id}/log", params={"lines": lines})
        return answer.json()["lines"]

    def queue(self) -> QueueView:
        return self._get("/queue", QueueView)

    def withdraw(self, number: int) -> Done:
        return _read(self._sent("DELETE", f"/queue/{number}"), Done)

    def _get(self, path: str, kind: type[ModelT], asked: Mapping[str, Any] | None = None) -> ModelT:
        return _read(self._sent("GET", path, params=asked), kind)

    def _post(self, path: str, kind: type[ModelT], body: Any = None) -> ModelT:
        return _read(self._sent("POST", path, json=body), kind)

    def _sent(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None
    ) -> httpx.Response:
        server = self._http.base_url
        try:
            answer = self._http.request(method, path, params=params, json=json)
        except httpx.TransportError as error:
            raise NotNow(f"{server}: the dashboard does not answer ({error})") from error
        if answer.status_code < 400:
            return answer
        said = _refusal(answer)
        raise NotNow(said) if answer.status_code in (429, 503) else UserError(said)


def _target(submission_id: str, trial_id: str | None) -> str:
    one = trial_id is not None
    return _trial(submission_id, trial_id) if one else f"/submissions/{submission_id}"


def _trial(submission_id: str, trial_id: str) -> str:
    return f"/submissions/{submission_id}/trials/{trial_id}"


def _read(answer: httpx.Response, kind: type[ModelT]) -> ModelT:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise UserError(
            f"{answer.url}: the answer is not this version's; is it a dashboard of mimlab?"
        ) from error


def _refusal(answer: httpx.Response) -> str:
    try:
        fault = ErrorBody.model_validate_json(answer.content).error
    except ValidationError:
        return f"{answer.url}: {answer.status_code}, and not from a dashboard of mimlab"
    return fault.message if fault.field is None else f"{fault.field}: {fault.message}"
