"""From a pasted study to what runs: submit, wait, start, stop, go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mimlab.actions.launch import innermost
from mimlab.actions.pause import pause_submission
from mimlab.actions.ray_jobs import RayJobs
from mimlab.actions.stop import stop_submission
from mimlab.actions.submit import is_elsewhere
from mimlab.serve.fork_changes import without_seed
from mimlab.serve.queue.queued import Queued
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder
from one_machine.ports import free_port


def test_a_study_waits_for_its_user_s_share_and_is_started_with_its_name(
    site: Callable, study: str
) -> None:
    dashboard = site()
    ada, operator = dashboard.user("ada", "submitter"), dashboard.user("root", "operator")
    operator("PUT", "/quotas", json={"default": {"cpus": 1.0}})
    ids = []
    for _ in range(2):
        answer = ada("POST", "/submissions", json={"text": study, "overrides": ["sweep.seeds=[7]"]})
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["submission"])
    assert len(set(ids)) == 2
    dashboard.services.admission.round()
    cluster = dashboard.cluster
    assert cluster.started == ids[:1]
    words = cluster.words[ids[0]]
    assert words[0] == "supervise"
    assert words[words.index("--by") + 1] == "ada"
    assert "sweep.seeds=[7]" in words
    queue = operator("GET", "/queue").json()
    assert [(e["submission"], e["state"]) for e in queue["entries"]] == [
        (ids[0], "started"),
        (ids[1], "waiting"),
    ]
    assert queue["shares"][0]["in_use"] == {"gpus": 0.0, "cpus": 1.0}
    assert ada("POST", f"/submissions/{ids[0]}/stop").status_code == 202
    dashboard.services.admission.round()
    assert cluster.started == ids
    said = [(line["who"], line["what"]) for line in operator("GET", "/audit").json()]
    assert said == [("root", "set quotas"), ("ada", "submit"), ("ada", "submit"), ("ada", "stop")]


def test_how_it_came_to_run_is_told_before_its_driver_has_written_anything(
    site: Callable, study: str
) -> None:
    dashboard = site()
    client = dashboard.client()
    submission = client("POST", "/submissions", json={"text": study}).json()["submission"]
    path = f"/submissions/{submission}"
    assert client("GET", f"{path}/queued").json()["state"] == "waiting"
    dashboard.services.admission.round()
    assert client("GET", path).status_code == 404
    assert client("GET", f"{path}/queued").json()["state"] == "started"
    assert client("GET", f"{path}/log").status_code == 200
    for tail in ("queued", "log"):
        assert client("GET", f"/submissions/nobody-1/{tail}").status_code == 404


def test_what_waits_is_withdrawn_by_its_user_alone(site: Callable, study: str) -> None:
    dashboard = site()
    ada, bob = (dashboard.user(name, "submitter") for name in ("ada", "bob"))
    launched = ada("POST", "/submissions", json={"text": study}).json()
    number = launched["waiting"]
    assert bob("DELETE", f"/queue/{number}").status_code == 403
    assert bob("POST", f"/submissions/{launched['submission']}/stop").status_code == 403
    assert ada("DELETE", f"/queue/{number}").json()["done"] == "withdraw"
    assert dashboard.services.admission.round() == []
    again = ada("DELETE", f"/queue/{number}")
    assert again.status_code == 422
    assert "waits no longer" in again.json()["error"]["message"]


def test_what_could_never_run_is_refused_with_the_key_to_change(site: Callable, study: str) -> None:
    dashboard = site()
    client = dashboard.client()
    client("PUT", "/quotas", json={"default": {"cpus": 1.0}})
    answer = client(
        "POST", "/submissions", json={"text": study, "overrides": ["resources.cpus_per_worker=2"]}
    )
    assert answer.status_code == 422
    assert "concurrent_trials" in answer.json()["error"]["message"]
    assert client("GET", "/queue").json()["entries"] == []


def test_an_operator_says_what_is_urgent(site: Callable, study: str) -> None:
    dashboard = site()
    client = dashboard.client()
    client("PUT", "/quotas", json={"total": {"cpus": 1.0}})
    first, second = (client("POST", "/submissions", json={"text": study}).json() for _ in range(2))
    answer = client("PUT", f"/queue/{second['waiting']}/priority", json={"priority": 5})
    assert answer.json()["priority"] == 5 and answer.json()["place"] == 1
    shown = {e["submission"]: e["place"] for e in client("GET", "/queue").json()["entries"]}
    assert shown == {first["submission"]: 2, second["submission"]: 1}
    dashboard.services.admission.round()
    assert dashboard.cluster.started == [second["submission"]]
    assert first["submission"] not in dashboard.cluster.started
    assert client("PUT", "/queue/99/priority", json={"priority": 5}).status_code == 404


def test_a_study_that_is_not_sound_is_not_queued(site: Callable, study: str) -> None:
    client = site().client()
    answer = client("POST", "/submissions", json={"text": study.replace("0.75", "7")})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("study.yaml:7: masking.ratio:")
    assert client("GET", "/queue").json()["entries"] == []


def test_a_check_says_every_line_that_is_wrong(site: Callable, study: str) -> None:
    client = site().client()
    sound = client("POST", "/studies/check", json={"text": study}).json()
    assert (sound["sound"], sound["study"], sound["trials"]) == (True, "tiny", 1)
    wrong = study.replace("0.75", "7").replace("depth: 2", "dept: 2")
    found = client("POST", "/studies/check", json={"text": wrong}).json()
    assert not found["sound"]
    assert {(p["line"], p["field"]) for p in found["problems"]} == {
        (4, "backbone.dept"),
        (7, "masking.ratio"),
    }


def test_a_resume_waits_in_the_queue_too(site: Callable, tiny_submission: str) -> None:
    dashboard = site()
    client = dashboard.client()
    answer = client("POST", f"/submissions/{tiny_submission}/resume")
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"submission": tiny_submission, "waiting": 1}
    dashboard.services.admission.round()
    words = dashboard.cluster.words[tiny_submission]
    assert words[:2] == ["supervise", tiny_submission]
    assert client("GET", f"/submissions/{tiny_submission}/log").json()["lines"][0] == "began"


def test_a_resume_that_is_asked_for_twice_starts_one_driver(
    site: Callable, tiny_submission: str
) -> None:
    dashboard = site()
    client, path = dashboard.client(), f"/submissions/{tiny_submission}"
    (trial,) = dashboard.services.store.list("trials")
    assert client("POST", f"{path}/resume").status_code == 202
    dashboard.services.admission.round()
    for asked in (path, f"{path}/trials/{trial}"):
        answer = client("POST", f"{asked}/resume")
        assert answer.status_code == 422
        assert "is being started, or about to end, as number 1" in answer.json()["error"]["message"]
    dashboard.cluster.states[tiny_submission] = "ended"
    assert client("POST", f"{path}/resume").json()["waiting"] == 2


@pytest.mark.parametrize("verb", ["stop", "pause"])
@pytest.mark.parametrize("in_the_dashboard", [True, False])
def test_a_stop_is_not_undone_by_a_resume_that_waits(
    site: Callable, tiny_submission: str, verb: str, in_the_dashboard: bool
) -> None:
    """Somebody resumed it here, and somebody else on a command line."""
    dashboard = site()
    client, store = dashboard.client(), dashboard.services.store
    assert client("POST", f"/submissions/{tiny_submission}/resume").status_code == 202
    driver = lease.acquire(SubmissionFolder(store, tiny_submission))
    if in_the_dashboard:
        assert client("POST", f"/submissions/{tiny_submission}/{verb}").status_code == 202
    else:
        end = stop_submission if verb == "stop" else pause_submission
        end(store, tiny_submission, "ada")
    driver.release()
    assert dashboard.services.admission.round() == [] and dashboard.cluster.started == []
    assert client("GET", "/queue").json()["entries"] == []
    (trial,) = store.list("trials")
    answer = client("POST", f"/submissions/{tiny_submission}/trials/{trial}/resume")
    assert answer.status_code == 202, answer.text
    dashboard.services.admission.round()
    assert dashboard.cluster.started == [tiny_submission]


def test_a_link_leads_to_the_job_where_there_is_a_cluster(
    site: Callable, tiny_submission: str
) -> None:
    dashboard = site()
    client, path = dashboard.client(), f"/submissions/{tiny_submission}/job"
    assert client("GET", path).status_code == 404
    dashboard.cluster.states[tiny_submission] = "running"
    answer = client("GET", path)
    assert answer.status_code == 307
    assert answer.headers["Location"] == f"http://head:8265/#/jobs/{tiny_submission}"
    assert client("GET", "/submissions/nobody-s/job").status_code == 404


@pytest.fixture
def tiny_submission(create_study: Callable, tmp_path: Path, study: str) -> str:
    file = tmp_path / "study.yaml"
    file.write_text(study)
    return create_study(file, f"storage={tmp_path / 'results'}").submission.id


def test_what_a_submission_holds_is_shown_by_the_read_model(
    site: Callable, tiny_submission: str
) -> None:
    client = site().client()
    (listed,) = client("GET", "/submissions").json()
    assert (listed["id"], listed["num_trials"]) == (tiny_submission, 1)
    detail = client("GET", f"/submissions/{tiny_submission}").json()
    trial = detail["trials"][0]["id"]
    path = f"/submissions/{tiny_submission}/trials/{trial}"
    assert client("GET", path).json()["summary"]["id"] == trial
    assert client("GET", f"/curves?trial={trial}&metric=train/loss").json() == []
    assert client("GET", f"/trials/{trial}/boards/5").status_code == 404


def test_a_fork_names_nothing_outside_the_roots(site: Callable, tiny_submission: str) -> None:
    client = site().client()
    trial = client("GET", f"/submissions/{tiny_submission}").json()["trials"][0]["id"]
    path = f"/submissions/{tiny_submission}/trials/{trial}/fork"
    answer = client("POST", path, json={"changes": ["backbone.init=/etc/passwd"]})
    assert answer.status_code == 422
    assert "outside" in answer.json()["error"]["message"]


def test_an_edited_configuration_is_checked_by_what_was_edited(
    site: Callable, tiny_submission: str
) -> None:
    """The trial's own images may lie outside the roots: it was run by its user."""
    dashboard = site()
    client, store = dashboard.client(), dashboard.services.store
    (trial,) = store.list("trials")
    path = f"/submissions/{tiny_submission}/trials/{trial}"
    for record in (f"trials/{trial}/trial.json", f"submissions/{tiny_submission}/trials.json"):
        store.write(record, store.read(record).replace(b'"digits"', b'"/data/elsewhere"'))
    text = without_seed(client("GET", path).json()["resolved_text"])
    assert "/data/elsewhere" in text

    def check(text: str) -> dict:
        answer = client("POST", f"{path}/fork/check", json={"text": text})
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert check(text) == {"changes": [], "problems": []}
    edited = text.replace("ratio: 0.75", "ratio: 0.5")
    assert check(edited) == {"changes": ["masking.ratio=0.5"], "problems": []}
    (problem,) = check(text.replace("/data/elsewhere", "/etc"))["problems"]
    assert "/etc lies outside" in problem["message"]
    wrong = text.replace("ratio: 0.75", "ratio: 7")
    (problem,) = check(wrong)["problems"]
    assert problem["field"] == "masking.ratio"
    assert wrong.splitlines()[problem["line"] - 1].strip() == "ratio: 7"
    (problem,) = check("data: {}")["problems"]
    assert "cannot be taken out" in problem["message"]


