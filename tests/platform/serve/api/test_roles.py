"""Every role × every action, on one's own runs and on others'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mimlab.serve.identity.permissions import PERMISSIONS, ROLES, Action, Role, may


class Ask(NamedTuple):
    """A request that takes a permission; `{s}` and `{t}` stand for a submission and its trial."""

    method: str
    path: str
    body: Any = None
    has_owner: bool = False


STUDY_BODY = {"text": "study: [", "preset": None, "overrides": []}
TRIAL = "/submissions/{s}/trials/{t}"
REQUESTS: Mapping[Action, list[Ask]] = {
    "read": [
        Ask("GET", "/submissions"),
        Ask("GET", "/submissions/{s}"),
        Ask("GET", "/submissions/{s}/log"),
        Ask("GET", "/submissions/{s}/job"),
        Ask("GET", "/submissions/{s}/queued"),
        Ask("GET", "/submissions/{s}/heatmap?metric=probe/knn/top1"),
        Ask("GET", "/submissions/{s}/parallel?metric=probe/knn/top1"),
        Ask("GET", "/submissions/{s}/seed-means?metric=probe/knn/top1"),
        Ask("GET", TRIAL),
        Ask("GET", "/curves?trial={t}&metric=train/loss"),
        Ask("GET", "/curves/metrics?trial={t}"),
        Ask("GET", "/trials/{t}/submission"),
        Ask("GET", "/trials/{t}/boards/1"),
        Ask("GET", "/studies/schema"),
        Ask("GET", "/queue"),
        Ask("GET", "/quotas"),
    ],
    "check": [
        Ask("POST", "/studies/check", STUDY_BODY),
        Ask("POST", "/studies/plans", STUDY_BODY),
        Ask("GET", "/studies/plans/none"),
        Ask("POST", f"{TRIAL}/fork/check", {"text": "masking: {}"}),
    ],
    "submit": [Ask("POST", "/submissions", STUDY_BODY)],
    "stop": [
        Ask("POST", "/submissions/{s}/stop", None, True),
        Ask("POST", f"{TRIAL}/stop", None, True),
    ],
    "pause": [
        Ask("POST", "/submissions/{s}/pause", None, True),
        Ask("POST", f"{TRIAL}/pause", None, True),
    ],
    "resume": [
        Ask("POST", "/submissions/{s}/resume", {"retry_failed": True}, True),
        Ask("POST", f"{TRIAL}/resume", {"retry_failed": False}, True),
    ],
    "fork": [Ask("POST", f"{TRIAL}/fork", {"changes": ["data.images=/etc"]}, True)],
    "extend": [
        Ask("POST", "/submissions/{s}/extend", {"budget": {"steps": 1}}, True),
        Ask("POST", f"{TRIAL}/extend", {"budget": {"steps": 1}}, True),
    ],
    "withdraw": [Ask("DELETE", "/queue/1", None, True)],
    "prioritise": [Ask("PUT", "/queue/1/priority", {"priority": 1})],
    "set quotas": [Ask("PUT", "/quotas", {"users": {}, "default": {}, "total": {}})],
    "read the audit log": [Ask("GET", "/audit")],
    "list users": [Ask("GET", "/users")],
}


def test_every_action_is_tried_and_every_route_is_one_s() -> None:
    assert set(REQUESTS) == set(PERMISSIONS)


@pytest.fixture
def team(site: Callable, create_study: Callable, tmp_path: Path, study: str):
    """ada's submission, written but not run, in a dashboard's storage and queue."""
    from mimlab.serve.queue.records import Need

    file = tmp_path / "study.yaml"
    file.write_text(study)
    made = create_study(file, f"storage={tmp_path / 'results'}")
    store = made.submission.store
    record = made.submission.record().model_copy(update={"user": "ada"})
    store.write_record(made.submission.file("submission.json"), record)
    found = site()
    found.services.queue.add(
        made.submission.id, user="ada", need=Need(gpus=0.0, cpus=1.0), words=["x"], code=None
    )
    return found, made.submission.id, made.trial.id


def test_each_role_may_do_what_the_table_says(team) -> None:
    """One after the other, so that the costly application is made once."""
    site, submission, trial = team
    for role in ROLES:
        people = {False: site.user(f"other-{role}", role)}
        if role == "submitter":
            people[True] = site.user("ada", role)
        for own, client in people.items():
            for action, asks in REQUESTS.items():
                for ask in asks:
                    path = ask.path.format(s=submission, t=trial)
                    given = {} if ask.body is None else {"json": ask.body}
                    answer = client(ask.method, path, **given)
                    allowed = may(role, action, own=own or not ask.has_owner)
                    said = (role, own, ask.method, path, answer.status_code, answer.text[:200])
                    assert (answer.status_code != 403) == allowed, said
                    assert answer.status_code < 500, said


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_told_what_it_may(site: Callable, role: Role) -> None:
    answer = site().user("ada", role)("GET", "/session").json()
    assert (answer["name"], answer["role"], answer["local"]) == ("ada", role, False)
    assert answer["permissions"] == {a: reaches[role] for a, reaches in PERMISSIONS.items()}


def test_who_may_not_is_told_whose_it_is_or_what_it_takes(team) -> None:
    site, submission, _ = team
    bob = site.user("bob", "submitter")
    answer = bob("POST", f"/submissions/{submission}/stop")
    assert answer.status_code == 403
    assert "ada submitted this" in answer.json()["error"]["message"]
    assert "operator" in bob("GET", "/audit").json()["error"]["message"]


def test_a_trial_belongs_to_whoever_runs_it(team) -> None:
    """bob submits a study that shares ada's trial: that makes it no run of his."""
    from mimlab.storage.folders import SubmissionFolder, TrialFolder
    from mimlab.storage.records import OwnerRecord

    site, submission, trial = team
    store = site.services.store
    ada = SubmissionFolder(store, submission)
    own = SubmissionFolder(store, "bobs-20300101-000000")
    store.write_record(
        own.file("submission.json"),
        ada.record().model_copy(update={"id": own.id, "user": "bob"}),
    )
    owner = TrialFolder(store, trial).file("owner.json")
    store.write_record(owner, OwnerRecord(submission=submission))
    bob = site.user("bob", "submitter")
    assert bob("POST", f"/submissions/{own.id}/trials/{trial}/pause").status_code == 403
    store.write_record(owner, OwnerRecord(submission=own.id))
    assert bob("POST", f"/submissions/{own.id}/trials/{trial}/pause").status_code != 403


def test_the_requests_here_are_all_that_there_are(site: Callable) -> None:
    """A route that this file forgets would not be tried."""
    paths = site().app.openapi()["paths"]
    routes = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, methods in paths.items()
        for method in methods
    }
    tried = {(ask.method, _template(ask.path)) for asks in REQUESTS.values() for ask in asks}
    login = {(method, "/session") for method in ("GET", "POST", "DELETE")}
    assert routes == tried | login


def _template(path: str) -> str:
    named = path.partition("?")[0].format(s="{submission_id}", t="{trial_id}")
    named = named.replace("/boards/1", "/boards/{step}").replace("/queue/1", "/queue/{number}")
    return named.replace("/plans/none", "/plans/{plan_id}")