def test_a_fork_may_be_of_another_masking(
    site: Callable, create_study: Callable, study: str, tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(study.replace("name: random", "name: block"))
    made = create_study(file, "masking.min_area=4", f"storage={tmp_path / 'results'}")
    client = site().client()
    path = f"/submissions/{made.submission.id}/trials/{made.trial.id}"
    text = without_seed(client("GET", path).json()["resolved_text"])
    own = ("  min_area:", "  aspect:")
    kept = [line for line in text.splitlines() if not line.startswith(own)]
    edited = "\n".join(kept).replace('name: "block"', "name: random")
    checked = client("POST", f"{path}/fork/check", json={"text": edited}).json()
    assert checked == {"changes": ['masking.name="random"'], "problems": []}


def test_the_queue_does_not_hide_that_a_cluster_is_elsewhere(site: Callable) -> None:
    queue = site().services.queue
    here, there = RayJobs("http://127.0.0.1:8265"), RayJobs("http://203.0.113.7:8265")
    assert innermost(Queued(queue, here, "ada")) is here
    assert is_elsewhere(Queued(queue, there, "ada"))
    assert not is_elsewhere(Queued(queue, here, "ada"))


@pytest.fixture
def gone() -> RayJobs:
    """Jobs of a Ray that is away."""
    return RayJobs(f"http://127.0.0.1:{free_port()}")


def test_while_ray_is_away_history_is_there_and_what_only_ray_has_says_so(
    site: Callable, tiny_submission: str, gone: RayJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard = site()
    monkeypatch.setattr(dashboard.services.admission, "launcher", gone)
    client = dashboard.client()
    assert [s["id"] for s in client("GET", "/submissions").json()] == [tiny_submission]
    detail = client("GET", f"/submissions/{tiny_submission}").json()
    (trial,) = [trial["id"] for trial in detail["trials"]]
    assert client("GET", f"/submissions/{tiny_submission}/trials/{trial}").status_code == 200
    assert client("GET", f"/curves?trial={trial}&metric=train/loss").status_code == 200
    for asked in ("log", "job"):
        answer = client("GET", f"/submissions/{tiny_submission}/{asked}")
        assert answer.status_code == 503
        assert "no Ray dashboard answers there" in answer.json()["error"]["message"]


def test_a_study_that_is_submitted_while_ray_is_away_may_be_sent_again(
    site: Callable, study: str, gone: RayJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard = site()
    monkeypatch.setattr(dashboard.services.admission, "launcher", gone)
    client = dashboard.client()
    answer = client("POST", "/submissions", json={"text": study})
    assert answer.status_code == 503
    assert "no Ray dashboard answers there" in answer.json()["error"]["message"]
    assert int(answer.headers["Retry-After"]) > 0
    assert client("GET", "/queue").json()["entries"] == []


@pytest.mark.slow
def test_a_study_for_a_cluster_s_gpus_has_a_plan_where_there_are_none(
    site: Callable, study: str
) -> None:
    dashboard = site()
    dashboard.services.plans.here = False
    client = dashboard.client()
    asked = {"text": study, "overrides": ["resources.gpus_per_worker=64"]}
    path = f"/studies/plans/{client('POST', '/studies/plans', json=asked).json()['id']}"
    deadline = time.monotonic() + 280
    while (plan := client("GET", path).json())["state"] not in ("done", "failed"):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert plan["error"] is None
    assert plan["plan"]["num_trials"] == 1 and len(plan["plan"]["trials"]) == 1
    assert plan["plan"]["concurrent"] is None and plan["plan"]["bill"] is None
    (warning,) = plan["plan"]["warnings"]
    assert warning.startswith("no bill: ")


@pytest.mark.slow
def test_a_bill_is_measured_in_the_background(site: Callable, study: str) -> None:
    client = site().client()
    made = client("POST", "/studies/plans", json={"text": study})
    assert made.status_code == 202
    deadline = time.monotonic() + 280
    path = f"/studies/plans/{made.json()['id']}"
    while (plan := client("GET", path).json())["state"] not in ("done", "failed"):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert plan["error"] is None
    assert plan["plan"]["num_trials"] == 1
    assert plan["plan"]["bill"]["shapes"][0]["steps"] == 24


def test_a_plan_is_its_user_s_ends_at_its_limit_and_leaves_nothing_running(
    site: Callable, study: str
) -> None:
    dashboard = site()
    dashboard.services.plans.limit_s = 0.2
    ada, bob = (dashboard.user(name, "submitter") for name in ("ada", "bob"))
    plan = ada("POST", "/studies/plans", json={"text": study}).json()["id"]
    deadline = time.monotonic() + 60
    while (found := ada("GET", f"/studies/plans/{plan}").json())["state"] != "failed":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "0.2 seconds" in found["error"]
    assert bob("GET", f"/studies/plans/{plan}").status_code == 404


def test_the_queue_is_looked_at_as_long_as_the_application_runs(
    site: Callable, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    dashboard = site()
    with dashboard.services.admission.running():
        assert "queue" in {thread.name for thread in threading.enumerate()}
        dashboard.client()("POST", "/submissions", json={"text": study})
        deadline = time.monotonic() + 30
        while not dashboard.cluster.started and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(dashboard.cluster.started) == 1
    assert "queue" not in {thread.name for thread in threading.enumerate()}
